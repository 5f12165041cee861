//! What the rest of the project gives to a topology.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use diolkos_kind_plan::Root;
use diolkos_kind_tests::{Givers, Mint};
use diolkos_trust_service::{Authority, Validity};

use super::parts::Installed;

pub(super) fn givers() -> Givers {
    Givers { mint: Arc::new(Minting), parts: Arc::new(Installed) }
}

struct Minting;

/// No topology is up for that long.
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Mint for Minting {
    fn mint(&self, root: &Root) -> anyhow::Result<()> {
        let now = SystemTime::now();
        let validity =
            Validity { not_before: now - Duration::from_secs(60), not_after: now + MONTH };
        let authority = Authority::new_root(root.name.as_str(), validity)?;
        for intermediate in &root.intermediates {
            let cluster = intermediate.cluster.as_str();
            authority.intermediate(cluster, validity)?.write(Path::new(&intermediate.folder))?;
        }
        Ok(())
    }
}
