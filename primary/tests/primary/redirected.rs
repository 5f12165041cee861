//! A sidecar to which its pod's connections are redirected: what it is told follows the services
//! that lead to its pod and the policies that hold for it, on the stream it has.

use diolkos_xds::ResourceType::{Listener, Route};
use diolkos_xds_client::{Incoming, Subscription, Update, connect};

use crate::world::{World, names, until, update_that};

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Says of the inbound listener whether it has a chain of that name.
fn has_chain(update: &Update, chain: &str) -> bool {
    let inbound = update.upserts.iter().find(|(name, _)| *name == "virtualInbound");
    inbound.is_some_and(|(_, body)| contains(body, chain))
}

const POLICY: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                      metadata: {name: default, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n";

#[tokio::test]
async fn a_pods_class_changes_without_the_stream_ending() {
    let world = World::new();
    let running = world.start().await;
    // Pod web-1 is at the ninth address; no service leads to it yet.
    let mut settings = world.sidecar(&running, "west");
    settings.node.extra.insert("INTERCEPTION_MODE".into(), "REDIRECT".into());
    let subscribe = vec![
        (Listener, Subscription::Wildcard),
        (Route, Subscription::Names(vec!["80".to_owned()])),
    ];
    let (_handle, mut incoming) = connect(settings, subscribe);
    let first = update_that(&mut incoming, Listener, |_| true).await;
    let gateway = "127.1.0.200_15443";
    assert_eq!(names(&first), ["0.0.0.0_80", gateway, "virtualInbound", "virtualOutbound"]);
    assert!(has_chain(&first, "rest-plaintext") && !has_chain(&first, "8080-mtls"));
    first.accept();
    update_that(&mut incoming, Route, |routes| names(routes) == ["80"]).await.accept();

    let slice = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: \
                 {ports: [{name: http, port: 80}]}\n---\napiVersion: discovery.k8s.io/v1\n\
                 kind: EndpointSlice\nmetadata: {name: web-x, namespace: shop, labels: \
                 {kubernetes.io/service-name: web}}\naddressType: IPv4\n\
                 ports: [{name: http, port: 8080}]\nendpoints:\n- {addresses: [127.1.0.9], \
                 targetRef: {kind: Pod, name: web-1}}\n";
    world.write("clusters/west/web.yaml", slice);
    let declared = update_that(&mut incoming, Listener, |one| has_chain(one, "8080-mtls")).await;
    assert_eq!(names(&declared), ["virtualInbound"], "the others are as they were");
    declared.accept();

    world.write("clusters/west/policy.yaml", POLICY);
    let strict = |one: &Update| has_chain(one, "8080-mtls") && !has_chain(one, "8080-plaintext");
    let change = update_that(&mut incoming, Listener, strict).await;
    assert_eq!(names(&change), ["virtualInbound"]);
    change.accept();

    world.write("clusters/west/web.yaml", "# none\napiVersion: v1\nkind: List\nitems: []\n");
    let gone = update_that(&mut incoming, Listener, |one| !has_chain(one, "8080-mtls")).await;
    assert!(!has_chain(&gone, "rest-plaintext"), "the policy holds on");
    gone.accept();

    until("the old scopes are left", async || {
        let debug = running.debug().await;
        debug["streams"].as_array().unwrap().len() == 1 && debug["streams"][0]["id"] == 1
    })
    .await;
    while let Ok(more) = incoming.try_recv() {
        assert!(!matches!(more, Incoming::Disconnected { .. }), "{more:?}");
    }
    running.stop().await;
}
