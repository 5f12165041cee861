//! A primary that starts anew while others are away.

use diolkos_topology::ClusterState;

use crate::fake::SECRETS;
use crate::world::{World, fill, slice};

#[tokio::test]
async fn r4_a_restart_while_a_remote_is_away_serves_what_it_knew_and_says_how_old_it_is() {
    let mut world = World::new().await;
    world.store = Some(world.dir.path().join("facts.redb"));
    let west = world.remote("west").await;
    fill(&world.own, "own", 1, &[1]);
    fill(&west, "web", 2, &[1, 2]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 2 && heard.count("own") == 1).await;
    slice(&west, "web", 2, &[1]);
    heard.until("changed", |heard| heard.count("web") == 1).await;
    written(&heard).await;
    drop(heard);
    west.set_up(false);

    let mut heard = restarted(&world).await;
    heard.until("as it was", |heard| heard.count("web") == 1 && heard.count("own") == 1).await;
    assert!(matches!(heard.state("west"), Some(ClusterState::Stale { .. })));
    assert!(heard.shown_of("west")["restoredAgeSeconds"].as_u64().is_some());
    heard
        .until("the own one is heard", |heard| {
            matches!(heard.state("home"), Some(ClusterState::Live { .. }))
        })
        .await;
    heard.forget();
    slice(&west, "web", 2, &[1, 2]);
    west.set_up(true);
    heard.until("heard again", |heard| heard.count("web") == 2).await;
    assert!(heard.left.is_empty());
    assert!(matches!(heard.state("west"), Some(ClusterState::Live { .. })));
    assert!(heard.shown_of("west")["restoredAgeSeconds"].is_null());
}

#[tokio::test]
async fn r4_with_its_own_server_away_too_it_serves_every_cluster_it_knew() {
    let mut world = World::new().await;
    world.store = Some(world.dir.path().join("facts.redb"));
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1, 2]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 2).await;
    written(&heard).await;
    drop(heard);
    world.own.set_up(false);
    west.set_up(false);
    let mut heard = restarted(&world).await;
    heard.until("as it was", |heard| heard.count("web") == 2).await;
    // Its secret was deleted meanwhile.
    world.unregister("west");
    world.secret("other", &[]);
    world.own.set_up(true);
    heard.until("nobody registers it any more", |heard| heard.gone.len() == 1).await;
    assert_eq!(heard.count("web"), 0);
    written(&heard).await;
    drop(heard);
    world.own.change(|state| state.lose(SECRETS));
    let mut heard = restarted(&world).await;
    heard
        .until("and it is forgotten", |heard| {
            heard.mesh.len() == 1 && heard.listed == Some(diolkos_primary::source::Listed::All)
        })
        .await;
    assert!(heard.activated.iter().all(|(cluster, _)| cluster != "west"));
}

#[tokio::test]
async fn r21_a_store_that_cannot_be_opened_is_said_and_nothing_else() {
    let mut world = World::new().await;
    world.store = Some(world.dir.path().join("no/such/folder/facts.redb"));
    fill(&world.own, "web", 1, &[1]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 1).await;
    assert!(heard.source.store_shown().unwrap().to_string().contains("failing"));
}

/// Until nothing waits to be written.
async fn written(heard: &crate::world::Heard) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while heard.source.unwritten() {
        assert!(std::time::Instant::now() < deadline, "the store does not settle");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Waits for the former one's file to be free.
async fn restarted(world: &World) -> crate::world::Heard {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let heard = world.start();
        let shown = heard.source.store_shown().unwrap().to_string();
        if !shown.contains("failing") {
            return heard;
        }
        assert!(std::time::Instant::now() < deadline, "{shown}");
        drop(heard);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
