//! Servers that are none, or that mean harm.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::fake::{FakeApi, Mood, SERVICES, TOKEN};
use crate::world::{Heard, World, fill, slice};

/// Waits until an operator is shown this of west.
async fn shown(heard: &mut Heard, words: &str) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !heard.source.shown()["west"].to_string().contains(words) {
        assert!(Instant::now() < deadline, "no {words:?} in\n{}", heard.shown());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a4_answers_that_are_none_of_an_api_server_are_refused_with_their_reason() {
    for (mood, words) in [
        (Mood::Html, "instead of JSON"),
        (Mood::Redirect("https://169.254.169.254/"), "redirects are not followed"),
        (Mood::Packed, "answers packed"),
        (Mood::Status(500, "etcdserver: no leader"), "etcdserver: no leader"),
        (Mood::Bytes(b"{\"items\": [{"), "cannot be read"),
        (Mood::Bytes(b"[]"), "cannot be read"),
        (Mood::Hang, "no whole answer"),
        (Mood::Drip(Duration::from_millis(100)), "no whole answer"),
    ] {
        let mut world = World::new().await;
        world.pace.answer_max = Duration::from_millis(1_500);
        fill(&world.own, "web", 1, &[1]);
        let west = world.remote("west").await;
        fill(&west, "web", 2, &[1]);
        west.set_mood("services", mood.clone());
        let mut heard = world.start();
        shown(&mut heard, words).await;
        heard.until("others are served", |heard| heard.count("web") == 1).await;
        west.cheer_up();
        heard.until("it thinks better of it", |heard| heard.count("web") == 2).await;
    }
}

#[tokio::test]
async fn a12_an_object_too_large_is_refused_alone() {
    let mut world = World::new().await;
    world.pace.answer_max = Duration::from_secs(60);
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1]);
    let fat = "x".repeat(10 << 20);
    west.put(
        SERVICES,
        json!({"metadata": {"namespace": "shop", "name": "fat",
        "annotations": {"fat": fat}}, "spec": {"ports": [{"port": 80}]}}),
    );
    let mut heard = world.start();
    heard.until("the rest is served", |heard| heard.count("web") == 1).await;
    heard
        .until("and it is told", |heard| {
            heard.rejected.values().flatten().any(|line| {
                line.contains("Service shop/fat") && line.contains("at most 1048576 are read")
            })
        })
        .await;
    // In a watch it is a line too long: the kind is listed again, and nothing is lost.
    slice(&west, "web", 2, &[1]);
    west.put(
        SERVICES,
        json!({"metadata": {"namespace": "shop", "name": "fat2",
        "annotations": {"fat": "x".repeat(2 << 20)}}, "spec": {"ports": [{"port": 80}]}}),
    );
    shown(&mut heard, "one event has more than").await;
    assert_eq!(heard.count("web"), 1);
}

#[tokio::test]
async fn duplicate_keys_wrong_types_and_strange_names_spoil_no_neighbour() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1]);
    west.put(
        SERVICES,
        json!({"metadata": {"namespace": "shop", "name": "odd"}, "spec": {"ports": "none"}}),
    );
    west.put(SERVICES, json!({"metadata": {"namespace": "shop", "name": "BAD NAME\u{1b}[31m"}}));
    west.put(SERVICES, json!({"metadata": {}, "spec": {}}));
    let mut heard = world.start();
    heard.until("the good one", |heard| heard.count("web") == 1).await;
    heard
        .until("the bad ones are told", |heard| {
            let lines = || heard.rejected.values().flatten();
            lines().any(|line| line.contains("Service shop/odd: cannot be read"))
                && lines().any(|line| line.contains("BAD NAME"))
        })
        .await;
    assert!(heard.rejected.values().flatten().all(|line| !line.contains('\u{1b}')));
}

