//! What is written into clusters, by whom, and what is left alone.

use std::time::Duration;

use diolkos_primary::source::kube::{LeaseSettings, WriteSettings};
use serde_json::json;

use crate::fake::{CONFIG_MAPS, FakeApi, LEASES, NAMESPACES, WEBHOOKS};
use crate::world::World;

const ROOTS: &str = "-----BEGIN CERTIFICATE-----\none\n-----END CERTIFICATE-----\n";

async fn writing(roots: &str) -> World {
    let mut world = World::new().await;
    let path = world.dir.path().join("root-cert.pem");
    std::fs::write(&path, roots).unwrap();
    let injector = "diolkos-sidecar-injector".into();
    world.write = Some(WriteSettings { roots: path, injector, lease: None });
    world
}

fn namespace(api: &FakeApi, name: &str) {
    api.put(NAMESPACES, json!({"metadata": {"name": name}}));
}

fn roots(api: &FakeApi, namespace: &str) -> Option<String> {
    let map = api.object(CONFIG_MAPS, namespace, "istio-ca-root-cert")?;
    map["data"]["root-cert.pem"].as_str().map(Into::into)
}

fn writes(api: &FakeApi) -> usize {
    api.count(|request| ["POST", "PUT", "PATCH"].iter().any(|verb| request.starts_with(verb)))
}

#[tokio::test]
async fn roots_are_in_every_namespace_and_only_what_differs_is_written() {
    let world = writing(ROOTS).await;
    for name in ["shop", "kube-public", "kube-node-lease"] {
        namespace(&world.own, name);
    }
    world.own.put(
        CONFIG_MAPS,
        json!({"metadata": {"namespace": "shop", "name":
        "istio-ca-root-cert"}, "data": {"root-cert.pem": "old", "other": "kept"}}),
    );
    world.own.put(
        WEBHOOKS,
        json!({"metadata": {"name": "diolkos-sidecar-injector"}, "webhooks": [
        {"name": "a.diolkos.dev", "clientConfig": {"service": {"name": "x", "namespace": "y"}},
            "sideEffects": "None", "admissionReviewVersions": ["v1"]}]}),
    );
    world.own.put(
        WEBHOOKS,
        json!({"metadata": {"name": "someone-elses"}, "webhooks": [
        {"name": "b", "clientConfig": {}, "sideEffects": "None", "admissionReviewVersions": []}]}),
    );
    let mut heard = world.start();
    let own = world.own.clone();
    heard
        .while_not("written", || {
            ["shop", "kube-system"].iter().all(|name| roots(&own, name).as_deref() == Some(ROOTS))
        })
        .await;
    let hook = || own.object(WEBHOOKS, "", "diolkos-sidecar-injector").unwrap();
    heard
        .while_not("the injector's too", || {
            hook()["webhooks"][0]["clientConfig"]["caBundle"].is_string()
        })
        .await;
    assert_eq!(hook()["webhooks"][0]["clientConfig"]["service"]["name"], "x");
    assert_eq!(
        own.object(CONFIG_MAPS, "shop", "istio-ca-root-cert").unwrap()["data"]["other"],
        "kept"
    );
    assert_eq!(roots(&own, "kube-public"), None);
    assert_eq!(roots(&own, "kube-node-lease"), None);
    let other = own.object(WEBHOOKS, "", "someone-elses").unwrap();
    assert!(other["webhooks"][0]["clientConfig"]["caBundle"].is_null());

    // A new namespace, one that was changed by hand, and new roots.
    let before = writes(&own);
    namespace(&own, "late");
    heard.while_not("the new namespace", || roots(&own, "late").is_some()).await;
    assert_eq!(writes(&own), before + 1, "and nothing else is written");
    own.put(
        CONFIG_MAPS,
        json!({"metadata": {"namespace": "shop", "name": "istio-ca-root-cert"},
        "data": {"root-cert.pem": "by hand"}}),
    );
    heard.while_not("put right", || roots(&own, "shop").as_deref() == Some(ROOTS)).await;
    own.delete(CONFIG_MAPS, "shop", "istio-ca-root-cert");
    heard.while_not("put back", || roots(&own, "shop").as_deref() == Some(ROOTS)).await;
    std::fs::write(world.dir.path().join("root-cert.pem"), "new").unwrap();
    heard.while_not("new roots", || roots(&own, "late").as_deref() == Some("new")).await;
}

#[tokio::test]
async fn a_remote_is_written_only_if_it_says_so() {
    for (annotation, may) in [
        (None, false),
        (Some("elsewhere"), false),
        (Some("elsewhere, home"), true),
        (Some("*"), true),
        (Some("homely"), false),
    ] {
        let world = writing(ROOTS).await;
        let west = world.remote("west").await;
        namespace(&west, "shop");
        let mut system = json!({"metadata": {"name": "istio-system"}});
        if let Some(annotation) = annotation {
            let name = "topology.istio.io/controlPlaneClusters";
            system["metadata"]["annotations"] = json!({name: annotation});
        }
        west.put(NAMESPACES, system);
        let mut heard = world.start();
        heard.until("synced", |heard| heard.activated.len() == 2).await;
        heard
            .while_not("the own one is written", || roots(&world.own, "kube-system").is_some())
            .await;
        heard
            .while_not("watched", || {
                west.count(|request| request.starts_with("WATCH") && request.contains("configmaps"))
                    > 0
            })
            .await;
        if may {
            heard.while_not("written", || roots(&west, "shop").is_some()).await;
        } else {
            // Changes go by, and none of them is an occasion to write.
            for round in 0..5 {
                namespace(&west, &format!("n{round}"));
                let seen = west.count(|request| request.contains("namespaces?"));
                heard
                    .while_not("time passes", || {
                        west.count(|request| request.contains("namespaces?")) > seen
                    })
                    .await;
            }
            assert_eq!(writes(&west), 0, "{annotation:?}");
        }
    }
}

fn lease(holder: &str) -> LeaseSettings {
    LeaseSettings {
        duration: Duration::from_millis(1_500),
        renew: Duration::from_millis(100),
        ..LeaseSettings::new(holder.into())
    }
}

fn holder(api: &FakeApi) -> Option<String> {
    let lease = api.object(LEASES, "diolkos-system", "diolkos-primary")?;
    lease["spec"]["holderIdentity"].as_str().map(Into::into)
}

#[tokio::test]
async fn r19_one_of_two_replicas_writes_and_the_other_takes_over() {
    let mut world = writing(ROOTS).await;
    namespace(&world.own, "shop");
    let with = |world: &mut World, name: &str| {
        world.write.as_mut().unwrap().lease = Some(lease(name));
        world.start()
    };
    let mut one = with(&mut world, "one");
    let own = world.own.clone();
    one.while_not("the first leads", || holder(&own).as_deref() == Some("one")).await;
    one.while_not("and writes", || roots(&own, "shop").is_some()).await;
    let mut two = with(&mut world, "two");
    let renewals = || own.count(|request| request.starts_with("PUT") && request.contains("leases"));
    let before = renewals();
    two.while_not("the first goes on", || renewals() > before + 10).await;
    assert_eq!(holder(&own).as_deref(), Some("one"));
    drop(one);
    own.delete(CONFIG_MAPS, "shop", "istio-ca-root-cert");
    two.while_not("the second takes over", || holder(&own).as_deref() == Some("two")).await;
    two.while_not("and writes", || roots(&own, "shop").is_some()).await;
    let lease = own.object(LEASES, "diolkos-system", "diolkos-primary").unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
}
