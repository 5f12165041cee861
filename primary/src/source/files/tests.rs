//! Real folders, real edits. Every wait is for a condition and has a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diolkos_facts::Rejection;
use diolkos_topology::{ClusterId, Event, Fact, FactKey, Source, Stamp};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{FilesSource, PACE, Pace};
use crate::source::{RejectionsChange, SourceEvent};

/// Only the watch can tell of an edit in time.
const BY_WATCH: Pace = Pace { rescan: Duration::from_secs(3600), ..PACE };
/// Only looking can.
const BY_LOOKING: Pace = Pace { rescan: Duration::from_millis(20), watch: false, ..PACE };

const DEADLINE: Duration = Duration::from_secs(10);

/// A mesh on disk, and a mirror of all that was said of it.
struct Site {
    folder: TempDir,
    events: mpsc::Receiver<SourceEvent>,
    said: Said,
    _source: FilesSource,
}

#[derive(Default)]
struct Said {
    meshes: usize,
    facts: BTreeMap<ClusterId, BTreeMap<FactKey, Fact>>,
    pods: BTreeMap<ClusterId, usize>,
    rejections: BTreeMap<Option<ClusterId>, Vec<Rejection>>,
    live: BTreeSet<ClusterId>,
    stale: BTreeSet<ClusterId>,
    gone: BTreeSet<ClusterId>,
    last: BTreeMap<Source, Stamp>,
    /// How many upserts and removals each batch had, for batches that had any.
    batches: Vec<usize>,
}

impl Site {
    fn new(pace: Pace, files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        for (name, text) in files {
            write(&folder.path().join(name), text);
        }
        let (sender, events) = mpsc::channel(64);
        let mesh = folder.path().join("mesh.yaml");
        let source = FilesSource::spawn_at(pace, &mesh, sender).expect("a thread");
        Self { folder, events, said: Said::default(), _source: source }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// In place, as a careless program does.
    fn write(&self, name: &str, text: &str) {
        write(&self.path(name), text);
    }

    /// By a new file that takes the old one's place, as an editor does.
    fn save(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new~"));
        write(&new, text);
        fs::rename(new, self.path(name)).expect("a rename");
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Said) -> bool) {
        let waiting = async {
            while !holds(&self.said) {
                let event = self.events.recv().await.expect("the source goes on");
                self.said.hear(event);
            }
        };
        let waited = tokio::time::timeout(DEADLINE, waiting).await;
        assert!(waited.is_ok(), "never came: {what}; rejections: {:?}", self.said.rejections);
    }

    async fn until_services(&mut self, cluster: &str, names: &[&str]) {
        self.until(&format!("{cluster}: {names:?}"), |said| said.services(cluster) == names).await;
    }

    async fn until_rejected(&mut self, cluster: Option<&str>, text: &str) {
        let of = cluster.map(id);
        self.until(text, |said| said.rejected(&of).contains(text)).await;
    }
}

