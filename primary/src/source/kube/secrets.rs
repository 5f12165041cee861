//! Secrets that register clusters, and which of them speaks for which cluster.
//!
//! Each entry of a secret's `data` is a cluster's name and its kubeconfig. A cluster belongs to
//! the secret that named it first, for as long as that one names it; a second is refused.

use std::collections::BTreeMap;

use diolkos_topology::ClusterId;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use serde_json::value::RawValue;

use super::limit;
use super::plan::{Head, Name, Need, Place, Plan, Read};
use super::remote::Secret;

const LABEL: &str = "istio/multiCluster=true";

/// What one secret, or one file, says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) annotations: BTreeMap<String, String>,
    /// By the cluster's name.
    pub(super) kubeconfigs: BTreeMap<String, Secret>,
    /// Why some of it was left out.
    pub(super) complaints: Vec<String>,
}

pub(super) fn plan(namespace: &str) -> Plan<Letter> {
    let mut place = Place::new("/api/v1", "secrets");
    place.namespace = Some(namespace.to_owned());
    Plan {
        need: Need::Always,
        places: vec![place],
        labels: Some(LABEL),
        fields: None,
        read,
        objects_max: limit::SECRETS_MAX,
    }
}

fn read(raw: &RawValue) -> Read<Letter> {
    let Ok(object) = serde_json::from_str::<SecretObject>(raw.get()) else {
        let head = Head::of(raw);
        let complaints = vec!["it cannot be read".to_owned()];
        let letter = Letter { complaints, ..Letter::default() };
        return Read { id: head.id(), version: head.version(), item: Some(letter) };
    };
    let meta = object.metadata;
    let mut letter =
        Letter { annotations: meta.annotations.unwrap_or_default(), ..Letter::default() };
    for (key, bytes) in object.data.unwrap_or_default() {
        match String::from_utf8(bytes.0) {
            Ok(text) => drop(letter.kubeconfigs.insert(key, Secret::new(text))),
            Err(_) => letter.complaints.push(format!("{key} is not text")),
        }
    }
    let id =
        Name { namespace: meta.namespace.unwrap_or_default(), name: meta.name.unwrap_or_default() };
    Read { id, version: meta.resource_version, item: Some(letter) }
}

/// Every letter, and who came first.
#[derive(Debug, Default)]
pub(super) struct Roster {
    letters: BTreeMap<Name, Letter>,
    owners: BTreeMap<ClusterId, Name>,
}

/// A cluster as its owner registers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) cluster: ClusterId,
    pub(super) by: Name,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) kubeconfig: Secret,
}

impl Roster {
    pub(super) fn put(&mut self, name: Name, letter: Option<Letter>) {
        match letter {
            Some(letter) => drop(self.letters.insert(name, letter)),
            None => drop(self.letters.remove(&name)),
        }
    }

    pub(super) fn replace(&mut self, all: Vec<(Name, Letter)>) {
        self.letters = all.into_iter().collect();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Clusters and complaints, as things stand now.
    pub(super) fn registered(&mut self, own: &ClusterId) -> (Vec<Registered>, Vec<(Name, String)>) {
        let mut complaints = Vec::new();
        let names = |name: &Name, cluster: &ClusterId| {
            let letter = self.letters.get(name);
            letter.is_some_and(|letter| letter.kubeconfigs.contains_key(cluster.as_str()))
        };
        self.owners.retain(|cluster, name| names(name, cluster));
        let mut registered = Vec::new();
        for (name, letter) in &self.letters {
            complaints.extend(letter.complaints.iter().map(|why| (name.clone(), why.clone())));
            for (key, kubeconfig) in &letter.kubeconfigs {
                let cluster = match ClusterId::new(key) {
                    Ok(cluster) => cluster,
                    Err(error) => {
                        complaints.push((name.clone(), error.to_string()));
                        continue;
                    }
                };
                if cluster == *own {
                    let why = format!("{cluster} is the cluster of this primary, it is ignored");
                    complaints.push((name.clone(), why));
                    continue;
                }
                let owner = self.owners.entry(cluster.clone()).or_insert_with(|| name.clone());
                if owner != name {
                    let (namespace, first) = (&owner.namespace, &owner.name);
                    let why = format!(
                        "cluster {cluster} is registered by {namespace}/{first} already; name it \
                         in one secret only"
                    );
                    complaints.push((name.clone(), why));
                    continue;
                }
                registered.push(Registered {
                    cluster,
                    by: name.clone(),
                    annotations: letter.annotations.clone(),
                    kubeconfig: kubeconfig.clone(),
                });
            }
        }
        let most = limit::CLUSTERS_MAX - 1;
        for beyond in registered.split_off(registered.len().min(most)) {
            let why = format!("cluster {}: more than {most} remote clusters", beyond.cluster);
            complaints.push((beyond.by, why));
        }
        (registered, complaints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(clusters: &[&str]) -> Letter {
        let kubeconfigs = clusters.iter().map(|one| ((*one).into(), Secret::new("k")));
        Letter { kubeconfigs: kubeconfigs.collect(), ..Letter::default() }
    }

    fn name(name: &str) -> Name {
        Name { namespace: "diolkos-system".into(), name: name.into() }
    }

    fn who(roster: &mut Roster) -> (String, usize) {
        let own = ClusterId::new("own").unwrap();
        let (registered, complaints) = roster.registered(&own);
        let text: Vec<String> =
            registered.iter().map(|one| format!("{}:{}", one.cluster, one.by.name)).collect();
        (text.join(" "), complaints.len())
    }

    #[test]
    fn a_cluster_belongs_to_the_secret_that_named_it_first() {
        let mut roster = Roster::default();
        roster.put(name("b"), Some(letter(&["c1", "c2"])));
        assert_eq!(who(&mut roster), ("c1:b c2:b".into(), 0));
        roster.put(name("a"), Some(letter(&["c1"])));
        assert_eq!(who(&mut roster), ("c1:b c2:b".into(), 1), "the second is refused");
        roster.put(name("a"), None);
        assert_eq!(who(&mut roster), ("c1:b c2:b".into(), 0), "and its end changes nothing");
        roster.put(name("a"), Some(letter(&["c1"])));
        who(&mut roster);
        roster.put(name("b"), Some(letter(&["c2"])));
        assert_eq!(who(&mut roster), ("c1:a c2:b".into(), 0), "the first gave it up");
    }

    #[test]
    fn the_own_name_and_names_that_are_none_are_left_out() {
        let mut roster = Roster::default();
        roster.put(name("a"), Some(letter(&["own", "not a name", "west"])));
        assert_eq!(who(&mut roster), ("west:a".into(), 2));
    }

    #[test]
    fn more_clusters_than_may_be_are_told_and_left_out() {
        let mut roster = Roster::default();
        let names: Vec<String> = (0..limit::CLUSTERS_MAX).map(|n| format!("c{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        roster.put(name("a"), Some(letter(&names[..limit::CLUSTERS_MAX - 1])));
        assert_eq!(who(&mut roster).1, 0);
        roster.put(name("a"), Some(letter(&names)));
        assert_eq!(who(&mut roster).1, 1);
    }
}
