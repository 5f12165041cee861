//! Which cluster reaches what through a tunnel: the routes that the primary said, and for whom.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::net::SocketAddr;
use std::time::SystemTime;

use diolkos_hbone::{Destination, Gate, Refused};
use diolkos_tls::{IssuerKey, Peer};
use diolkos_xds::ResourceType;
use envoy_types::pb::envoy::config::core::v3 as core;
use prost::Message;
use world::mesh::Mesh;
use world::*;

const SERVICE: &str = "catalog.shop.svc.cluster.local:8080";
const ROUTE: &str = "outbound_.8080_._.catalog.shop.svc.cluster.local";

struct Ground {
    world: World,
    keys: [IssuerKey; 4],
}

/// Whose CA signs for one cluster each; the last of them for several.
const CLUSTERS: [&str; 3] = ["east", "south", "west"];
const SHARED: usize = 3;

impl Ground {
    async fn new() -> Self {
        let keys = [(); 4].map(|()| Mesh::new().issuer());
        let ground = Self { world: World::start().await, keys };
        ground.callers(&ground.told());
        ground
    }

    /// As a primary tells of its clusters.
    fn told(&self) -> Vec<Vec<String>> {
        let mut lists = vec![vec![String::new(), self.keys[SHARED].to_string()]];
        for (cluster, key) in CLUSTERS.iter().zip(&self.keys) {
            lists.push(vec![(*cluster).to_owned(), key.to_string()]);
        }
        lists.push(vec!["north".into()]);
        lists
    }

    fn callers(&self, lists: &[Vec<String>]) -> Vec<String> {
        let mut listener = resources::listener_message(self.world.address);
        listener.metadata = Some(resources::metadata("callers", lists));
        self.apply(ResourceType::Listener, "sni", listener.encode_to_vec())
    }

    fn cluster(&self, metadata: Option<core::Metadata>) -> Vec<String> {
        let mut cluster = resources::cluster_message(ROUTE);
        cluster.metadata = metadata;
        self.apply(ResourceType::Cluster, ROUTE, cluster.encode_to_vec())
    }

    fn consumers(&self, exports: &[&[&str]]) -> Option<core::Metadata> {
        let lists: Vec<Vec<String>> =
            exports.iter().map(|list| list.iter().map(|text| (*text).into()).collect()).collect();
        Some(resources::metadata("consumers", &lists))
    }

    fn endpoints(&self, targets: &[(u16, &str)]) -> Vec<String> {
        let targets: Vec<(SocketAddr, &str)> =
            targets.iter().map(|(port, cluster)| (at(*port), *cluster)).collect();
        self.apply(ResourceType::Endpoint, ROUTE, resources::endpoints_of(ROUTE, &targets))
    }

    fn apply(&self, kind: ResourceType, name: &str, body: Vec<u8>) -> Vec<String> {
        self.world.apply(kind, &[(name, body)], &[]).faults
    }

    /// Where a caller whose leaf that key signed gets to.
    fn ask(&self, key: usize, organization: Option<&str>) -> Result<Vec<u16>, Refused> {
        self.ask_as(self.keys[key], None, organization)
    }

    /// The same, with what the root wrote into the subject of the CA.
    fn ask_as(
        &self,
        issuer: IssuerKey,
        issuer_locality: Option<&str>,
        organization: Option<&str>,
    ) -> Result<Vec<u16>, Refused> {
        let caller = Peer {
            id: Mesh::id("web"),
            issuer,
            issuer_locality: issuer_locality.map(str::to_owned),
            organization: organization.map(str::to_owned),
            not_after: SystemTime::now(),
        };
        let to = Destination::parse(SERVICE).unwrap();
        let admission = self.world.gateway.config().admit(&caller, &to);
        admission.route.map(|route| {
            assert_eq!(route.name().as_str(), ROUTE);
            route.targets().iter().map(|target| target.address.port()).collect()
        })
    }

    /// East, south and west.
    fn each(&self) -> [Result<Vec<u16>, Refused>; 3] {
        [0, 1, 2].map(|key| self.ask(key, None))
    }
}

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 2], port).into()
}

#[tokio::test]
async fn what_names_nobody_is_for_every_cluster_of_the_mesh_and_for_no_stranger() {
    let ground = Ground::new().await;
    assert_eq!(ground.each(), [(); 3].map(|()| Err(Refused::UnknownService)));
    assert_eq!(ground.cluster(None), [""; 0]);
    assert_eq!(ground.each(), [(); 3].map(|()| Err(Refused::NoEndpoints)));
    ground.endpoints(&[(1, "east"), (2, "east")]);
    assert_eq!(ground.each(), [(); 3].map(|()| Ok(vec![1, 2])));
    // A subject counts where one of the primary's own CAs wrote it, and only there.
    for (key, subject, reached) in [
        (SHARED, Some("north"), Ok(vec![1, 2])),
        (SHARED, Some("nowhere"), Err(Refused::Stranger)),
        (SHARED, None, Err(Refused::Stranger)),
        (0, Some("nowhere"), Ok(vec![1, 2])),
    ] {
        assert_eq!(ground.ask(key, subject), reached, "{key} {subject:?}");
    }
}

