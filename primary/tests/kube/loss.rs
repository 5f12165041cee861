//! Servers that vanish, stumble, forget, and come back as another.

use std::time::{Duration, Instant};

use crate::fake::{Mood, PODS, SERVICES, SLICES};
use crate::world::{World, fill, pod, slice};

const WHOLE: [u8; 30] = {
    let mut all = [0; 30];
    let mut at = 0;
    while at < 30 {
        all[at] = at as u8 + 1;
        at += 1;
    }
    all
};

#[tokio::test]
async fn r1_a_server_that_hangs_or_dies_removes_nothing_and_comes_back() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1, 2]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 2).await;
    for kill in [false, true] {
        heard.forget();
        if kill {
            west.set_up(false);
        } else {
            west.change(|state| state.mute = true);
            west.set_mood("", Mood::Hang);
        }
        let begin = Instant::now();
        heard.until("out of sight", |heard| heard.stale.iter().any(|(_, stale)| *stale)).await;
        assert!(
            begin.elapsed() >= world.pace.stale - world.pace.probe * 2,
            "no sooner than it may"
        );
        assert_eq!(heard.shown_of("west")["status"], "timeout");
        assert!(heard.shown_of("west")["state"].as_str().unwrap().starts_with("stale since"));
        west.set_up(true);
        west.change(|state| state.mute = false);
        west.cheer_up();
        slice(&west, "web", 2, &[1]);
        heard.until("back in sight", |heard| heard.stale.iter().any(|(_, stale)| !*stale)).await;
        heard.until("and up to date", |heard| heard.count("web") == 1).await;
        assert_eq!(heard.left, ["shop/web 10.2.0.2:8080"], "nothing else ever left");
        slice(&west, "web", 2, &[1, 2]);
        heard.until("whole again", |heard| heard.count("web") == 2).await;
        // The other kinds may come into sight after the endpoints did.
        heard.until("synced", |heard| heard.shown_of("west")["status"] == "synced").await;
    }
}

#[tokio::test]
async fn r2_a_flapping_server_flushes_nothing_and_leaks_nothing() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1, 2]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 2).await;
    heard.forget();
    for _ in 0..20 {
        west.set_up(false);
        heard.while_not("every connection ends", || west.lock().connections == 0).await;
        west.set_up(true);
        heard.while_not("watched again", || west.lock().watches.values().sum::<usize>() >= 5).await;
    }
    assert_eq!((heard.changes, heard.left.len()), (0, 0));
    heard
        .while_not("one watch per kind", || west.lock().watches.values().all(|open| *open <= 1))
        .await;
    assert!(west.lock().connections <= 12, "{}", west.lock().connections);
}

#[tokio::test]
async fn r8_a_watch_that_is_too_old_lists_its_kind_and_nothing_flickers() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1, 2, 3]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 3).await;
    heard.forget();
    // One was removed and nobody heard of it.
    west.change(|state| {
        state.mute = true;
    });
    slice(&west, "web", 2, &[1, 3]);
    west.compact();
    west.change(|state| state.mute = false);
    heard.until("the list tells", |heard| heard.count("web") == 2).await;
    assert_eq!(heard.left, ["shop/web 10.2.0.2:8080"]);
    heard
        .while_not("counted", || {
            let shown = west.count(|request| request.starts_with("GET api/v1/pods?"));
            shown >= 2
        })
        .await;
    let shown = heard.shown_of("west").to_string();
    assert!(shown.contains("\"gone\":1"), "{shown}");
}

#[tokio::test]
async fn r8_a_list_that_says_the_same_changes_nothing() {
    let world = World::new().await;
    fill(&world.own, "web", 1, &[1, 2, 3]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 3).await;
    heard.forget();
    let lists = || world.own.count(|request| request.starts_with("GET api/v1/services?"));
    let before = lists();
    world.own.compact();
    heard.while_not("listed again", || lists() > before).await;
    fill(&world.own, "other", 1, &[]);
    heard.until("something new", |heard| heard.view.services.len() == 2).await;
    assert!(heard.left.is_empty());
}

#[tokio::test]
async fn r9_regress_k8s_107457_versions_that_go_back_are_seen_and_everything_is_listed() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1, 2]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 2).await;
    let snapshot = west.lock().snapshot();
    for last in 3..8 {
        pod(&west, "web", last);
    }
    slice(&west, "web", 2, &[1, 2, 3, 4]);
    heard.until("four", |heard| heard.count("web") == 4).await;
    // Watches stay open, and have passed every version that the server will say for long.
    west.change(|state| state.restore(snapshot));
    heard.until("as it was then", |heard| heard.count("web") == 2).await;
    pod(&west, "web", 9);
    slice(&west, "web", 2, &[1, 2, 9]);
    heard.until("and it is followed from there", |heard| heard.count("web") == 3).await;
    let shown = heard.shown_of("west").to_string();
    assert!(shown.contains("\"rewound\":"), "{shown}");
}

