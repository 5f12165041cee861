//! Whatever the order of events, the same objects give the same facts, pods and rejections.

use std::collections::{BTreeMap, BTreeSet};

use diolkos_facts::{
    Changes, ClusterIndex, Folder, HostName, HostNames, MeshNetworks, ObjectId, ObjectKind,
    PodEntry, PodKey, Rejection, Resolved, UnknownPods, parse_mesh,
};
use diolkos_topology::{ClusterSettings, Fact, NetworkId};
use proptest::prelude::*;

use crate::objects::{Draft, Facts, differences, follow, put, read};

const MESH: &str = "
apiVersion: diolkos.dev/v1alpha1
kind: Mesh
metadata: {name: test}
spec:
  trustDomain: mesh.example
  clusters: [{name: east}]
  meshNetworks:
    west:
      endpoints: [{fromRegistry: east}, {fromCidr: 10.1.0.0/16}]
      gateways:
      - {registryServiceName: web-1.shop.svc.cluster.local, port: 15443}
      - {address: 198.51.100.1, port: 443}
      - {address: gw-9.example.com, port: 15443}
    hill:
      endpoints: [{fromCidr: 10.2.0.0/16}]
";

fn mesh(named: bool) -> (ClusterSettings, MeshNetworks) {
    let mesh = parse_mesh(MESH).0.expect("a mesh file");
    let mut settings = mesh.clusters[0].settings.clone();
    if !named {
        settings.network = NetworkId::unnamed();
    }
    (settings, mesh.networks)
}

#[derive(Clone, Debug)]
enum Step {
    Put(Draft),
    Remove(Draft),
    /// All of a kind, as a list after a watch that broke.
    Replace(ObjectKind, Vec<Draft>),
    Resolve(u8, Option<u8>),
    Configure(bool),
}

fn kind() -> impl Strategy<Value = ObjectKind> {
    proptest::sample::select(ObjectKind::ALL.as_slice())
}

