//! Who speaks for which cluster, over all Secrets or all files.
//!
//! A cluster belongs to the first entry that named it and could be read. It stays with that entry
//! while that is broken, for its last good version counts; when the entry goes, the next that waits
//! takes over, in one step and without the cluster having been gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use diolkos_topology::ClusterId;

use super::code::{Code, Flaw};
use super::secret::{Outcome, Remark, RemoteSecret, read_file, read_secret, remark};
use super::{RemoteCluster, Setup};
use crate::limit;
use crate::rejection::Severity;

/// Where an entry stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    File(String),
    Secret { namespace: String, name: String },
}

/// What the owner of the connections has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteChange {
    Gone {
        cluster: ClusterId,
    },
    Put {
        remote: Arc<RemoteCluster>,
        /// The way to the API server is another: connect anew, and drop the old connection only
        /// once the new one has everything. Otherwise only what the cluster may claim changed.
        rotated: bool,
    },
}

#[derive(Debug)]
pub struct Remotes {
    setup: Setup,
    entries: BTreeMap<Key, Entry>,
    owners: BTreeMap<ClusterId, Owner>,
    tickets: u64,
}

/// The key of a Secret is empty where it is about the Secret as a whole; a file has but one entry.
type Key = (Origin, String);

#[derive(Debug, Default)]
struct Entry {
    good: Option<Good>,
    remark: Option<Remark>,
}

#[derive(Debug)]
struct Good {
    /// Smaller: earlier.
    ticket: u64,
    remote: Arc<RemoteCluster>,
}

#[derive(Debug)]
struct Owner {
    key: Key,
    /// As it was last told.
    remote: Arc<RemoteCluster>,
}

impl Remotes {
    pub fn new(setup: Setup) -> Self {
        Self { setup, entries: BTreeMap::new(), owners: BTreeMap::new(), tickets: 0 }
    }

    /// A Secret that is new or has changed.
    pub fn set(&mut self, secret: &RemoteSecret) -> Vec<RemoteChange> {
        let outcomes = read_secret(secret, &self.setup);
        self.hear(&Origin::of(secret), outcomes);
        self.settle()
    }

    pub fn remove(&mut self, namespace: &str, name: &str) -> Vec<RemoteChange> {
        let origin = Origin::Secret { namespace: namespace.into(), name: name.into() };
        self.hear(&origin, Vec::new());
        self.settle()
    }

    /// All Secrets there are. Of those that are new together, the oldest is first.
    pub fn reset(&mut self, secrets: &[RemoteSecret]) -> Vec<RemoteChange> {
        let mut secrets: Vec<_> = secrets.iter().collect();
        secrets.sort_by_key(|secret| (secret.created, &secret.namespace, &secret.name));
        let named = secrets.iter().map(|secret| Origin::of(secret)).collect();
        self.forget_all_but(&named);
        for secret in secrets {
            let outcomes = read_secret(secret, &self.setup);
            self.hear(&Origin::of(secret), outcomes);
        }
        self.settle()
    }

    /// All files of a folder of kubeconfigs, by name. Of those that are new together, the first by
    /// name is first. Names that begin with a dot are not looked at.
    pub fn set_files(&mut self, files: &BTreeMap<String, Vec<u8>>) -> Vec<RemoteChange> {
        let shown = files.iter().filter(|(name, _)| !name.starts_with('.'));
        let (read, beyond): (Vec<_>, Vec<_>) =
            shown.enumerate().partition(|(place, _)| *place < limit::REMOTE_ENTRIES_MAX);
        let named = |files: &[(usize, (&String, _))]| -> BTreeSet<Origin> {
            files.iter().map(|(_, (name, _))| Origin::File((*name).clone())).collect()
        };
        self.forget_all_but(&named(&read));
        for (_, (name, bytes)) in read {
            let outcome = read_file(name, bytes, &self.setup);
            self.hear(&Origin::File(name.clone()), vec![(String::new(), outcome)]);
        }
        for origin in named(&beyond) {
            let cause = format!("more than {} files", limit::REMOTE_ENTRIES_MAX);
            let flaw = Flaw::new(0, Code::TooMany, cause, "remove some");
            let outcome = Err(remark(&origin.to_string(), None, flaw, Severity::Refused));
            self.hear(&origin, vec![(String::new(), outcome)]);
        }
        self.settle()
    }

    /// By name, each with where it comes from.
    pub fn clusters(&self) -> impl Iterator<Item = (&Origin, &RemoteCluster)> {
        self.owners.values().map(|owner| (&owner.key.0, &*owner.remote))
    }