impl Said {
    fn hear(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Events(events) => {
                let changes = events
                    .iter()
                    .filter(|event| matches!(event, Event::Upsert { .. } | Event::Remove { .. }))
                    .count();
                self.batches.extend((changes > 0).then_some(changes));
                events.into_iter().for_each(|event| self.apply(event));
            }
            SourceEvent::Mesh { .. } => self.meshes += 1,
            SourceEvent::Pods { cluster, change } => {
                let known = self.pods.entry(cluster).or_default();
                *known += change.pods.iter().filter(|(_, entry)| entry.is_some()).count();
            }
            SourceEvent::Rejections { cluster, change } => {
                let RejectionsChange::All(list) = change else { panic!("{change:?}") };
                self.rejections.insert(cluster, list);
            }
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Activate { source } => {
                self.live.insert(source.cluster);
            }
            Event::ClusterFresh { cluster } => {
                self.stale.remove(&cluster);
            }
            Event::ClusterStale { cluster } => {
                self.stale.insert(cluster);
            }
            Event::ClusterGone { cluster } => {
                self.facts.remove(&cluster);
                self.live.remove(&cluster);
                self.gone.insert(cluster);
            }
            Event::Remove { source, stamp, key } => {
                self.stamped(&source, stamp);
                let facts = self.facts.entry(source.cluster).or_default();
                assert!(facts.remove(&key).is_some(), "removed what was never said: {key:?}");
            }
            Event::Upsert { source, stamp, fact } => {
                self.stamped(&source, stamp);
                let facts = self.facts.entry(source.cluster).or_default();
                let before = facts.insert(fact.key(), fact.clone());
                assert_ne!(before, Some(fact), "said what was known");
            }
            _ => {}
        }
    }

    fn stamped(&mut self, source: &Source, stamp: Stamp) {
        let last = self.last.insert(source.clone(), stamp);
        assert!(last < Some(stamp), "stamps go on");
    }

    fn services(&self, cluster: &str) -> Vec<&str> {
        let facts = self.facts.get(&id(cluster)).into_iter().flatten();
        facts
            .filter_map(|(key, _)| match key {
                FactKey::Service(key) => Some(key.name.as_str()),
                _ => None,
            })
            .collect()
    }

    fn rejected(&self, cluster: &Option<ClusterId>) -> String {
        let list = self.rejections.get(cluster).into_iter().flatten();
        list.map(|rejection| format!("{rejection}\n")).collect()
    }
}

fn id(name: &str) -> ClusterId {
    ClusterId::new(name).expect("a name")
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

fn mesh(clusters: &[&str]) -> String {
    let clusters: Vec<_> = clusters
        .iter()
        .map(|name| format!("{{name: {name}, caCertificate: {name}.pem}}"))
        .collect();
    format!(
        "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: test}}\n\
         spec: {{trustDomain: mesh.example, clusters: [{}]}}\n",
        clusters.join(", ")
    )
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{ports: [{{name: http, port: 80}}]}}\n---\n"
    )
}

fn services(names: &[&str]) -> String {
    names.iter().map(|name| service(name)).collect()
}

fn site(pace: Pace) -> Site {
    Site::new(
        pace,
        &[
            ("mesh.yaml", &mesh(&["east", "west"])),
            ("clusters/east/shop.yaml", &services(&["cart", "till"])),
            ("clusters/west/shop.yaml", &services(&["cart"])),
        ],
    )
}

#[tokio::test]
async fn what_is_there_is_said_and_each_cluster_becomes_live() {
    let mut site = site(BY_WATCH);
    site.until("both live", |said| said.live.len() == 2).await;
    site.until_services("east", &["cart", "till"]).await;
    site.until_services("west", &["cart"]).await;
    assert_eq!(site.said.meshes, 1);
}

#[tokio::test]
async fn an_edit_is_seen_at_once_and_only_the_difference_is_said() {
    let mut site = site(BY_WATCH);
    site.until_services("east", &["cart", "till"]).await;
    site.until_services("west", &["cart"]).await;
    site.said.batches.clear();
    site.save("clusters/east/shop.yaml", &services(&["cart", "shelf"]));
    site.until_services("east", &["cart", "shelf"]).await;
    assert_eq!(site.said.batches, [2], "one removal and one upsert, in one batch");
    site.write("clusters/east/shop.yaml", &services(&["cart"]));
    site.until_services("east", &["cart"]).await;
}

#[tokio::test]
async fn without_a_watch_looking_finds_the_same() {
    let mut site = site(BY_LOOKING);
    site.until_services("east", &["cart", "till"]).await;
    site.save("clusters/east/shop.yaml", &services(&["shelf"]));
    site.until_services("east", &["shelf"]).await;
    site.write("clusters/east/shop.yaml", &services(&["shack"]));
    site.until_services("east", &["shack"]).await;
    fs::remove_file(site.path("mesh.yaml")).expect("it was there");
    site.until_rejected(None, "the mesh file does not exist").await;
}

#[tokio::test]
async fn files_and_folders_come_and_go() {
    let mut site = site(BY_WATCH);
    site.until_services("east", &["cart", "till"]).await;
    site.write("clusters/east/more/deep/shelf.yml", &service("shelf"));
    site.until_services("east", &["cart", "shelf", "till"]).await;
    site.write("clusters/east/more/deep/shelf.yml", &service("lamp"));
    site.until_services("east", &["cart", "lamp", "till"]).await;
    fs::remove_dir_all(site.path("clusters/east/more")).expect("it was there");
    site.until_services("east", &["cart", "till"]).await;
}

