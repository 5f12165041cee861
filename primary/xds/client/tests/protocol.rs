//! The client's half of delta xDS, message by message.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use diolkos_xds::ResourceType::{self, Cluster, Endpoint, Listener};
use diolkos_xds_client::{Protocol, Subscription, Verdict};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use envoy_types::pb::google::protobuf::Any;

fn protocol(subscriptions: Vec<(ResourceType, Subscription)>) -> Protocol {
    Protocol::new(Node { id: "me".into(), ..Node::default() }, subscriptions)
}

fn names(names: &[&str]) -> Subscription {
    Subscription::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

fn response(kind: ResourceType, nonce: &str, upserts: &[(&str, &str)]) -> DeltaDiscoveryResponse {
    let any = Any { type_url: kind.url().into(), value: b"body".to_vec() };
    let resource = |(name, version): &(&str, &str)| Resource {
        name: (*name).into(),
        version: (*version).into(),
        resource: Some(any.clone()),
        ..Resource::default()
    };
    DeltaDiscoveryResponse {
        type_url: kind.url().into(),
        nonce: nonce.into(),
        resources: upserts.iter().map(resource).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn answer(
    protocol: &mut Protocol,
    response: DeltaDiscoveryResponse,
    verdict: Verdict,
) -> DeltaDiscoveryRequest {
    let offer = protocol.received(response).unwrap();
    let (_, answered) = offer.split();
    protocol.answer(answered, verdict)
}

fn held(request: &DeltaDiscoveryRequest) -> Vec<(&str, &str)> {
    let mut held: Vec<(&str, &str)> = request
        .initial_resource_versions
        .iter()
        .map(|(name, version)| (name.as_str(), version.as_str()))
        .collect();
    held.sort_unstable();
    held
}

#[test]
fn a_stream_begins_with_each_interest_in_push_order_and_says_the_node_once() {
    let mut protocol = protocol(vec![
        (Listener, Subscription::Wildcard),
        (Endpoint, names(&[])),
        (Cluster, Subscription::Wildcard),
    ]);
    for _ in 0..2 {
        let first = protocol.connected();
        let urls: Vec<&str> = first.iter().map(|request| request.type_url.as_str()).collect();
        assert_eq!(urls, [Cluster.url(), Listener.url()], "no names are no interest");
        assert!(first[0].node.is_some() && first[1].node.is_none());
        assert!(first.iter().all(|request| request.resource_names_subscribe.is_empty()));
    }
}

#[test]
fn what_was_accepted_is_named_with_its_version_and_what_was_rejected_without() {
    let mut protocol = protocol(vec![(Cluster, Subscription::Wildcard)]);
    protocol.connected();
    let ack =
        answer(&mut protocol, response(Cluster, "n1", &[("a", "1"), ("b", "1")]), Verdict::Accept);
    assert_eq!((ack.response_nonce.as_str(), ack.error_detail), ("n1", None));

    let nack = answer(
        &mut protocol,
        response(Cluster, "n2", &[("a", "2"), ("new", "1")]),
        Verdict::Reject("a: no".into()),
    );
    let detail = nack.error_detail.unwrap();
    assert_eq!((nack.response_nonce.as_str(), detail.code), ("n2", 3));
    assert_eq!(detail.message, "a: no");
    // The reader may use `new`, or the other `a`: whichever it is, the server says it again.
    assert_eq!(held(&protocol.connected()[0]), [("a", ""), ("b", "1"), ("new", "")]);

    let mut removal = response(Cluster, "n3", &[]);
    removal.removed_resources = vec!["b".into(), "new".into()];
    answer(&mut protocol, removal, Verdict::Accept);
    assert_eq!(held(&protocol.connected()[0]), [("a", "")]);
}

#[test]
fn subscriptions_go_out_as_differences_and_what_is_unsubscribed_is_forgotten() {
    let mut protocol = protocol(vec![(Endpoint, names(&["a"]))]);
    protocol.connected();
    assert_eq!(protocol.subscribe(Endpoint, ["a".to_owned()]), None);
    let more = protocol.subscribe(Endpoint, ["a".to_owned(), "b".to_owned()]).unwrap();
    assert_eq!(more.resource_names_subscribe, ["b"]);
    answer(
        &mut protocol,
        response(Endpoint, "n1", &[("a", "1"), ("b", "1"), ("never asked for", "1")]),
        Verdict::Accept,
    );
    let less = protocol.unsubscribe(Endpoint, ["a".to_owned()]).unwrap();
    assert_eq!(less.resource_names_unsubscribe, ["a"]);
    assert_eq!(protocol.unsubscribe(Endpoint, ["a".to_owned()]), None);

    let first = protocol.connected();
    assert_eq!(first[0].resource_names_subscribe, ["b"]);
    assert_eq!(held(&first[0]), [("b", "1")]);
    protocol.unsubscribe(Endpoint, ["b".to_owned()]);
    assert!(protocol.is_idle() && protocol.connected().is_empty());
}

#[test]
fn an_answer_for_a_name_unsubscribed_meanwhile_is_not_remembered() {
    let mut protocol = protocol(vec![(Endpoint, names(&["a", "b"]))]);
    protocol.connected();
    let offer = protocol.received(response(Endpoint, "n1", &[("a", "1"), ("b", "1")])).unwrap();
    protocol.unsubscribe(Endpoint, ["a".to_owned()]);
    let (_, answered) = offer.split();
    protocol.answer(answered, Verdict::Accept);
    assert_eq!(held(&protocol.connected()[0]), [("b", "1")]);
}

#[test]
fn the_first_request_says_the_node_also_when_it_is_a_late_subscription() {
    let mut protocol = protocol(vec![]);
    assert!(protocol.is_idle());
    assert!(protocol.connected().is_empty());
    assert!(protocol.subscribe(Endpoint, ["a".to_owned()]).unwrap().node.is_some());
    assert!(protocol.subscribe(Endpoint, ["b".to_owned()]).unwrap().node.is_none());
}

#[test]
fn a_response_that_makes_no_sense_is_refused_with_its_reason() {
    let mut protocol = protocol(vec![(Cluster, Subscription::Wildcard)]);
    protocol.connected();

    let mut unknown = response(Cluster, "n1", &[]);
    unknown.type_url = "type.googleapis.com/what".into();
    let refusal = protocol.received(unknown).unwrap_err();
    assert_eq!(refusal.response_nonce, "n1");
    let reason = refusal.error_detail.unwrap().message;
    assert_eq!(reason, "type \"type.googleapis.com/what\" was never asked for");

    let mut mixed = response(Cluster, "n2", &[("a", "1")]);
    mixed.resources[0].resource.as_mut().unwrap().type_url = "other".into();
    let reason = protocol.received(mixed).unwrap_err().error_detail.unwrap().message;
    assert_eq!(reason, "a: a resource of type \"other\"");
    assert!(held(&protocol.connected()[0]).is_empty());
}