#[tokio::test]
async fn a4_a_server_that_is_this_machine_is_refused_unless_it_is_allowed() {
    for server in ["localhost", "127.0.0.1", "[::1]", "169.254.169.254"] {
        let world = World::new().await;
        let west = FakeApi::start("uid-west").await;
        let server = format!("{server}:{}", west.address.port());
        let config = west.kubeconfig_to(&server, &west.ca, "west", TOKEN);
        world.secret("remote-west", &[("west", &config)]);
        let mut settings = world.settings();
        settings.allowed.0.clear();
        let mut heard = world.start_with(settings);
        heard
            .until("refused", |heard| {
                heard.told("mesh").any(|line| line.contains("diolkos-system/remote-west"))
            })
            .await;
        let state = west.lock();
        assert_eq!((state.requests.len(), state.connections), (0, 0), "{server}");
    }
}

#[tokio::test]
async fn a4_a_secret_that_is_refused_opens_no_connection() {
    let world = World::new().await;
    let west = FakeApi::start("uid-west").await;
    let config = west.kubeconfig("west", TOKEN);
    let exec = config.replace("    token: canary", "    exec: {command: rm}\n    token: canary");
    world.secret("remote-west", &[("west", &exec)]);
    let mut heard = world.start();
    heard
        .until("refused with its reason", |heard| {
            heard
                .told("mesh")
                .any(|line| line.contains("diolkos-system/remote-west") && line.contains("exec"))
        })
        .await;
    assert_eq!(west.lock().requests.len(), 0);
    assert!(!heard.shown().contains(TOKEN));
}

#[tokio::test]
async fn a_server_with_a_foreign_certificate_gets_no_token() {
    let world = World::new().await;
    let west = FakeApi::start("uid-west").await;
    let other = FakeApi::start("uid-other").await;
    let config = west.kubeconfig_to(&west.address.to_string(), &other.ca, "west", TOKEN);
    world.secret("remote-west", &[("west", &config)]);
    let mut heard = world.start();
    shown(&mut heard, "TLS with").await;
    assert_eq!(west.lock().requests.len(), 0);
}

#[tokio::test]
async fn a12_a_flood_of_one_cluster_holds_up_no_other() {
    let world = World::new().await;
    let (west, east) = (world.remote("west").await, world.remote("east").await);
    fill(&west, "web", 2, &[1]);
    fill(&east, "web", 3, &[1]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 2).await;
    let flood = west.clone();
    let flood = tokio::spawn(async move {
        for round in 0..3_000_u32 {
            slice(&flood, "web", 2, &[u8::try_from(round % 200).unwrap() + 2]);
            if round % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    for round in 2..8 {
        crate::world::pod(&east, "web", round);
        slice(&east, "web", 3, &[round]);
        let address = format!("10.3.0.{round}:8080");
        heard.until("east is heard", |heard| heard.endpoints("web").contains(&address)).await;
    }
    flood.abort();
    slice(&west, "web", 2, &[1]);
    heard
        .until("and west in the end", |heard| {
            heard.endpoints("web").contains(&"10.2.0.1:8080".to_owned())
        })
        .await;
}

/// Everything that is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a2_the_token_is_in_no_log_page_or_debug() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    // With one subscriber alone, tracing asks that of the thread on which a line is first reached,
    // and other tests' threads have none.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1]);
    west.set_mood("services", Mood::Echo);
    let mut heard = world.start();
    shown(&mut heard, "you sent (token)").await;
    west.cheer_up();
    heard.until("synced", |heard| heard.count("web") == 1).await;
    world.secret("remote-west", &[("west", &format!("users: [{{user: {{token: {TOKEN}"))]);
    shown(&mut heard, "\"refusedBecause\":\"secret diolkos-system/remote-west").await;
    let shown = format!(
        "{}{:?}{:?}{}",
        heard.shown(),
        world.settings(),
        heard.source,
        heard.source.shown()
    );
    assert!(!shown.contains(TOKEN));
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("synced"), "the log was heard: {log}");
    assert!(!log.contains(TOKEN));
}
