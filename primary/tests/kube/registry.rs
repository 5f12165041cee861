//! Which clusters there are: secrets, files, and what operators do to them.

use diolkos_primary::source::Listed;

use crate::fake::{FakeApi, Mood, SECRETS, TOKEN};
use crate::world::{World, fill, secret};

#[tokio::test]
async fn r5_a_deleted_secret_takes_its_cluster_and_nothing_else() {
    let world = World::new().await;
    let (west, east) = (world.remote("west").await, world.remote("east").await);
    fill(&west, "web", 2, &[1, 2]);
    fill(&east, "web", 3, &[1, 2]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 4).await;
    heard.forget();
    let begin = std::time::Instant::now();
    world.unregister("west");
    heard.until("gone", |heard| heard.count("web") == 2).await;
    assert!(begin.elapsed() < std::time::Duration::from_secs(2));
    assert_eq!(heard.left, ["shop/web 10.2.0.1:8080", "shop/web 10.2.0.2:8080"]);
    assert_eq!(heard.state("west"), None);
    assert!(heard.source.shown()["west"].is_null());
    heard.until("and the mesh without it", |heard| !heard.mesh.contains("west")).await;
    heard.while_not("nobody talks to it", || west.lock().connections == 0).await;
}

#[tokio::test]
async fn regress_istio_60920_survivor_gateways_stay_when_a_cluster_goes() {
    let world = World::new().await;
    world.mesh(
        "  meshNetworks:\n    n2: {endpoints: [{fromRegistry: west}], gateways: [{address: \
         192.0.2.2, port: 15443}]}\n    n3: {endpoints: [{fromRegistry: east}], gateways: \
         [{address: 192.0.2.3, port: 15443}]}\n",
    );
    let (west, east) = (world.remote("west").await, world.remote("east").await);
    fill(&west, "web", 2, &[1, 2]);
    fill(&east, "web", 3, &[1]);
    let mut heard = world.start();
    heard
        .until("both by their gateways", |heard| {
            heard.endpoints("web") == ["192.0.2.2:15443", "192.0.2.3:15443"]
        })
        .await;
    heard.forget();
    world.unregister("west");
    heard.until("one is left", |heard| heard.count("web") == 1).await;
    assert_eq!(heard.endpoints("web"), ["192.0.2.3:15443"], "never a pod's own address");
    assert_eq!(heard.left, ["shop/web 192.0.2.2:15443"]);
}

#[tokio::test]
async fn the_steps_of_a_secrets_life() {
    let world = World::new().await;
    let mut heard = world.start();
    heard.until("heard of nobody", |heard| heard.listed == Some(Listed::All)).await;
    let names =
        |heard: &crate::world::Heard| heard.mesh.iter().cloned().collect::<Vec<_>>().join(" ");
    let (a, b) = (FakeApi::start("a").await, FakeApi::start("b").await);
    let [a1, b1] = [("c1", a.kubeconfig("c1", TOKEN)), ("c2", b.kubeconfig("c2", TOKEN))];
    let (a1, b1) = ((a1.0, a1.1.as_str()), (b1.0, b1.1.as_str()));

    world.secret("s0", &[a1]);
    heard.until("added", |heard| names(heard) == "c1 home").await;
    world.secret("s0", &[a1, b1]);
    heard.until("a second key", |heard| names(heard) == "c1 c2 home").await;
    world.secret("s0", &[b1]);
    heard.until("the first key is gone", |heard| names(heard) == "c2 home").await;
    world.secret("s0", &[a1, b1]);
    heard.until("and back", |heard| names(heard) == "c1 c2 home").await;
    let live = |heard: &crate::world::Heard, name: &str| {
        matches!(heard.state(name), Some(diolkos_topology::ClusterState::Live { .. }))
    };
    heard.until("both speak", |heard| live(heard, "c1") && live(heard, "c2")).await;

    world.secret("s1", &[a1]);
    heard
        .until("a second owner is told", |heard| {
            heard
                .told("mesh")
                .any(|line| line.contains("cluster c1 is already that of secret diolkos-system/s0"))
        })
        .await;
    world.own.delete(SECRETS, "diolkos-system", "s1");
    heard.until("its end is no news", |heard| heard.told("mesh").next().is_none()).await;

    world.secret("s2", &[("home", a1.1)]);
    heard
        .until("the own name is ignored", |heard| {
            heard.told("mesh").any(|line| line.contains("cluster home is the primary's own"))
        })
        .await;
    world.own.delete(SECRETS, "diolkos-system", "s2");
    heard.until("and so is its end", |heard| heard.told("mesh").next().is_none()).await;
    assert_eq!(names(&heard), "c1 c2 home");

    world.own.delete(SECRETS, "diolkos-system", "s0");
    heard.until("all gone", |heard| names(heard) == "home").await;
    assert_eq!(heard.gone.len(), 3, "c1 twice and c2 once: {:?}", heard.gone);
}