#[tokio::test]
async fn a9_guessing_a_name_of_another_clusters_export() {
    let ground = Ground::new().await;
    ground.cluster(ground.consumers(&[&["east", "west"]]));
    ground.endpoints(&[(1, "east")]);
    let [own, guesser, consumer] = ground.each();
    assert_eq!(guesser, Err(Refused::NotExported));
    assert_eq!((own, consumer), (Ok(vec![1]), Ok(vec![1])));
    // Not by what it writes into its own subjects either.
    assert_eq!(ground.ask(1, Some("west")), Err(Refused::NotExported));
    assert_eq!(ground.ask(SHARED, Some("north")), Err(Refused::NotExported));
    assert_eq!(ground.ask(SHARED, Some("west")), Ok(vec![1]));
}

#[tokio::test]
async fn each_exporter_speaks_for_its_own_endpoints() {
    let ground = Ground::new().await;
    ground.cluster(ground.consumers(&[&["east", "west"], &["north"]]));
    ground.endpoints(&[(1, "east"), (2, "south"), (3, "north"), (4, "")]);
    let [east, south, west] = ground.each();
    assert_eq!(east, Ok(vec![1, 2]), "its own, and those that are for everybody");
    assert_eq!(south, Ok(vec![2]));
    assert_eq!(west, Ok(vec![1, 2]));
    assert_eq!(ground.ask(SHARED, Some("north")), Ok(vec![2, 3]));
}

#[tokio::test]
async fn a_ca_that_nobody_named_signs_for_the_cluster_that_its_root_wrote_into_it() {
    let ground = Ground::new().await;
    ground.cluster(ground.consumers(&[&["east", "north"]]));
    ground.endpoints(&[(1, "east")]);
    let unknown = Mesh::new().issuer();
    let cases = [
        ("north has no CA by name", unknown, Some("north"), None, Ok(vec![1])),
        ("whatever its leaves say", unknown, Some("north"), Some("west"), Ok(vec![1])),
        ("east's CA was named", unknown, Some("east"), None, Err(Refused::Stranger)),
        ("no cluster of the mesh", unknown, Some("oslo"), None, Err(Refused::Stranger)),
        ("of no locality", unknown, None, Some("north"), Err(Refused::Stranger)),
        ("named for west", ground.keys[2], Some("north"), None, Err(Refused::NotExported)),
        ("signs for several", ground.keys[SHARED], Some("east"), Some("north"), Ok(vec![1])),
        ("also for none", ground.keys[SHARED], Some("north"), Some("oslo"), Err(Refused::Stranger)),
    ];
    for (what, issuer, locality, organization, expected) in cases {
        assert_eq!(ground.ask_as(issuer, locality, organization), expected, "{what}");
    }
}

#[tokio::test]
async fn a_change_of_consumers_counts_from_the_next_request_on() {
    let ground = Ground::new().await;
    ground.cluster(ground.consumers(&[&["east", "west"]]));
    ground.endpoints(&[(1, "east")]);
    ground.cluster(ground.consumers(&[&["east", "south"]]));
    assert_eq!(ground.each(), [Ok(vec![1]), Ok(vec![1]), Err(Refused::NotExported)]);
    ground.cluster(None);
    assert_eq!(ground.each(), [(); 3].map(|()| Ok(vec![1])));
    // Restricted anew, it is nobody's until its endpoints are said to be somebody's.
    ground.cluster(ground.consumers(&[&["east", "west"]]));
    assert_eq!(ground.each(), [(); 3].map(|()| Err(Refused::NotExported)));
    ground.endpoints(&[(1, "east")]);
    assert_eq!(ground.each(), [Ok(vec![1]), Err(Refused::NotExported), Ok(vec![1])]);
    ground.world.apply(ResourceType::Cluster, &[], &[ROUTE]);
    assert_eq!(ground.each(), [(); 3].map(|()| Err(Refused::UnknownService)));
}

#[tokio::test]
async fn whether_it_has_endpoints_is_for_its_consumers_to_know() {
    let ground = Ground::new().await;
    ground.cluster(ground.consumers(&[&["east", "west"]]));
    let [east, south, west] = ground.each();
    assert_eq!((east, west), (Err(Refused::NoEndpoints), Err(Refused::NoEndpoints)));
    assert_eq!(south, Err(Refused::NotExported));
}

#[tokio::test]
async fn what_is_said_wrongly_is_refused_and_for_nobody() {
    let ground = Ground::new().await;
    ground.cluster(None);
    ground.endpoints(&[(1, "east")]);
    let faults = ground.cluster(ground.consumers(&[&[]]));
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with(&format!("{ROUTE}: its diolkos.dev consumers")), "{faults:?}");
    assert_eq!(ground.each(), [(); 3].map(|()| Err(Refused::NotExported)));

    let ground = Ground::new().await;
    ground.cluster(None);
    ground.endpoints(&[(1, "east")]);
    let mut lists = ground.told();
    lists[1][1] = "no key".into();
    let faults = ground.callers(&lists);
    assert_eq!(faults, ["sni: \"no key\" is not the key of a CA"]);
    assert_eq!(ground.each(), [(); 3].map(|()| Ok(vec![1])), "the last good word counts on");
}

/// A primary that is not ours says nothing of callers: what names consumers is for none of them.
#[tokio::test]
async fn without_a_word_of_callers_restricted_exports_are_for_nobody() {
    let ground = Ground::new().await;
    ground.apply(ResourceType::Listener, "sni", resources::listener(ground.world.address));
    ground.cluster(None);
    ground.endpoints(&[(1, "east")]);
    assert_eq!(ground.each(), [(); 3].map(|()| Ok(vec![1])));
    ground.cluster(ground.consumers(&[&["east", "west"]]));
    ground.endpoints(&[(1, "east")]);
    assert_eq!(ground.each(), [(); 3].map(|()| Err(Refused::NotExported)));
}
