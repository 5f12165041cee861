//! The state of the world, by tonic's generated client.

use diolkos_xds::ResourceType::{Cluster, Endpoint};
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

use crate::raw;
use crate::world::{World, cluster_name, ip};

fn request(url: &str, names: &[String]) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: url.into(),
        resource_names: names.to_vec(),
        ..DiscoveryRequest::default()
    }
}

fn ack(of: &DiscoveryResponse, names: &[String]) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: of.version_info.clone(),
        response_nonce: of.nonce.clone(),
        ..request(&of.type_url, names)
    }
}

#[tokio::test]
async fn a_state_of_the_world_stream_gets_clusters_then_endpoints_then_their_changes() {
    let world = World::new();
    let running = world.start().await;
    running.until_ready().await;
    let settings = world.sidecar(&running, "west");
    let mut first = request(Cluster.url(), &[]);
    first.node = Some(raw::node(&settings));
    let mut stream = raw::sotw(&settings, first).await.unwrap();
    let clusters = stream.next().await.unwrap();
    assert_eq!(clusters.type_url, Cluster.url());
    assert!(clusters.resources.len() >= 2);
    stream.requests.send(ack(&clusters, &[])).await.unwrap();

    let names = [cluster_name("west-shop")];
    stream.requests.send(request(Endpoint.url(), &names)).await.unwrap();
    let endpoints = stream.next().await.unwrap();
    assert_eq!((endpoints.type_url.as_str(), endpoints.resources.len()), (Endpoint.url(), 1));
    stream.requests.send(ack(&endpoints, &names)).await.unwrap();

    world.service("west", "west-shop", &[1, 7]);
    let changed = stream.next().await.unwrap();
    assert_eq!(changed.type_url, Endpoint.url());
    assert_ne!(changed.version_info, endpoints.version_info);
    let added = ip("west", 7).to_string();
    let body = &changed.resources[0].value;
    assert!(body.windows(added.len()).any(|window| window == added.as_bytes()));
    running.stop().await;
}
