//! Envoy's bootstrap: the primary's word for it, and where a pod of a test differs from any other.

use std::net::SocketAddr;
use std::path::Path;

use diolkos_xds::bootstrap::{ADMIN_PORT, Limits, Sidecar, sidecar};
use serde_json::{Value, json};

use crate::settings::{SidecarSettings, Workload};

pub(crate) fn of(settings: &SidecarSettings, socket: &Path) -> Value {
    let Workload { pod, namespace, service_account, ips, cluster, network, cluster_domain } =
        &settings.workload;
    let primary = &settings.certificate.primary;
    let mut bootstrap = sidecar(&Sidecar {
        pod,
        namespace,
        service_account,
        workload: pod,
        ips,
        cluster,
        network: network.as_deref(),
        cluster_domain,
        primary_host: primary.server(),
        primary_port: primary.place.port,
        sds_socket: &socket.to_string_lossy(),
        limits: Limits::default(),
    });
    if primary.server() != primary.place.host {
        let dialled = "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0\
                       /endpoint/address/socket_address/address";
        if let Some(address) = bootstrap.pointer_mut(dialled) {
            *address = primary.place.host.as_str().into();
        }
    }
    if settings.envoy.admin != SocketAddr::from(([127, 0, 0, 1], ADMIN_PORT)) {
        bootstrap["admin"] = json!({ "address": { "socket_address": {
            "address": settings.envoy.admin.ip(), "port_value": settings.envoy.admin.port(),
        }}});
    }
    if let Some(claims) = bootstrap["node"]["metadata"].as_object_mut() {
        for (key, value) in &settings.claims {
            match value.as_str() {
                "" => drop(claims.remove(key)),
                value => drop(claims.insert(key.clone(), value.into())),
            }
        }
    }
    if let Some(source) = settings.envoy.source {
        bootstrap["cluster_manager"] = json!({
            "upstream_bind_config": { "source_address": { "address": source, "port_value": 0 } },
        });
    }
    bootstrap
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use diolkos_trust::SpiffeId;
    use diolkos_trust_client::{CertificateSettings, PRIMARY_AUDIENCE};

    use super::*;
    use crate::settings::EnvoySettings;

    fn settings() -> SidecarSettings {
        let ips = ["10.1.2.3".parse().unwrap(), "fd00::3".parse().unwrap()];
        SidecarSettings {
            certificate: CertificateSettings {
                primary: "diolkos-primary.diolkos-system.svc:15012".parse().unwrap(),
                token_file: "token".into(),
                root_file: "root".into(),
                id: SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/cart").unwrap(),
                cluster: "west".into(),
                ttl: Duration::from_secs(1),
                audience: PRIMARY_AUDIENCE,
            },
            workload: Workload {
                pod: "cart-1".into(),
                namespace: "shop".into(),
                service_account: "cart".into(),
                ips: ips.into(),
                cluster: "west".into(),
                network: None,
                cluster_domain: "cluster.local".into(),
            },
            claims: Default::default(),
            envoy: EnvoySettings {
                program: "envoy".into(),
                dir: "run".into(),
                admin: SocketAddr::from(([127, 0, 0, 1], ADMIN_PORT)),
                concurrency: 1,
                log_level: "warning".into(),
                source: None,
            },
            health: SocketAddr::from(([0, 0, 0, 0], 0)),
            probes_at: SocketAddr::from(([0, 0, 0, 0], 0)),
            probes: Default::default(),
            pod_ip: ips[0],
            drain: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_pods_bootstrap_is_what_its_primary_expects() {
        let bootstrap = of(&settings(), Path::new("/run/sds.sock"));
        let text = bootstrap.to_string();
        assert!(text.contains("\"path\":\"/run/sds.sock\""), "{text}");
        let node = &bootstrap["node"];
        assert_eq!(node["id"], "sidecar~10.1.2.3~cart-1.shop~shop.svc.cluster.local");
        assert_eq!(node["metadata"]["INSTANCE_IPS"], "10.1.2.3,fd00::3");
        assert_eq!(bootstrap["admin"]["address"]["socket_address"]["port_value"], ADMIN_PORT);
        assert_eq!(bootstrap["cluster_manager"], Value::Null);
    }

    #[test]
    fn what_differs_is_said_in_the_place_of_what_is_usual() {
        let mut settings = settings();
        settings.certificate.primary = "127.0.0.1:99".parse().unwrap();
        settings.certificate.primary.server = Some("primary.test".into());
        settings.envoy.admin = SocketAddr::from(([127, 0, 0, 9], 1));
        settings.envoy.source = Some([127, 0, 0, 9].into());
        settings.claims = [("HTTP_PROXY_PORT", "15080"), ("INTERCEPTION_MODE", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let bootstrap = of(&settings, Path::new("/run/sds.sock"));
        let cluster = bootstrap["static_resources"]["clusters"][0].to_string();
        assert!(cluster.contains("\"sni\":\"primary.test\""), "{cluster}");
        assert!(cluster.contains("\"exact\":\"primary.test\""), "{cluster}");
        assert!(cluster.contains("\"address\":\"127.0.0.1\",\"port_value\":99"), "{cluster}");
        let metadata = &bootstrap["node"]["metadata"];
        assert_eq!(metadata["HTTP_PROXY_PORT"], "15080");
        assert_eq!(metadata["INTERCEPTION_MODE"], Value::Null);
        assert_eq!(bootstrap["admin"]["address"]["socket_address"]["address"], "127.0.0.9");
        assert!(bootstrap["cluster_manager"].is_object());
    }
}
