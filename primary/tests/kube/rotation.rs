//! Credentials that change: the new one is complete before the old one ends.

use std::time::{Duration, Instant};

use crate::fake::{FakeApi, Mood, SECRETS, SLICES, TOKEN};
use crate::world::{Heard, World, fill, pod, secret, slice};

async fn synced() -> (World, FakeApi, Heard) {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&world.own, "own", 1, &[1]);
    fill(&west, "web", 2, &[1, 2, 3]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 3 && heard.count("own") == 1).await;
    heard.forget();
    (world, west, heard)
}

fn allow(west: &FakeApi, token: &str) {
    west.change(|state| state.tokens.extend([token.to_owned()]));
}

#[tokio::test]
async fn r6_regress_istio_61043_rotation_shard_wipe_fifty_rotations_change_nothing() {
    let (world, west, mut heard) = synced().await;
    let generations = heard.activated.len();
    for round in 0..50 {
        let token = format!("token-{round}");
        allow(&west, &token);
        world.register("west", &west, &token);
        heard
            .until("the next generation", |heard| heard.activated.len() > generations + round)
            .await;
    }
    assert_eq!((heard.changes, heard.left.len()), (0, 0), "{:?}", heard.left);
    heard
        .while_not("the old clients have stopped", || {
            west.lock().watches.values().all(|open| *open <= 1)
        })
        .await;
    heard.while_not("and their connections are closed", || west.lock().connections <= 12).await;
    slice(&west, "web", 2, &[1]);
    heard.until("the last one is heard", |heard| heard.count("web") == 1).await;
    let pods: usize = heard.pods.values().sum();
    assert_eq!(pods, 4);
}

#[tokio::test]
async fn the_difference_between_two_credentials_is_all_that_changes() {
    let (world, west, mut heard) = synced().await;
    // The old one hears nothing any more; what it does not know the new one brings.
    west.change(|state| state.mute = true);
    pod(&west, "web", 4);
    slice(&west, "web", 2, &[1, 2, 4]);
    allow(&west, "second");
    world.register("west", &west, "second");
    heard.until("the new one takes over", |heard| heard.activated.len() == 3).await;
    assert_eq!(heard.endpoints("web"), ["10.2.0.1:8080", "10.2.0.2:8080", "10.2.0.4:8080"]);
    assert_eq!(heard.left, ["shop/web 10.2.0.3:8080"]);
    assert_eq!(heard.changes, 2, "one endpoint came and one went");
}

