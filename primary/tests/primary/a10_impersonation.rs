//! A10: nobody is served as someone else. Each claim is forged by itself.

use diolkos_xds::ResourceType::Cluster;
use diolkos_xds_client::ClientSettings;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tonic::{Code, Status};

use crate::raw::{self, WINDOW};
use crate::world::{World, until};

async fn refusal(settings: &ClientSettings, node: Option<Node>) -> Status {
    let first = DeltaDiscoveryRequest {
        node,
        type_url: Cluster.url().into(),
        ..DeltaDiscoveryRequest::default()
    };
    match raw::delta(settings, WINDOW, first).await {
        Err(status) => status,
        Ok(mut stream) => stream.next().await.expect_err("was served"),
    }
}

/// Who differs from the honest `web-1` in one thing, and what it is told.
struct Forgery {
    what: &'static str,
    forge: fn(&mut ClientSettings),
    code: Code,
    told: &'static str,
}

const FORGERIES: &[Forgery] = &[
    Forgery {
        what: "another cluster",
        forge: |settings| settings.node.cluster = "east".into(),
        code: Code::PermissionDenied,
        told: "CLUSTER_ID claims \"east\", but the certificate was issued for cluster \"west\"",
    },
    Forgery {
        what: "another namespace, in everything it says",
        forge: |settings| settings.node.namespace = "bank".into(),
        code: Code::PermissionDenied,
        told: "the node id's pod claims \"bank\", but the certificate says \"shop\"",
    },
    Forgery {
        what: "another namespace, in its metadata only",
        forge: |settings| extra(settings, "NAMESPACE", "bank"),
        code: Code::PermissionDenied,
        told: "NAMESPACE claims \"bank\", but the certificate says \"shop\"",
    },
    Forgery {
        what: "another service account",
        forge: |settings| settings.node.service_account = Some("admin".into()),
        code: Code::PermissionDenied,
        told: "SERVICE_ACCOUNT claims \"admin\", but the certificate says \"web\"",
    },
    Forgery {
        what: "another network",
        forge: |settings| settings.node.network = Some("east".into()),
        code: Code::PermissionDenied,
        told: "NETWORK claims \"east\", but the facts of its cluster say \"west\"",
    },
    Forgery {
        what: "a pod of another service account",
        forge: |settings| settings.node.pod = "west-shop-1".into(),
        code: Code::PermissionDenied,
        told: "the certificate's service account claims \"web\", but the facts know this pod with \
               \"west-shop\"",
    },
    Forgery {
        what: "a kind nobody serves",
        forge: |settings| settings.node.kind = "ztunnel".into(),
        code: Code::InvalidArgument,
        told: "node type \"ztunnel\" is not served; use sidecar or router",
    },
    Forgery {
        what: "an address that is none",
        forge: |settings| extra(settings, "INSTANCE_IPS", "127.1.0.9,somewhere"),
        code: Code::InvalidArgument,
        told: "node address \"somewhere\" is not an IP address",
    },
    Forgery {
        what: "a port that is none",
        forge: |settings| extra(settings, "HTTP_PROXY_PORT", "0"),
        code: Code::InvalidArgument,
        told: "HTTP_PROXY_PORT \"0\" is not a port; use 1 to 65535",
    },
];

fn extra(settings: &mut ClientSettings, key: &str, value: &str) {
    settings.node.extra.insert(key.into(), value.into());
}

#[tokio::test]
async fn a10_each_forged_claim_is_refused_and_named() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    for Forgery { what, forge, code, told } in FORGERIES {
        let mut settings = world.sidecar(&running, "west");
        forge(&mut settings);
        let node = raw::node(&settings);
        let status = refusal(&settings, Some(node)).await;
        assert_eq!((status.code(), status.message()), (*code, *told), "{what}");
    }
    let debug = running.debug().await;
    assert_eq!(debug["denials"].as_array().unwrap().len(), FORGERIES.len(), "{debug:#}");
    assert_eq!(debug["streams"].as_array().unwrap().len(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a10_a_node_that_cannot_be_read_is_refused() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let settings = world.sidecar(&running, "west");
    let missing = "the first request carries no node id; set node.id in the bootstrap";
    let status = refusal(&settings, None).await;
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, missing));

    for id in [
        "",
        "web-1",
        "sidecar~127.1.0.9~web-1.shop",
        "sidecar~127.1.0.9~web-1.shop~shop.svc.cluster.local~more",
        "sidecar~127.1.0.9~web-1~shop.svc.cluster.local",
        "sidecar~127.1.0.9~.shop~shop.svc.cluster.local",
        "sidecar~127.1.0.9~web-1.shop~shop",
    ] {
        let node = Node { id: id.into(), ..raw::node(&settings) };
        let status = refusal(&settings, Some(node)).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{id:?}: {}", status.message());
    }
    running.stop().await;
}

#[tokio::test]
async fn a10_a_foreign_root_does_not_get_through_tls() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let stranger = world.stranger(&running);
    let status = refusal(&stranger, Some(raw::node(&stranger))).await;
    assert_ne!(status.code(), Code::Ok);
    until("the refusal is shown", async || {
        let denials = running.debug().await["denials"].to_string();
        denials.contains("client at 127.0.0.1: ") && denials.contains("mesh.test")
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a10_the_right_root_without_a_cluster_is_refused() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let homeless = world.homeless(&running);
    let status = refusal(&homeless, Some(raw::node(&homeless))).await;
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.message(),
        "spiffe://mesh.test/ns/shop/sa/web: no cluster of this mesh has this issuer; set \
         caCertificate of its cluster in the mesh file"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_cluster_without_a_ca_has_no_clients_and_the_others_have_theirs() {
    let world = World::new();
    world.mesh(
        "  - {name: west, addresses: [127.1.0.0/16], caCertificate: ca/west/ca-cert.pem}
  - {name: east, addresses: [127.2.0.0/16]}
",
    );
    let running = world.start().await;
    running.until_ready().await;
    let east = world.sidecar(&running, "east");
    let status = refusal(&east, Some(raw::node(&east))).await;
    assert_eq!(status.code(), Code::PermissionDenied, "{}", status.message());
    let west = world.sidecar(&running, "west");
    let first = DeltaDiscoveryRequest {
        node: Some(raw::node(&west)),
        type_url: Cluster.url().into(),
        ..DeltaDiscoveryRequest::default()
    };
    let mut stream = raw::delta(&west, WINDOW, first).await.unwrap();
    assert!(!stream.next().await.unwrap().resources.is_empty());
    let complaints = running.debug().await["authorities"].to_string();
    assert!(complaints.contains("cluster east: no caCertificate"), "{complaints}");
    running.stop().await;
}

#[tokio::test]
async fn a_pod_that_the_facts_do_not_know_yet_is_served_at_its_certificates_word() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let settings = world.client(&running, "west", "shop", "web", "web-just-born");
    let first = DeltaDiscoveryRequest {
        node: Some(raw::node(&settings)),
        type_url: Cluster.url().into(),
        ..DeltaDiscoveryRequest::default()
    };
    let mut stream = raw::delta(&settings, WINDOW, first).await.unwrap();
    stream.next().await.unwrap();
    let debug = running.debug().await;
    assert_eq!(debug["streams"][0]["audience"], "sidecar in west on west at -");
    running.stop().await;
}
