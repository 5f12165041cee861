//! Annotations that say what a remote cluster may claim. They narrow: without them it may claim all
//! but the reserved names.

use std::collections::{BTreeMap, BTreeSet};

use diolkos_topology::{
    Grants, NamePattern, Names, Namespace, NetworkId, Networks, RESERVED_NAMESPACES,
};
use diolkos_trust::TrustDomain;
use ipnet::IpNet;

use super::Setup;
use super::code::{Code, Flaw};
use crate::limit;
use crate::names::short;

/// What the operator lets a cluster claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `None`: the mesh's.
    pub trust_domain: Option<TrustDomain>,
    /// Empty: any ordinary address.
    pub addresses: Vec<IpNet>,
    pub grants: Grants,
}

impl Claims {
    /// Of a secret that says nothing of it.
    pub fn plain() -> Self {
        Self { trust_domain: None, addresses: Vec::new(), grants: Grants::plain() }
    }

    /// The system namespace is the mesh's own, whatever it is called.
    pub(super) fn reserving(mut self, setup: &Setup) -> Self {
        let usual = RESERVED_NAMESPACES.contains(&setup.namespace.as_str());
        self.grants.system = Namespace::new(&setup.namespace).ok().filter(|_| !usual);
        self
    }
}

const PREFIX: &str = "diolkos.dev/";

/// Whatever begins with our prefix and is not known refuses the secret: it may be a narrowing with
/// a slip of the pen, and to ignore it would be to grant everything.
pub(super) fn read(annotations: &BTreeMap<String, String>) -> Result<Claims, Flaw> {
    let mut claims = Claims::plain();
    for (name, text) in annotations {
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        match key {
            "addresses" => claims.addresses = addresses(name, text)?,
            "identities" => claims.grants.identities = names(name, text)?,
            "networks" => claims.grants.networks = networks(name, text)?,
            "services" => claims.grants.services = names(name, text)?,
            "trust-domain" => claims.trust_domain = Some(trust_domain(name, text)?),
            _ => {
                let cause = format!("annotation {:?} is not known", short(name));
                let way_out = "use diolkos.dev/services, identities, addresses, networks or \
                               trust-domain, or drop it";
                return Err(Flaw::new(0, Code::Annotation, cause, way_out));
            }
        }
    }
    Ok(claims)
}

fn flaw(name: &str, cause: impl std::fmt::Display, way_out: &str) -> Flaw {
    Flaw::new(0, Code::Annotation, format!("annotation {name}: {cause}"), way_out)
}

/// A thing's own error, which brings its way out behind a semicolon.
fn told(name: &str, error: &impl std::fmt::Display, way_out: &str) -> Flaw {
    let text = error.to_string();
    let (cause, way_out) = text.split_once("; ").unwrap_or((&text, way_out));
    flaw(name, cause, way_out)
}

/// Separated by commas; an empty text is an empty list.
fn entries<'t>(name: &str, text: &'t str) -> Result<Vec<&'t str>, Flaw> {
    let entries: Vec<_> = text.split(',').map(str::trim).collect();
    if entries == [""] {
        return Ok(Vec::new());
    }
    let entries_max = limit::GRANT_ENTRIES_MAX;
    if entries.len() > entries_max {
        let cause = format!("{} entries, at most {entries_max} are read", entries.len());
        return Err(flaw(name, cause, "use patterns, or wider ranges"));
    }
    Ok(entries)
}

fn names(name: &str, text: &str) -> Result<Names, Flaw> {
    let patterns = entries(name, text)?.into_iter().map(|entry| {
        NamePattern::parse(short(entry)).map_err(|error| told(name, &error, "list other names"))
    });
    patterns.collect::<Result<_, _>>().map(Names::Listed)
}

fn networks(name: &str, text: &str) -> Result<Networks, Flaw> {
    let mut listed = BTreeSet::new();
    for entry in entries(name, text)? {
        let way_out = "name networks with letters, digits and '-'";
        if entry.is_empty() {
            return Err(flaw(name, "an entry is empty", way_out));
        }
        listed.insert(NetworkId::new(entry).map_err(|error| told(name, &error, way_out))?);
    }
    Ok(Networks::Listed(listed))
}

fn addresses(name: &str, text: &str) -> Result<Vec<IpNet>, Flaw> {
    let way_out = "write it like 10.20.0.0/16,fd00:20::/64";
    let mut ranges = Vec::new();
    for entry in entries(name, text)? {
        let range: IpNet = entry.parse().map_err(|_| {
            flaw(name, format!("{:?} is not a range of addresses", short(entry)), way_out)
        })?;
        if range.trunc() != range {
            let way_out = format!("write {}", range.trunc());
            return Err(flaw(name, format!("{range} has bits behind its prefix"), &way_out));
        }
        ranges.push(range);
    }
    // No range means any address elsewhere, and here somebody may mean none.
    if ranges.is_empty() {
        return Err(flaw(name, "the list is empty", "list ranges, or drop the annotation"));
    }
    ranges.sort_unstable();
    ranges.dedup();
    Ok(ranges)
}