#[tokio::test]
async fn regress_istio_47433_secrets_from_other_namespaces_register_nobody() {
    let world = World::new().await;
    let west = FakeApi::start("uid-west").await;
    let config = west.kubeconfig("west", TOKEN);
    world.own.put(SECRETS, secret("shop", "remote-west", &[("west", &config)]));
    let mut heard = world.start();
    heard.until("listed", |heard| heard.listed == Some(Listed::All)).await;
    let east = world.remote("east").await;
    fill(&east, "web", 3, &[1]);
    heard.until("one in the right place", |heard| heard.count("web") == 1).await;
    assert!(!heard.mesh.contains("west"));
    assert_eq!(west.lock().requests.len(), 0);
    let asked = world.own.count(|request| {
        request.contains("namespaces/diolkos-system/secrets")
            && request.contains("labelSelector=istio%2FmultiCluster%3Dtrue")
    });
    assert!(asked > 0, "{:?}", world.own.lock().requests);
    assert_eq!(world.own.count(|request| request.contains("api/v1/secrets")), 0);
}

#[tokio::test]
async fn regress_istio_sync_gate_nothing_is_ready_before_the_registered_are_known() {
    let world = World::new().await;
    fill(&world.own, "web", 1, &[1]);
    world.own.set_mood("secrets", Mood::Status(500, "not now"));
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1]);
    let mut heard = world.start();
    heard.until("the own cluster speaks", |heard| heard.count("web") == 1).await;
    assert_eq!(heard.listed, Some(Listed::SoFar), "so a primary is not ready");
    world.own.cheer_up();
    heard.until("all are known", |heard| heard.listed == Some(Listed::All)).await;
    assert!(heard.mesh.contains("west"), "in the same word that says so");
    heard.until("and heard", |heard| heard.count("web") == 2).await;
}

#[tokio::test]
async fn r10_an_empty_list_of_secrets_is_looked_at_twice() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 1).await;
    let begin = std::time::Instant::now();
    world.own.change(|state| state.lose(SECRETS));
    world.own.compact();
    heard.until("believed in the end", |heard| heard.gone.len() == 1).await;
    assert!(begin.elapsed() >= world.pace.hold);
}

#[tokio::test]
async fn settings_of_the_mesh_are_followed_and_a_broken_file_changes_nothing() {
    let world = World::new().await;
    let west = world.remote("west").await;
    fill(&west, "web", 2, &[1, 2]);
    let mut heard = world.start();
    heard.until("synced", |heard| heard.count("web") == 2).await;
    heard.forget();
    world.mesh("  nonsense: true\n");
    heard
        .until("refused", |heard| {
            heard.told("mesh").any(|line| line.contains("unknown field spec.nonsense"))
        })
        .await;
    assert_eq!(heard.changes, 0);
    world.mesh(
        "  meshNetworks:\n    n2: {endpoints: [{fromRegistry: west}], gateways: [{address: \
         192.0.2.2, port: 15443}]}\n",
    );
    heard.until("by its gateway now", |heard| heard.endpoints("web") == ["192.0.2.2:15443"]).await;
}