#[tokio::test]
async fn files_that_are_no_manifests_are_not_read() {
    let mut site = site(BY_WATCH);
    site.until_services("east", &["cart", "till"]).await;
    for name in [".shop.yaml.swp", ".hidden.yaml", "shop.yaml~", "#shop.yaml#", "notes.txt"] {
        site.write(&format!("clusters/east/{name}"), &service("never"));
    }
    site.write("clusters/east/.git/shop.yaml", &service("never"));
    site.write("clusters/east/z.json", &service("last").replace("---\n", ""));
    site.until_services("east", &["cart", "last", "till"]).await;
}

#[tokio::test]
async fn a_broken_edit_keeps_the_last_good_state_and_says_where_and_why() {
    let mut site = site(BY_WATCH);
    site.until_services("east", &["cart", "till"]).await;
    let broken = services(&["cart", "till"]).replace("name: till", "name: [till");
    site.save("clusters/east/shop.yaml", &broken);
    site.until_rejected(Some("east"), "clusters/east/shop.yaml:8: ").await;
    assert_eq!(site.said.services("east"), ["cart", "till"]);
    site.save("clusters/east/shop.yaml", &service("cart"));
    site.until_services("east", &["cart"]).await;
    site.until("no rejections", |said| said.rejected(&Some(id("east"))).is_empty()).await;
}

#[tokio::test]
async fn a_file_that_is_no_text_keeps_its_last_good_state() {
    let mut site = site(BY_WATCH);
    site.until_services("east", &["cart", "till"]).await;
    let path = site.path("clusters/east/shop.yaml");
    fs::write(path, b"kind: Service\n\xff\xfe").expect("a file");
    site.until_rejected(Some("east"), "byte 14 (line 2) is not UTF-8").await;
    assert_eq!(site.said.services("east"), ["cart", "till"]);
}

#[tokio::test]
async fn a_folder_out_of_sight_makes_its_cluster_stale_and_nothing_gone() {
    let mut site = site(BY_WATCH);
    site.until_services("east", &["cart", "till"]).await;
    fs::rename(site.path("clusters/east"), site.path("away")).expect("a rename");
    site.until("east stale", |said| said.stale.contains(&id("east"))).await;
    site.until_rejected(Some("east"), "the folder does not exist").await;
    assert_eq!(site.said.services("east"), ["cart", "till"]);
    write(&site.path("away/shop.yaml"), &services(&["cart"]));
    fs::rename(site.path("away"), site.path("clusters/east")).expect("a rename");
    site.until("east fresh", |said| said.stale.is_empty()).await;
    site.until_services("east", &["cart"]).await;
    site.write("clusters/east/shop.yaml", &services(&["lamp"]));
    site.until_services("east", &["lamp"]).await;
}

#[tokio::test]
async fn an_emptied_folder_is_out_of_sight_too() {
    let mut site = site(BY_WATCH);
    site.until_services("west", &["cart"]).await;
    fs::remove_file(site.path("clusters/west/shop.yaml")).expect("it was there");
    site.until("west stale", |said| said.stale.contains(&id("west"))).await;
    assert_eq!(site.said.services("west"), ["cart"]);
}

#[tokio::test]
async fn a_cluster_whose_folder_comes_later_is_stale_until_then() {
    let mut site = Site::new(BY_WATCH, &[("mesh.yaml", &mesh(&["east"]))]);
    site.until("east stale", |said| said.stale.contains(&id("east"))).await;
    assert!(site.said.live.is_empty());
    site.write("clusters/east/shop.yaml", &service("cart"));
    site.until("east fresh", |said| said.stale.is_empty() && said.live.len() == 1).await;
    site.until_services("east", &["cart"]).await;
}

