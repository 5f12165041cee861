//! Filter chains by server name: for control planes that say of every name where it leads, and by
//! which protocols, instead of naming clusters so that they are found.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{ClientHello, HostName, Refusal};

/// Where a server name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// By which its route is found; usually the server name itself.
    pub cluster: HostName,
    /// A client must offer one of them.
    pub protocols: Arc<[String]>,
}

/// Exact names, each with one chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainTable {
    by_name: HashMap<HostName, Chain>,
}

impl ChainTable {
    /// False, and nothing changes, where the name has a chain already.
    pub fn insert(&mut self, name: HostName, chain: Chain) -> bool {
        let is_new = !self.by_name.contains_key(&name);
        if is_new {
            self.by_name.insert(name, chain);
        }
        is_new
    }

    pub fn get(&self, name: &HostName) -> Option<&Chain> {
        self.by_name.get(name)
    }

    /// Every name with its chain, by name.
    pub fn sorted(&self) -> Vec<(&HostName, &Chain)> {
        let mut chains: Vec<_> = self.by_name.iter().collect();
        chains.sort_unstable_by_key(|(name, _)| *name);
        chains
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The cluster that the name leads to, exactly as it stands.
    ///
    /// # Errors
    /// Why it leads nowhere.
    pub fn decide(&self, hello: &ClientHello) -> Result<&HostName, Refusal> {
        let name = hello.sni.as_ref().ok_or(Refusal::NoSni)?;
        let chain = self.by_name.get(name).ok_or(Refusal::UnknownName)?;
        match hello.offers_one_of(&chain.protocols) {
            true => Ok(&chain.cluster),
            false => Err(Refusal::NoMeshAlpn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        HostName::new(text.as_bytes()).unwrap()
    }

    fn chain(cluster: &str, protocols: &[&str]) -> Chain {
        let protocols = protocols.iter().map(ToString::to_string).collect();
        Chain { cluster: name(cluster), protocols }
    }

    #[test]
    fn a_name_leads_to_its_own_chains_cluster_by_its_own_protocols() {
        let mut chains = ChainTable::default();
        assert!(chains.insert(name("a.test"), chain("outbound_.1_._.a", &["istio"])));
        assert!(chains.insert(name("b.test"), chain("outbound_.2_._.b", &["istio", "h2"])));
        assert!(!chains.insert(name("A.test"), chain("outbound_.3_._.c", &["istio"])));
        let cases = [
            (Some("a.test"), "istio", Ok("outbound_.1_._.a")),
            (Some("A.TEST"), "istio", Ok("outbound_.1_._.a")),
            (Some("b.test"), "h2", Ok("outbound_.2_._.b")),
            (Some("a.test"), "h2", Err(Refusal::NoMeshAlpn)),
            (Some("outbound_.1_._.a"), "istio", Err(Refusal::UnknownName)),
            (None, "istio", Err(Refusal::NoSni)),
        ];
        for (sni, alpn, want) in cases {
            let hello = ClientHello { sni: sni.map(name), alpn: [alpn].into_iter().collect() };
            assert_eq!(chains.decide(&hello).map(HostName::as_str), want, "{sni:?} {alpn}");
        }
    }
}
