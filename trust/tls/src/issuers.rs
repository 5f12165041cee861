//! Which CAs are our own: told by whoever signs, asked by whoever verifies.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::peer::IssuerKey;

/// The keys of the CAs whose subjects we wrote ourselves. Clones share one value. A key that was
/// added stays: leaves that it signed outlive its turn.
#[derive(Clone, Debug, Default)]
pub struct Issuers(Arc<ArcSwap<BTreeSet<IssuerKey>>>);

impl Issuers {
    pub fn add(&self, key: IssuerKey) {
        self.0.rcu(|before| {
            let mut after = BTreeSet::clone(before);
            after.insert(key);
            after
        });
    }

    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    pub fn contains(&self, key: &IssuerKey) -> bool {
        self.0.load().contains(key)
    }

    /// Those there are now, sorted.
    pub fn keys(&self) -> Vec<IssuerKey> {
        self.0.load().iter().copied().collect()
    }
}

impl FromIterator<IssuerKey> for Issuers {
    fn from_iter<I: IntoIterator<Item = IssuerKey>>(keys: I) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(keys.into_iter().collect())))
    }
}

/// The same keys, whoever holds them.
impl PartialEq for Issuers {
    fn eq(&self, other: &Self) -> bool {
        *self.0.load() == *other.0.load()
    }
}

impl Eq for Issuers {}