fn trust_domain(name: &str, text: &str) -> Result<TrustDomain, Flaw> {
    TrustDomain::new(text.trim()).map_err(|error| told(name, &error, "write it like west.example"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(entries: &[(&str, &str)]) -> Result<Claims, String> {
        let entries = entries.iter().map(|(key, text)| ((*key).into(), (*text).into()));
        read(&entries.collect()).map_err(|flaw| format!("{}; {}", flaw.cause, flaw.way_out))
    }

    #[test]
    fn annotations_narrow_one_by_one() {
        assert_eq!(claims(&[]), Ok(Claims::plain()));
        assert_eq!(claims(&[("networking.istio.io/cluster", "c2")]), Ok(Claims::plain()));
        let read = claims(&[
            ("diolkos.dev/services", " shop/*, pay/api "),
            ("diolkos.dev/identities", "shop/*"),
            ("diolkos.dev/addresses", "fd00:20::/64,10.20.0.0/16,10.20.0.0/16"),
            ("diolkos.dev/networks", "n2,n3"),
            ("diolkos.dev/trust-domain", "west.example"),
        ]);
        let read = read.expect("all of it is right");
        let patterns = |names: &Names| match names {
            Names::Every => vec!["every".to_owned()],
            Names::Listed(listed) => listed.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(patterns(&read.grants.services), ["shop/*", "pay/api"]);
        assert_eq!(patterns(&read.grants.identities), ["shop/*"]);
        let ranges: Vec<_> = read.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(ranges, ["10.20.0.0/16", "fd00:20::/64"]);
        let networks = ["n2", "n3"].map(|name| NetworkId::new(name).expect("a name"));
        assert_eq!(read.grants.networks, Networks::Listed(networks.into()));
        assert_eq!(read.trust_domain.map(|one| one.to_string()).as_deref(), Some("west.example"));
    }

    #[test]
    fn the_namespaces_that_speak_for_a_cluster_are_reserved_to_it() {
        for name in crate::node::SYSTEM_NAMESPACES {
            assert!(diolkos_topology::RESERVED_NAMESPACES.contains(&name), "{name}");
        }
    }

    #[test]
    fn an_empty_list_grants_nothing_and_of_addresses_it_is_refused() {
        let read = claims(&[("diolkos.dev/services", ""), ("diolkos.dev/networks", " ")]);
        let grants = read.expect("both may be empty").grants;
        assert_eq!(grants.services, Names::Listed([].into()));
        assert_eq!(grants.networks, Networks::Listed([].into()));
        assert_eq!(
            claims(&[("diolkos.dev/addresses", "")]),
            Err("annotation diolkos.dev/addresses: the list is empty; list ranges, or drop the \
                 annotation"
                .into())
        );
    }

    #[test]
    fn what_is_not_understood_refuses_the_secret() {
        let cases = [
            ("diolkos.dev/service", "shop/*", "\"diolkos.dev/service\" is not known; use"),
            ("diolkos.dev/", "", "is not known"),
            ("diolkos.dev/services", "shop", "write it like shop/* or pay/api"),
            ("diolkos.dev/services", "shop/*,", "\"\" is no pattern of names"),
            ("diolkos.dev/services", "team-*/web", "list the names, or use '*' alone"),
            ("diolkos.dev/identities", "spiffe://td/ns/a/sa/b", "is no pattern of names"),
            ("diolkos.dev/addresses", "10.20.0.0", "is not a range of addresses"),
            ("diolkos.dev/addresses", "10.20.0.1/16", "write 10.20.0.0/16"),
            ("diolkos.dev/addresses", "10.20.0.0/16,,", "\"\" is not a range"),
            ("diolkos.dev/networks", "n2,,n3", "an entry is empty"),
            ("diolkos.dev/networks", "n/2", "contains '/'"),
            ("diolkos.dev/trust-domain", "", "has no trust domain"),
            ("diolkos.dev/trust-domain", "West", "contains 'W'"),
        ];
        for (name, text, expected) in cases {
            let error = claims(&[(name, text)]).expect_err(text);
            assert!(error.contains(expected), "{name}: {text}: {error}");
        }
    }

    #[test]
    fn as_many_entries_as_the_limit_and_not_one_more() {
        let list = |count: usize| "shop/*,".repeat(count - 1) + "shop/*";
        assert!(claims(&[("diolkos.dev/services", &list(limit::GRANT_ENTRIES_MAX))]).is_ok());
        let error = claims(&[("diolkos.dev/services", &list(limit::GRANT_ENTRIES_MAX + 1))]);
        assert!(error.is_err_and(|error| error.contains("257 entries, at most 256 are read")));
    }
}