fn draft() -> impl Strategy<Value = Draft> {
    (kind(), 0_u8..4, [0_u8..4, 0_u8..4, 0_u8..4]).prop_map(|(kind, name, choice)| Draft {
        kind,
        name,
        choice,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => draft().prop_map(Step::Put),
        3 => draft().prop_map(Step::Remove),
        1 => (kind(), proptest::collection::vec(draft(), 0..6)).prop_map(|(kind, drafts)| {
            let of_kind = |draft| Draft { kind, ..draft };
            Step::Replace(kind, drafts.into_iter().map(of_kind).collect())
        }),
        1 => (0_u8..4, proptest::option::of(0_u8..4)).prop_map(|(h, a)| Step::Resolve(h, a)),
        1 => any::<bool>().prop_map(Step::Configure),
    ]
}

/// The index, and what someone who follows its changes believes.
struct Followed {
    index: ClusterIndex,
    facts: Facts,
    pods: BTreeMap<PodKey, PodEntry>,
    rejected: BTreeMap<String, Vec<Rejection>>,
    /// The last version of each object that was not refused.
    objects: BTreeMap<ObjectId, serde_json::Value>,
    named: bool,
    names: BTreeMap<HostName, Resolved>,
}

impl Followed {
    fn new() -> Self {
        let (settings, networks) = mesh(true);
        let index = ClusterIndex::new(&settings, &networks, UnknownPods::Plaintext);
        let (facts, rejected) = (index.facts(None), index.rejections());
        Self {
            index,
            facts,
            rejected,
            pods: BTreeMap::new(),
            objects: BTreeMap::new(),
            named: true,
            names: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        let mut out = Changes::default();
        match step {
            Step::Put(draft) => {
                self.note(&draft);
                put(&mut self.index, &draft, &mut out);
            }
            Step::Remove(draft) => {
                self.objects.remove(&draft.id());
                self.index.remove(&draft.id(), &mut out);
            }
            Step::Replace(kind, drafts) => {
                // A list has an object once.
                let drafts: BTreeMap<ObjectId, Draft> =
                    drafts.into_iter().map(|draft| (draft.id(), draft)).collect();
                self.objects.retain(|id, _| id.kind != kind || drafts.contains_key(id));
                drafts.values().for_each(|draft| self.note(draft));
                let all = drafts.into_iter().map(|(id, draft)| {
                    let (said, findings) = read(kind, &draft.json());
                    (id, said, findings)
                });
                self.index.replace(kind, all.collect(), &mut out);
            }
            Step::Resolve(host, answer) => {
                let host = HostName::new(&format!("gw-{host}.example.com")).expect("a name");
                let mut known = self.names.get(&host).cloned().unwrap_or_default();
                known.trouble = answer.is_none().then(|| "no such name".into());
                if let Some(last) = answer {
                    known.addresses =
                        vec![format!("203.0.113.{last}").parse().expect("an address")];
                }
                self.index.resolve(&host, known.clone(), &mut out);
                if self.index.wanted().contains(&host) {
                    self.names.insert(host, known);
                }
            }
            Step::Configure(named) => {
                self.named = named;
                let (settings, networks) = mesh(named);
                self.index.configure(&settings, &networks, &mut out);
            }
        }
        self.names.retain(|host, _| self.index.wanted().contains(host));
        follow(&mut self.facts, &out);
        for (key, entry) in out.pods {
            match entry {
                Some(entry) => drop(self.pods.insert(key, entry)),
                None => drop(self.pods.remove(&key)),
            }
        }
        self.rejected.extend(out.rejected);
        self.rejected.retain(|_, list| !list.is_empty());
    }

    fn note(&mut self, draft: &Draft) {
        self.objects.insert(draft.id(), draft.json());
    }
}

/// One file per object, each said first as it was last good and then as it is.
fn folder(objects: &[(ObjectId, Vec<serde_json::Value>)], named: bool, names: HostNames) -> Folder {
    let (settings, networks) = mesh(named);
    let mut folder = Folder::new(&settings, &networks);
    for (id, versions) in objects {
        let file = format!("{}/{}/{}.json", id.kind, id.namespace, id.name);
        for version in versions {
            folder.set(&file, Some(&version.to_string()));
        }
    }
    folder.set_names(names);
    folder
}

/// What a rejection says, wherever its object is written.
type Line = (Option<String>, String, String);

/// A file tells that what it said before counts; an API server's object has no file.
fn line(rejection: &Rejection) -> Line {
    let way_out = rejection.way_out.split(" (until then").next().unwrap_or_default();
    (rejection.object.clone(), rejection.cause.clone(), way_out.to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_index_is_what_is_derived_from_scratch(steps in proptest::collection::vec(step(), 1..40)) {
        let mut followed = Followed::new();
        let mut said: BTreeMap<ObjectId, Vec<serde_json::Value>> = BTreeMap::new();
        for step in steps {
            followed.step(step);
            said.retain(|id, _| followed.objects.contains_key(id));
            for (id, object) in &followed.objects {
                let versions = said.entry(id.clone()).or_default();
                if versions.last() != Some(object) {
                    versions.push(object.clone());
                }
            }
            let objects: Vec<_> = said.clone().into_iter().collect();
            let names = HostNames::Resolved(followed.names.clone());
            let derived = folder(&objects, followed.named, names).derive();

            let differing = differences(&followed.facts, &derived.facts);
            prop_assert!(differing.is_empty(), "followed facts: {differing:#?}");
            let differing = differences(&followed.index.facts(None), &derived.facts);
            prop_assert!(differing.is_empty(), "kept facts: {differing:#?}");
            prop_assert_eq!(&followed.pods, &derived.pods);
            prop_assert_eq!(followed.index.pods(), &derived.pods);
            let endpoints = derived.facts.values().map(|fact| match fact {
                Fact::Slice(slice) => slice.endpoints.len(),
                _ => 0,
            });
            prop_assert_eq!(followed.index.endpoints(), endpoints.sum::<usize>());
            let told: BTreeSet<Line> = followed.rejected.values().flatten().map(line).collect();
            let expected: BTreeSet<Line> = derived.rejections.iter().map(line).collect();
            prop_assert_eq!(&told, &expected);
            let kept = followed.index.rejections();
            let kept: BTreeSet<Line> = kept.values().flatten().map(line).collect();
            prop_assert_eq!(kept, expected);
        }
    }

    /// R11, unit: whoever hears the same objects in another order ends with the same.
    #[test]
    fn r11_the_order_of_first_words_does_not_matter(
        drafts in proptest::collection::vec(draft(), 1..20), seed in any::<u64>(),
    ) {
        let mut last: BTreeMap<ObjectId, Draft> = BTreeMap::new();
        for draft in drafts {
            last.insert(draft.id(), draft);
        }
        let mut shuffled: Vec<&Draft> = last.values().collect();
        shuffled.sort_by_key(|draft| {
            let text = format!("{:?}{seed}", draft.id());
            text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
        });
        let (settings, networks) = mesh(true);
        let mut indexes = Vec::new();
        for order in [last.values().collect::<Vec<_>>(), shuffled] {
            let mut index = ClusterIndex::new(&settings, &networks, UnknownPods::Wait);
            for draft in order {
                put(&mut index, draft, &mut Changes::default());
            }
            indexes.push(index);
        }
        prop_assert_eq!(indexes[0].facts(None), indexes[1].facts(None));
        prop_assert_eq!(indexes[0].pods(), indexes[1].pods());
        prop_assert_eq!(indexes[0].rejections(), indexes[1].rejections());
    }
}
