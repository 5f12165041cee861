//! A real Prometheus, which reads every role's metrics in the tests.

use std::path::{Path, PathBuf};

use super::{Missing, debian, given, version_of};
use crate::workshop::Workshop;

/// Where a test finds prometheus.
pub(crate) const PROMETHEUS: &str = "DIOLKOS_TEST_PROMETHEUS";

const INSTALLED: &str = "/usr/bin/prometheus";

/// The machine's own, else the one of Debian's package. It needs no library but the C library.
pub(crate) fn prometheus(workshop: &Workshop) -> Result<PathBuf, Missing> {
    if let Some(given) = given(PROMETHEUS)? {
        return Ok(given);
    }
    let home = workshop.path(".tools/prometheus");
    let own = home.join("root/usr/bin/prometheus");
    let known = [Path::new(INSTALLED), &own];
    if let Some(found) = known.into_iter().find(|path| works(path)) {
        return Ok(found.to_owned());
    }
    let way_out = format!("install prometheus, or set {PROMETHEUS} to one of 2.42 or later");
    println!("unpacking Debian's prometheus into .tools/prometheus");
    debian::unpack(&home, |_| Ok(vec!["prometheus".to_owned()]), &way_out)?;
    if works(&own) {
        return Ok(own);
    }
    Err(Missing(format!("the unpacked {} does not run; {way_out}", own.display())))
}

fn works(path: &Path) -> bool {
    path.is_file() && version_of(path).is_some()
}
