//! A primary over API servers, as an operator sees it.

use std::time::{Duration, Instant};

use diolkos_ops::Shutdown;
use diolkos_primary::{Primary, PrimarySettings, SourceSettings};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest, Validity};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fake::{FakeApi, Mood};
use crate::world::{World, fill};

struct Page {
    primary: Primary,
    trigger: diolkos_ops::Trigger,
}

impl Page {
    async fn open(world: &World, ready_max: Duration) -> Self {
        let (now, day) = (std::time::SystemTime::now(), Duration::from_secs(24 * 3600));
        let validity = Validity { not_before: now - day / 24, not_after: now + day };
        let root = Authority::new_root("mesh", validity).unwrap();
        let domain = TrustDomain::new("mesh.test").unwrap();
        let leaf = LeafRequest {
            id: SpiffeId::workload(&domain, "diolkos-system", "diolkos-primary").unwrap(),
            dns: vec!["primary.test".into()],
            ips: Vec::new(),
            validity,
        };
        let identity = world.dir.path().join("identity");
        std::fs::create_dir_all(&identity).unwrap();
        root.issue(&leaf).unwrap().write(&identity).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let mesh = world.dir.path().join("mesh.yaml");
        let mut settings = PrimarySettings::new(mesh, "home".into(), any, identity);
        settings.source = SourceSettings::Kubernetes(Box::new(world.settings()));
        settings.admin = Some(any);
        settings.ready_max = ready_max;
        let (trigger, shutdown) = Shutdown::new();
        let primary = Primary::start(settings, shutdown).await.unwrap();
        Self { primary, trigger }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let address = self.primary.admin().unwrap();
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await.1).unwrap()
    }

    async fn until(&self, path: &str, so: impl Fn(u16, &str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let (code, body) = self.get(path).await;
            if so(code, &body) {
                return body;
            }
            assert!(Instant::now() < deadline, "{code} {body}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn close(self) {
        self.trigger.fire();
        self.primary.ended().await;
    }
}

#[tokio::test]
async fn clusterz_is_istios_and_the_own_cluster_comes_first() {
    let world = World::new().await;
    let _a = world.remote("a-west").await;
    let dead = FakeApi::start("dead").await;
    dead.set_up(false);
    world.register("dead", &dead, "none");
    let page = Page::open(&world, Duration::from_millis(700)).await;
    let shown = page
        .until("/debug/clusterz", |_, body| {
            body.contains("timeout") && body.matches("synced").count() == 2
        })
        .await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        shown,
        serde_json::json!([
            {"id": "home", "secretName": "", "syncStatus": "synced"},
            {"id": "a-west", "secretName": "diolkos-system/remote-a-west", "syncStatus": "synced"},
            {"id": "dead", "secretName": "diolkos-system/remote-dead", "syncStatus": "timeout"},
        ])
    );
    let all = page.json("/debug/diolkos.json").await;
    let west = &all["clusters"][0]["source"];
    assert_eq!(west["state"], "synced", "{all:#}");
    assert_eq!(west["live"]["credential"], "token");
    assert_eq!(west["live"]["kinds"].as_array().unwrap().len(), 8);
    let metrics = page.until("/metrics", |_, body| body.contains("state=\"synced\"} 2")).await;
    for line in [
        "diolkos_remote_cluster_sync_status{cluster=\"a-west\",cluster_type=\"remote\",state=\"synced\"} 1",
        "diolkos_remote_cluster_sync_status{cluster=\"home\",cluster_type=\"local\",state=\"synced\"} 1",
        "diolkos_remote_cluster_sync_status{cluster=\"dead\",cluster_type=\"remote\",state=\"timeout\"} 1",
        "diolkos_remote_clusters{state=\"timeout\"} 1",
        "diolkos_remote_watch_age_seconds{cluster=\"a-west\",kind=\"Pod\"} 0",
        "diolkos_remote_relists_total{cluster=\"a-west\",reason=\"start\"}",
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
    page.close().await;
}

#[tokio::test]
async fn a_registration_that_never_could_be_read_is_a_rejection_of_the_mesh() {
    let world = World::new().await;
    world.secret("remote-bad", &[("bad", "kind: Config\nusers: [{user: {exec: {}}}]\n")]);
    let page = Page::open(&world, Duration::from_millis(300)).await;
    let shown = page.until("/debug/diolkos.json", |_, body| body.contains("remote-bad")).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let told = &shown["rejections"][0];
    assert_eq!((&told["cluster"], &told["severity"]), (&Value::Null, &"refused".into()), "{told}");
    let text = told["text"].as_str().unwrap();
    assert!(
        text.starts_with("secret diolkos-system/remote-bad") && text.contains("key bad"),
        "{text}"
    );
    page.close().await;
}

#[tokio::test]
async fn r3_ready_when_every_cluster_was_heard_or_the_deadline_has_passed() {
    let world = World::new().await;
    fill(&world.own, "web", 1, &[1]);
    let west = world.remote("west").await;
    west.set_mood("pods", Mood::Status(500, "not yet"));
    let page = Page::open(&world, Duration::from_secs(3_600)).await;
    page.until("/debug/clusterz", |_, body| body.matches("\"synced\"").count() == 1).await;
    let (code, why) = page.get("/ready").await;
    assert_eq!((code, why.trim()), (503, "waiting for the first facts of west"));
    west.cheer_up();
    page.until("/ready", |code, _| code == 200).await;
    page.close().await;

    west.set_up(false);
    let page = Page::open(&world, Duration::from_millis(300)).await;
    page.until("/ready", |code, _| code == 200).await;
    page.close().await;
}

#[tokio::test]
async fn r4_clusters_as_stored_count_as_heard() {
    let mut world = World::new().await;
    world.store = Some(world.dir.path().join("facts.redb"));
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1]);
    let forever = Duration::from_secs(3_600);
    let page = Page::open(&world, forever).await;
    page.until("/ready", |code, _| code == 200).await;
    page.until("/debug/diolkos.json", |_, body| body.contains("\"writtenSeconds\":0")).await;
    page.close().await;
    west.set_up(false);
    let page = Page::open(&world, forever).await;
    page.until("/ready", |code, _| code == 200).await;
    let all = page.json("/debug/diolkos.json").await;
    assert!(all["clusters"][1]["state"].as_str().unwrap().starts_with("stale"), "{all:#}");
    page.close().await;
}
