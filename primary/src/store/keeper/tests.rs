use std::path::Path;

use diolkos_topology::{
    ClusterSettings, Grants, Locality, NamePattern, Names, NetworkId, NodeFact, NodeName,
};
use diolkos_trust::TrustDomain;

use super::*;
use crate::store::FileStore;
use crate::store::encode::VERSION;

fn cluster(name: &str) -> ClusterId {
    ClusterId::new(name).unwrap()
}

fn settings(name: &str) -> ClusterSettings {
    ClusterSettings {
        cluster: cluster(name),
        trust_domain: TrustDomain::new("mesh.test").unwrap(),
        network: NetworkId::unnamed(),
        addresses: vec!["10.0.0.0/8".parse().unwrap()],
        grants: Grants {
            services: Names::Listed([NamePattern::parse("shop/*").unwrap()].into()),
            ..Grants::plain()
        },
    }
}

fn node(name: &str, zone: &str) -> Fact {
    let name = NodeName::new(name).unwrap();
    Fact::Node(NodeFact { name, locality: Locality::new("r", zone) })
}

fn put(keeper: &Keeper, of: &str, nodes: &[(&str, Option<&str>)]) {
    keeper.settings(&settings(of));
    let facts =
        nodes.iter().map(|(name, zone)| (node(name, "").key(), zone.map(|zone| node(name, zone))));
    keeper.note(&cluster(of), &facts.collect());
}

/// Opens, does something, and closes again.
fn session(path: &Path, act: impl FnOnce(&Keeper, &Stored)) -> Option<StoreShown> {
    let (keeper, stored) = Keeper::open_at(Duration::from_millis(1), FileStore::new(path));
    act(&keeper, &stored);
    keeper.end();
    let shown = keeper.shown(SystemTime::now());
    let shared = Arc::downgrade(&keeper.0.expect("a store"));
    let begin = Instant::now();
    while shared.strong_count() > 0 {
        assert!(begin.elapsed() < Duration::from_secs(10), "the store does not end");
        std::thread::yield_now();
    }
    shown
}

fn text(stored: &Stored) -> Vec<String> {
    let facts = |one: &super::super::StoredCluster| {
        one.facts.iter().map(|fact| format!("{fact:?}")).collect::<Vec<_>>()
    };
    stored
        .clusters
        .iter()
        .flat_map(|(name, one)| {
            let all = facts(one);
            all.into_iter().map(move |fact| format!("{name} {fact}"))
        })
        .collect()
}

#[test]
fn r4_what_was_said_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts.redb");
    session(&path, |keeper, stored| {
        assert!(stored.clusters.is_empty());
        put(keeper, "west", &[("a", Some("1")), ("b", Some("1"))]);
        put(keeper, "west2", &[("x", Some("9"))]);
        keeper.name(&HostName::new("gw.example.com").unwrap(), &["192.0.2.1".parse().unwrap()]);
    });
    session(&path, |keeper, stored| {
        assert_eq!(text(stored).len(), 3, "{stored:?}");
        assert_eq!(stored.clusters[&cluster("west")].settings, settings("west"));
        let age = SystemTime::now().duration_since(stored.clusters[&cluster("west")].fresh);
        assert!(age.unwrap() < Duration::from_secs(60));
        assert_eq!(stored.names.len(), 1);
        put(keeper, "west", &[("a", None), ("b", Some("2"))]);
    });
    session(&path, |keeper, stored| {
        assert_eq!(text(stored).len(), 2, "{stored:?}");
        assert!(text(stored)[0].contains("zone: \"2\""), "{stored:?}");
        keeper.forget(&cluster("west"));
    });
    session(&path, |_, stored| {
        assert_eq!(stored.clusters.keys().map(ClusterId::as_str).collect::<Vec<_>>(), ["west2"]);
        assert_eq!(text(stored).len(), 1, "whose name begins alike is another");
    });
}