#[tokio::test]
async fn r10_a_server_that_lost_everything_is_doubted_until_it_says_so_again() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &WHOLE);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 30).await;
    heard.forget();
    let begin = Instant::now();
    west.change(|state| {
        for kind in [SLICES, PODS, SERVICES] {
            state.lose(kind);
        }
    });
    west.compact();
    heard.while_not("held", || true).await;
    heard.until("gone at the second look", |heard| heard.count("web") == 0).await;
    assert!(begin.elapsed() >= world.pace.hold, "held for its time");
}

#[tokio::test]
async fn r10_what_came_back_in_time_was_never_gone() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &WHOLE);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 30).await;
    heard.forget();
    let snapshot = west.lock().snapshot();
    west.change(|state| state.lose(SLICES));
    west.compact();
    let held = || {
        heard.source.shown()["west"]["state"]
            .as_str()
            .unwrap()
            .starts_with("held: 30 of 30 endpoints would be gone")
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !held() {
        assert!(Instant::now() < deadline, "{}", heard.shown());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let version = west.lock().version;
    west.change(|state| {
        state.restore(snapshot);
        state.version = version + 1;
    });
    heard.while_not("believed", || heard_state(&world, &west) >= 3).await;
    let shown = || heard.source.shown()["west"]["state"].clone();
    let deadline = Instant::now() + Duration::from_secs(10);
    while shown() != "synced" {
        assert!(Instant::now() < deadline, "{}", heard.shown());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!((heard.count("web"), heard.left.len()), (30, 0));
}

fn heard_state(_: &World, west: &crate::fake::FakeApi) -> usize {
    west.count(|request| request.starts_with("GET apis/discovery.k8s.io/v1/endpointslices"))
}

#[tokio::test]
async fn regress_istio_54997_audit_relist_finds_what_a_watch_missed() {
    let mut world = World::new().await;
    world.pace.audit = Duration::from_millis(200);
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1, 2]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 2).await;
    // The watch goes on, and this word of it is lost.
    west.change(|state| {
        state.mute = true;
    });
    slice(&west, "web", 2, &[1]);
    heard.until("the audit tells", |heard| heard.count("web") == 1).await;
    let shown = heard.shown_of("west");
    assert!(shown["live"]["drift"].as_u64().unwrap() >= 1, "{shown}");
}

#[tokio::test]
async fn regress_istio_58047_retry_forever_a_kind_that_failed_long_is_still_tried() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1]);
    west.set_mood("endpointslices", Mood::Status(500, "informer trouble"));
    let mut heard = world.start();
    let tries = || west.count(|request| request.contains("endpointslices"));
    heard.while_not("tried more often than anyone else would", || tries() > 20).await;
    assert_eq!(heard.count("web"), 0);
    west.cheer_up();
    heard.until("synced after all", |heard| heard.count("web") == 1).await;
}

#[tokio::test]
async fn regress_linkerd_8590_a_watch_that_restarts_forgets_nothing() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1, 2]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 2).await;
    heard.forget();
    let watches = || west.count(|request| request.starts_with("WATCH"));
    let before = watches();
    for kind in [SLICES, PODS, SERVICES] {
        west.change(|state| state.end_watches(kind));
    }
    heard.while_not("watched again", || watches() >= before + 3).await;
    pod(&west, "web", 3);
    slice(&west, "web", 2, &[1, 2, 3]);
    heard.until("from where it was", |heard| heard.count("web") == 3).await;
    assert_eq!(heard.left.len(), 0);
    assert!(heard.stale.iter().all(|(_, stale)| !*stale), "never out of sight: {:?}", heard.stale);
}

#[tokio::test]
async fn regress_cilium_24740_what_left_while_nobody_looked_leaves_only_after_the_whole_list() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1, 2, 3, 4, 5, 6]);
    west.change(|state| state.page = 1);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 6).await;
    heard.forget();
    west.set_up(false);
    heard.until("out of sight", |heard| heard.stale.iter().any(|(_, stale)| *stale)).await;
    slice(&west, "web", 2, &[1, 2, 3, 4, 5]);
    west.compact();
    west.set_up(true);
    heard.until("what is stale is gone", |heard| heard.count("web") == 5).await;
    assert_eq!(heard.left, ["shop/web 10.2.0.6:8080"], "and nothing that is valid ever was");
}
