//! A cluster without a primary: how its pods and its API server reach one, and what that one may
//! read and write.

use std::net::IpAddr;

use diolkos_topology::Namespace;
use serde_json::{Value, json};

use crate::injector::{self, Way};
use crate::names;
use crate::parts::{metadata, namespace, port, service_account};
use crate::roles;
use crate::settings::{Address, Remote, Settings};

pub(crate) fn objects(settings: &Settings, remote: &Remote) -> Vec<Value> {
    let mut objects = vec![
        namespace(settings, Some(remote.primary_cluster.as_str())),
        service_account(settings, names::READER, false),
    ];
    objects.extend(roles::reader(settings.namespace(), names::READER));
    objects.extend(roles::controlled(settings));
    let way = match &remote.address {
        Address::Host(host) => {
            objects.push(alias(settings, host));
            Way::Name
        }
        Address::Ips(ips) => {
            objects.push(service(settings, ips));
            objects.extend(slices(settings, ips));
            Way::Service
        }
    };
    objects.push(injector::configuration(settings, way));
    objects
}

/// The account by which a primary reads a cluster, and its rights: what a remote secret needs.
pub fn reader(namespace: &Namespace, account: &str) -> Vec<Value> {
    let mut objects = vec![json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": account,
            "namespace": namespace.as_str(),
            "labels": crate::parts::labels(names::READER),
        },
        "automountServiceAccountToken": false,
    })];
    objects.extend(roles::reader(namespace.as_str(), account));
    objects
}

/// Its endpoints are elsewhere; its name is the one in the primary's certificate.
fn service(settings: &Settings, ips: &[IpAddr]) -> Value {
    let families: Vec<&str> = families(ips).iter().map(|(family, _)| *family).collect();
    let policy = if families.len() > 1 { "PreferDualStack" } else { "SingleStack" };
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(settings, names::PRIMARY),
        "spec": {"ipFamilies": families, "ipFamilyPolicy": policy, "ports": ports()},
    })
}

fn alias(settings: &Settings, host: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(settings, names::PRIMARY),
        "spec": {"type": "ExternalName", "externalName": host, "ports": ports()},
    })
}

fn ports() -> Value {
    json!([
        port("tls-xds", names::XDS_PORT, names::XDS_PORT),
        port("https-webhook", names::WEBHOOK_SERVICE_PORT, names::WEBHOOK_PORT),
    ])
}

/// One for each family.
fn slices(settings: &Settings, ips: &[IpAddr]) -> Vec<Value> {
    let slice = |(family, ips): &(&str, Vec<String>)| {
        let name = format!("{}-{}", names::PRIMARY, family.to_lowercase());
        let mut metadata = metadata(settings, names::PRIMARY);
        metadata["name"] = json!(name);
        metadata["labels"]["kubernetes.io/service-name"] = json!(names::PRIMARY);
        metadata["labels"]["endpointslice.kubernetes.io/managed-by"] = json!("diolkos");
        let endpoint = |ip: &String| json!({"addresses": [ip], "conditions": {"ready": true}});
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": family,
            "endpoints": ips.iter().map(endpoint).collect::<Vec<_>>(),
            "ports": [
                {"name": "tls-xds", "port": names::XDS_PORT, "protocol": "TCP"},
                {"name": "https-webhook", "port": names::WEBHOOK_PORT, "protocol": "TCP"},
            ],
        })
    };
    families(ips).iter().map(slice).collect()
}

/// Those that there are addresses of.
fn families(ips: &[IpAddr]) -> Vec<(&'static str, Vec<String>)> {
    let of = |family, is_of: fn(&IpAddr) -> bool| {
        let ips: Vec<String> = ips.iter().filter(|ip| is_of(ip)).map(IpAddr::to_string).collect();
        (family, ips)
    };
    let all = [of("IPv4", IpAddr::is_ipv4), of("IPv6", IpAddr::is_ipv6)];
    all.into_iter().filter(|(_, ips)| !ips.is_empty()).collect()
}
