//! Trust bundles, one per trust domain and never pooled (SPIFFE Federation, section 4.2).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::spiffe::TrustDomain;

/// The roots that may vouch for ids of one trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    pub trust_domain: TrustDomain,
    /// DER certificates, without repetition, at least one.
    roots: Vec<Arc<[u8]>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleError {
    Empty { trust_domain: TrustDomain },
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { trust_domain } => {
                write!(f, "the bundle of trust domain {trust_domain} holds no root certificate")
            }
        }
    }
}

impl std::error::Error for BundleError {}

impl Bundle {
    pub fn new(
        trust_domain: TrustDomain,
        roots: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<Self, BundleError> {
        let mut distinct: Vec<Arc<[u8]>> = Vec::new();
        for root in roots {
            if !distinct.iter().any(|seen| **seen == *root) {
                distinct.push(root.into());
            }
        }
        if distinct.is_empty() {
            return Err(BundleError::Empty { trust_domain });
        }
        Ok(Self { trust_domain, roots: distinct })
    }

    pub fn roots(&self) -> impl Iterator<Item = &[u8]> {
        self.roots.iter().map(|root| &**root)
    }
}

/// Bundles by trust domain: the only way to a root is through the domain of the id it vouches for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundles(BTreeMap<TrustDomain, Bundle>);

impl Bundles {
    /// Replaces the domain's bundle; every other domain keeps its own.
    pub fn insert(&mut self, bundle: Bundle) {
        self.0.insert(bundle.trust_domain.clone(), bundle);
    }

    pub fn get(&self, trust_domain: &TrustDomain) -> Option<&Bundle> {
        self.0.get(trust_domain)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Bundle> {
        self.0.values()
    }
}

impl FromIterator<Bundle> for Bundles {
    fn from_iter<I: IntoIterator<Item = Bundle>>(bundles: I) -> Self {
        let mut all = Self::default();
        for bundle in bundles {
            all.insert(bundle);
        }
        all
    }
}