#[tokio::test]
async fn r7_regress_istio_60612_rotation_deadlock_a_wrong_credential_changes_nothing() {
    let (world, west, mut heard) = synced().await;
    world.register("west", &west, "wrong");
    let next = |heard: &Heard| heard.source.shown()["west"]["next"]["state"].clone();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !next(&heard).as_str().is_some_and(|state| state.contains("401")) {
        assert!(Instant::now() < deadline, "{}", heard.shown());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The old one goes on.
    slice(&west, "web", 2, &[1, 2]);
    heard.until("the old one is heard", |heard| heard.count("web") == 2).await;
    assert_eq!(heard.shown_of("west")["status"], "synced");
    assert!(heard.stale.iter().all(|(_, stale)| !*stale));
    // The fixed one is taken at once.
    allow(&west, "fixed");
    world.register("west", &west, "fixed");
    heard.until("the fixed one takes over", |heard| heard.activated.len() == 3).await;
    assert!(heard.shown_of("west")["next"].is_null());
    assert_eq!(heard.left, ["shop/web 10.2.0.3:8080"]);
}

#[tokio::test]
async fn r7_regress_istio_45992_retry_without_limit_a_credential_may_become_right_later() {
    let (world, west, mut heard) = synced().await;
    world.register("west", &west, "not-yet");
    let refused = || west.count(|request| request.contains("namespaces?"));
    let begin = refused();
    heard.while_not("tried long after others gave up", || refused() > begin + 30).await;
    assert_eq!(heard.activated.len(), 2);
    allow(&west, "not-yet");
    heard.until("it was right all along", |heard| heard.activated.len() == 3).await;
    assert_eq!(heard.changes, 0);
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_read_changes_nothing_and_says_so() {
    let (world, west, mut heard) = synced().await;
    world.secret("remote-west", &[("west", "exec: rm")]);
    let refused = || !heard.source.shown()["west"]["refusedBecause"].is_null();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !refused() {
        assert!(Instant::now() < deadline, "{}", heard.shown());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    slice(&west, "web", 2, &[1]);
    heard.until("the old one is heard", |heard| heard.count("web") == 1).await;
    assert_eq!(heard.activated.len(), 2);
}

#[tokio::test]
async fn equal_kubeconfigs_change_nothing_whatever_else_the_secret_says() {
    let (world, west, mut heard) = synced().await;
    let requests = || west.count(|request| request.starts_with("GET api/v1/services?"));
    let before = requests();
    let config = west.kubeconfig("west", TOKEN);
    let mut again = secret("diolkos-system", "remote-west", &[("west", &config)]);
    again["metadata"]["annotations"] = serde_json::json!({"touched": "yes"});
    world.own.put(SECRETS, again);
    let east = world.remote("east").await;
    fill(&east, "web", 3, &[1]);
    heard.until("a later secret is followed", |heard| heard.count("web") == 4).await;
    assert_eq!(requests(), before, "west was not listed again");
    assert!(heard.left.is_empty());
}

#[tokio::test]
async fn regress_istio_60033_generation_key_nothing_of_an_old_generation_is_heard_late() {
    let (world, west, mut heard) = synced().await;
    for round in 0..10 {
        let token = format!("token-{round}");
        allow(&west, &token);
        world.register("west", &west, &token);
        // Changes race with the swap.
        let last = if round % 2 == 0 { [1, 2] } else { [1, 3] };
        slice(&west, "web", 2, &last);
        heard.until("swapped", |heard| heard.activated.len() > 2 + round).await;
        let expected: Vec<String> = last.iter().map(|at| format!("10.2.0.{at}:8080")).collect();
        heard.until("the newest word counts", |heard| heard.endpoints("web") == expected).await;
    }
}

#[tokio::test]
async fn regress_istio_39366_old_client_stopped_by_rotation_and_by_removal() {
    let (world, west, mut heard) = synced().await;
    let second = FakeApi::start("uid-west").await;
    fill(&second, "web", 2, &[1, 2, 3]);
    world.register("west", &second, TOKEN);
    heard.until("the second server speaks", |heard| heard.activated.len() == 3).await;
    heard.while_not("nobody talks to the first", || west.lock().connections == 0).await;
    world.unregister("west");
    heard.until("gone", |heard| heard.gone.len() == 1).await;
    heard.while_not("nobody talks to the second", || second.lock().connections == 0).await;
}

#[tokio::test]
async fn r10_a_credential_for_an_empty_cluster_is_held_and_then_believed() {
    let world = World::new().await;
    let west = world.remote("west").await;
    let many: Vec<u8> = (1..=40).collect();
    fill(&west, "web", 2, &many);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 40).await;
    heard.forget();
    let other = FakeApi::start("uid-other").await;
    fill(&other, "web", 2, &[1]);
    let begin = Instant::now();
    world.register("west", &other, TOKEN);
    let next = |heard: &Heard| heard.source.shown()["west"]["next"]["state"].clone();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !next(&heard)
        .as_str()
        .is_some_and(|state| state.starts_with("held: 39 of 40 endpoints would be gone"))
    {
        assert!(Instant::now() < deadline, "{}", heard.shown());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    heard.until("believed", |heard| heard.activated.len() == 3).await;
    assert!(begin.elapsed() >= world.pace.hold);
    assert_eq!(heard.count("web"), 1);
}

#[tokio::test]
async fn a_new_server_that_is_slow_to_list_keeps_the_old_one_speaking() {
    let (world, west, mut heard) = synced().await;
    let slow = FakeApi::start("uid-west").await;
    fill(&slow, "web", 2, &[1, 2, 3]);
    slow.set_mood("endpointslices", Mood::Hang);
    world.register("west", &slow, TOKEN);
    heard.while_not("the new one is asked", || slow.count(|r| r.contains("api/v1/pods")) > 0).await;
    slice(&west, "web", 2, &[1, 2]);
    heard.until("the old one is heard", |heard| heard.count("web") == 2).await;
    slow.cheer_up();
    heard.until("the new one takes over", |heard| heard.activated.len() == 3).await;
    assert_eq!(heard.count("web"), 3);
    assert!(west.count(|request| request.contains(SLICES)) > 0);
}