    /// What is no remote cluster and why, by place.
    pub fn remarks(&self) -> Vec<Remark> {
        let mut remarks: Vec<_> =
            self.entries.values().filter_map(|entry| entry.remark.clone()).collect();
        for (key, entry) in &self.entries {
            let Some(good) = &entry.good else { continue };
            let cluster = &good.remote.cluster;
            let flaw = match self.owners.get(cluster) {
                Some(owner) if owner.key == *key => continue,
                Some(owner) => second_owner(cluster, &owner.key.0),
                None => too_many(cluster),
            };
            let (origin, name) = key;
            let name = Some(name.as_str()).filter(|name| !name.is_empty());
            remarks.push(remark(&origin.to_string(), name, flaw, Severity::Refused));
        }
        remarks.sort_by(|a, b| (&a.rejection, a.code).cmp(&(&b.rejection, b.code)));
        remarks
    }

    fn forget_all_but(&mut self, named: &BTreeSet<Origin>) {
        self.entries.retain(|(origin, _), _| named.contains(origin));
    }

    /// What one origin says now, in place of all it said before. A remark about the whole of it
    /// leaves its entries as they were.
    fn hear(&mut self, origin: &Origin, outcomes: Vec<(String, Outcome)>) {
        let whole = matches!(&outcomes[..], [(key, Err(_))] if key.is_empty());
        let said: BTreeSet<&String> = outcomes.iter().map(|(key, _)| key).collect();
        self.entries.retain(|(from, key), _| from != origin || said.contains(key) || whole);
        let kept = self.entries.iter().any(|((from, _), one)| from == origin && one.good.is_some());
        for (key, outcome) in outcomes {
            let entry = self.entries.entry((origin.clone(), key)).or_default();
            match outcome {
                Ok(remote) => {
                    entry.remark = None;
                    let known = entry.good.as_ref().filter(|g| g.remote.cluster == remote.cluster);
                    let ticket = known.map(|good| good.ticket).unwrap_or_else(|| {
                        self.tickets += 1;
                        self.tickets
                    });
                    entry.good = Some(Good { ticket, remote: Arc::new(remote) });
                }
                Err(mut remark) => {
                    if entry.good.is_some() || whole && kept {
                        let until = " (until then the last good version counts)";
                        remark.rejection.way_out.push_str(until);
                    }
                    entry.remark = Some(remark);
                }
            }
        }
    }

    /// Gives each cluster its owner; yields what changed, first what is gone.
    fn settle(&mut self) -> Vec<RemoteChange> {
        let mut waiting: Vec<(u64, &Key, &Arc<RemoteCluster>)> = Vec::new();
        for (key, entry) in &self.entries {
            waiting.extend(entry.good.as_ref().map(|good| (good.ticket, key, &good.remote)));
        }
        waiting.sort_by_key(|(ticket, ..)| *ticket);
        let mut owners: BTreeMap<ClusterId, Owner> = BTreeMap::new();
        let own = |key: &Key, remote: &Arc<RemoteCluster>| {
            let owner = Owner { key: key.clone(), remote: Arc::clone(remote) };
            (remote.cluster.clone(), owner)
        };
        let known = |remote: &RemoteCluster| self.owners.get(&remote.cluster);
        // Whoever owns a cluster keeps it; then clusters that have an owner who left.
        owners.extend(
            waiting
                .iter()
                .filter(|(_, key, remote)| known(remote).is_some_and(|owner| owner.key == **key))
                .map(|(_, key, remote)| own(key, remote)),
        );
        for heir in [true, false] {
            for (_, key, remote) in &waiting {
                let room = owners.len() < limit::REMOTE_CLUSTERS_MAX;
                if known(remote).is_some() == heir && room {
                    let (cluster, owner) = own(key, remote);
                    owners.entry(cluster).or_insert(owner);
                }
            }
        }
        let before = std::mem::replace(&mut self.owners, owners);
        let gone = before.keys().filter(|cluster| !self.owners.contains_key(*cluster));
        let gone = gone.map(|cluster| RemoteChange::Gone { cluster: cluster.clone() });
        let put = self.owners.iter().filter_map(|(cluster, owner)| {
            let known = before.get(cluster).map(|owner| &owner.remote);
            let remote = Arc::clone(&owner.remote);
            let rotated = known.is_none_or(|known| known.connection != remote.connection);
            (known != Some(&remote)).then_some(RemoteChange::Put { remote, rotated })
        });
        gone.chain(put).collect()
    }
}

fn second_owner(cluster: &ClusterId, owner: &Origin) -> Flaw {
    let cause = format!("cluster {cluster} is already that of {owner}");
    let way_out = "drop one of the two; when the first goes, this one takes over";
    Flaw::new(0, Code::SecondOwner, cause, way_out)
}

fn too_many(cluster: &ClusterId) -> Flaw {
    let cause = format!(
        "cluster {cluster} is one more than {} remote clusters",
        limit::REMOTE_CLUSTERS_MAX
    );
    Flaw::new(0, Code::TooMany, cause, "use more primaries, linked to each other")
}

impl Origin {
    fn of(secret: &RemoteSecret) -> Self {
        Self::Secret { namespace: secret.namespace.clone(), name: secret.name.clone() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "file {name}"),
            Self::Secret { namespace, name } => write!(f, "secret {namespace}/{name}"),
        }
    }
}
