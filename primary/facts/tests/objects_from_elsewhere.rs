//! Objects that come from no file: what an API server says becomes the same facts.

use std::net::IpAddr;

use diolkos_facts::{
    Findings, PodEntry, PodKey, Surroundings, UnknownPods, pod_parts, service_fact, slice_fact,
};
use diolkos_topology::{Mtls, NetworkId};
use diolkos_trust::TrustDomain;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

struct One {
    trust_domain: TrustDomain,
    pod: PodEntry,
}

impl Surroundings for One {
    fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    fn pod(&self, key: &PodKey) -> Option<&PodEntry> {
        ((key.0.as_str(), key.1.as_str()) == ("shop", "cart-1")).then_some(&self.pod)
    }

    fn unknown_pods(&self) -> UnknownPods {
        UnknownPods::Wait
    }

    fn network_by_address(&self, _: IpAddr) -> Option<NetworkId> {
        NetworkId::new("hill").ok()
    }
}

fn meta(name: &str, label: (&str, &str)) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        namespace: Some("shop".into()),
        labels: Some([(label.0.into(), label.1.into())].into()),
        ..ObjectMeta::default()
    }
}

#[test]
fn a_slice_and_its_pod_become_one_fact() {
    let mut findings = Findings::default();
    let pod =
        Pod { metadata: meta("cart-1", ("security.istio.io/tlsMode", "istio")), ..Pod::default() };
    let pod = pod_parts(&pod, &mut findings).expect("a pod").entry;
    let around = One { trust_domain: TrustDomain::new("mesh.example").expect("a name"), pod };
    let target = ObjectReference {
        kind: Some("Pod".into()),
        name: Some("cart-1".into()),
        ..ObjectReference::default()
    };
    let endpoint = Endpoint {
        addresses: vec!["10.0.0.1".into()],
        target_ref: Some(target),
        ..Endpoint::default()
    };
    let slice = EndpointSlice {
        metadata: meta("x", ("kubernetes.io/service-name", "cart")),
        address_type: "IPv4".into(),
        endpoints: Some(vec![endpoint]),
        ..EndpointSlice::default()
    };
    let fact = slice_fact(&slice, &around, &mut findings).expect("a slice");
    assert_eq!(findings, Findings::default());
    assert_eq!(fact.service.to_string(), "shop/cart");
    let endpoint = &fact.endpoints[0];
    assert_eq!(endpoint.mtls, Mtls::Istio);
    assert_eq!(endpoint.network, NetworkId::new("hill").ok());
    let identity = endpoint.identity.as_ref().map(ToString::to_string);
    assert_eq!(identity.as_deref(), Some("spiffe://mesh.example/ns/shop/sa/default"));
}

#[test]
fn a_finding_says_cause_and_way_out_without_a_file() {
    let port = ServicePort { port: 70_000, ..ServicePort::default() };
    let spec = ServiceSpec { ports: Some(vec![port]), ..ServiceSpec::default() };
    let object =
        Service { metadata: meta("cart", ("app", "cart")), spec: Some(spec), status: None };
    let mut findings = Findings::default();
    assert_eq!(service_fact(&object, &mut findings), None);
    let told: Vec<_> = findings.0.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["spec.ports[0].port: 70000 is not a port; use 1 to 65535"]);
}