#[tokio::test]
async fn only_the_mesh_file_takes_a_cluster_away() {
    let mut site = site(BY_WATCH);
    site.until("both live", |said| said.live.len() == 2).await;
    site.save("mesh.yaml", &mesh(&["west"]));
    site.until("east gone", |said| said.gone.contains(&id("east"))).await;
    site.save("mesh.yaml", &mesh(&["west", "east"]));
    site.until("east live again", |said| said.live.contains(&id("east"))).await;
    site.until_services("east", &["cart", "till"]).await;
}

#[tokio::test]
async fn a_broken_mesh_file_keeps_the_last_good_one() {
    let mut site = site(BY_WATCH);
    site.until("both live", |said| said.live.len() == 2).await;
    site.save("mesh.yaml", &mesh(&["west"]).replace("trustDomain", "trustDomian"));
    site.until_rejected(None, "mesh.yaml:4: Mesh test: unknown field spec.trustDomian").await;
    assert!(site.said.gone.is_empty());
    fs::remove_file(site.path("mesh.yaml")).expect("it was there");
    site.until_rejected(None, "the mesh file does not exist").await;
    assert!(site.said.gone.is_empty());
    site.save("mesh.yaml", &mesh(&["west"]));
    site.until("east gone", |said| said.gone.contains(&id("east"))).await;
}

#[tokio::test]
async fn a_mesh_file_that_comes_later_is_found() {
    let mut site = Site::new(BY_WATCH, &[("clusters/east/shop.yaml", &service("cart"))]);
    site.until_rejected(None, "the mesh file does not exist").await;
    site.save("mesh.yaml", &mesh(&["east"]));
    site.until_services("east", &["cart"]).await;
}

#[tokio::test]
async fn a_config_map_is_followed_through_its_links() {
    let mut site = Site::new(BY_WATCH, &[("mesh.yaml", &mesh(&["east"]))]);
    let east = site.path("clusters/east");
    write(&east.join("..1/shop.yaml"), &service("cart"));
    symlink("..1", east.join("..data")).expect("a link");
    symlink("..data/shop.yaml", east.join("shop.yaml")).expect("a link");
    site.until_services("east", &["cart"]).await;
    write(&east.join("..2/shop.yaml"), &service("till"));
    symlink("..2", east.join("..data_tmp")).expect("a link");
    fs::rename(east.join("..data_tmp"), east.join("..data")).expect("a rename");
    site.until_services("east", &["till"]).await;
}

#[tokio::test]
async fn a_change_of_the_mesh_files_networks_is_heard_without_touching_a_manifest() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}\n---\n";
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
        metadata: {name: s, namespace: shop, labels: {kubernetes.io/service-name: cart}}\n\
        addressType: IPv4\nports: [{name: http, port: 80}]\n\
        endpoints: [{addresses: [10.1.0.1], targetRef: {kind: Pod, name: p}}]\n";
    let files = [
        ("mesh.yaml", mesh(&["east"])),
        ("clusters/east/shop.yaml", format!("{}{pod}{slice}", service("cart"))),
    ];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut site = Site::new(BY_WATCH, &files);
    site.until_services("east", &["cart"]).await;
    assert_eq!(site.said.pods[&id("east")], 1, "pods come before what names them");
    let ranges = "meshNetworks: {hill: {endpoints: [{fromCidr: 10.1.0.0/16}]}}, clusters";
    site.save("mesh.yaml", &mesh(&["east"]).replace("clusters", ranges));
    site.until("the endpoint on network hill", |said| {
        said.facts[&id("east")].values().any(|fact| match fact {
            Fact::Slice(slice) => slice.endpoints.iter().any(|endpoint| {
                endpoint.network.as_ref().is_some_and(|network| network.as_str() == "hill")
            }),
            _ => false,
        })
    })
    .await;
}

#[tokio::test]
async fn the_source_ends_when_nobody_listens() {
    let Site { mut events, folder, _source, .. } = site(BY_LOOKING);
    assert!(events.recv().await.is_some());
    drop(_source);
    let ended = async { while events.recv().await.is_some() {} };
    tokio::time::timeout(DEADLINE, ended).await.expect("the thread lets go of the channel");
    drop(folder);
}