#[test]
fn r21_a_broken_file_is_moved_aside_and_the_store_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts.redb");
    session(&path, |keeper, _| put(keeper, "west", &[("a", Some("1"))]));
    let whole = std::fs::read(&path).unwrap();
    let mut damages: Vec<Vec<u8>> = vec![b"no store".to_vec(), whole[..whole.len() / 2].to_vec()];
    for at in [0, 9, 64, 200, 4096 + 5] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0xff;
        damages.push(flipped);
    }
    for damaged in damages {
        std::fs::write(&path, damaged).unwrap();
        let shown = session(&path, |keeper, _| put(keeper, "east", &[("b", Some("1"))]));
        assert!(shown.is_some());
        session(&path, |_, stored| {
            assert!(stored.clusters.contains_key(&cluster("east")), "{stored:?}");
        });
    }
}

#[test]
fn r21_a_place_that_cannot_be_written_is_a_condition_and_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing/facts.redb");
    let shown = session(&path, |keeper, _| put(keeper, "west", &[("a", Some("1"))]));
    let shown = shown.unwrap();
    assert!(!shown.available);
    assert!(shown.state.starts_with("failing: "), "{shown:?}");
}

/// A store that says this version of itself.
fn of_version(path: &Path, version: u64) {
    let database = redb::Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(ABOUT).unwrap().insert("version", version).unwrap();
    transaction.commit().unwrap();
}

fn version_of(path: &Path) -> u64 {
    let database = redb::Database::create(path).unwrap();
    let transaction = redb::ReadableDatabase::begin_read(&database).unwrap();
    transaction.open_table(ABOUT).unwrap().get("version").unwrap().unwrap().value()
}

const ABOUT: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("about");

#[test]
fn r24_a_file_of_a_later_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts.redb");
    of_version(&path, VERSION + 1);
    let shown = session(&path, |keeper, _| put(keeper, "west", &[("a", Some("1"))]));
    assert!(shown.unwrap().state.contains(&format!("version {}", VERSION + 1)));
    assert_eq!(version_of(&path), VERSION + 1);
}

#[test]
fn r24_a_file_of_an_earlier_version_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts.redb");
    of_version(&path, VERSION - 1);
    let shown = session(&path, |keeper, _| put(keeper, "west", &[("a", Some("1"))]));
    assert!(shown.unwrap().available);
    assert_eq!(version_of(&path), VERSION);
    assert_eq!(version_of(&path.with_extension("broken")), VERSION - 1);
}

/// Fails as often as it is told to.
struct Moody {
    failures: u32,
    written: Arc<Mutex<Vec<Batch>>>,
}

impl Backend for Moody {
    fn load(&mut self) -> Result<Stored, String> {
        Ok(Stored::default())
    }

    fn write(&mut self, batch: &Batch, _: SystemTime) -> Result<(), String> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err("the disk is full".into());
        }
        self.written.lock().unwrap().push(batch.clone());
        Ok(())
    }
}

#[test]
fn r21_what_a_full_disk_did_not_take_is_written_with_the_rest() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let backend = Moody { failures: 1, written: written.clone() };
    let (keeper, _) = Keeper::open_at(Duration::from_millis(1), backend);
    put(&keeper, "west", &[("a", Some("1")), ("b", Some("1"))]);
    let begin = Instant::now();
    while keeper.shown(SystemTime::now()).unwrap().available {
        assert!(begin.elapsed() < Duration::from_secs(10), "no write was tried");
        std::thread::yield_now();
    }
    put(&keeper, "west", &[("b", None), ("c", Some("1"))]);
    // The end does not wait for the next try.
    keeper.end();
    let begin = Instant::now();
    while written.lock().unwrap().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(10), "nothing was written");
        std::thread::yield_now();
    }
    let batches = written.lock().unwrap();
    let facts = &batches[0].clusters[&cluster("west")].facts;
    let kept: Vec<bool> = facts.values().map(Option::is_some).collect();
    assert_eq!(kept, [true, false, true]);
}
