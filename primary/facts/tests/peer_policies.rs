//! PeerAuthentication: which policy counts for which port of which pod, and what that does to its
//! endpoints.
#![allow(clippy::unwrap_used, reason = "a test stops where its ground does not hold")]

use std::collections::BTreeSet;

use diolkos_facts::{Derived, Folder, Severity, parse_mesh};
use diolkos_topology::{Fact, Mtls, MtlsMode, Namespace, OutboundTraffic, PodName, Port};

const MESH: &str = "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n  \
                    trustDomain: mesh.example\n  clusters: [{name: west, caCertificate: ca.pem}]\n";

/// Two pods of one service with two ports; the first is `app: db`, the second `app: web`.
const PODS: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: shop}
spec: {ports: [{name: http, port: 80}, {name: tcp-raw, port: 90}]}
---
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: shop, labels: {security.istio.io/tlsMode: istio, app: db}}
---
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: shop, labels: {security.istio.io/tlsMode: istio, app: web}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, namespace: shop, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: tcp-raw, port: 9090}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: one}}
- {addresses: [10.0.0.2], targetRef: {kind: Pod, name: two}}
";

fn derived(policies: &[&str]) -> Derived {
    let (mesh, _) = parse_mesh(MESH);
    let mesh = mesh.unwrap();
    let mut folder = Folder::new(&mesh.clusters[0].settings, &mesh.networks);
    folder.set("pods.yaml", Some(PODS));
    for (number, policy) in policies.iter().enumerate() {
        let text = format!("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n{policy}");
        folder.set(&format!("policy-{number}.yaml"), Some(&text));
    }
    folder.derive()
}

const MESH_STRICT: &str =
    "metadata: {name: default, namespace: diolkos-system}\nspec: {mtls: {mode: STRICT}}";
const ISTIO_DISABLE: &str =
    "metadata: {name: default, namespace: istio-system}\nspec: {mtls: {mode: DISABLE}}";
const NS_PERMISSIVE: &str =
    "metadata: {name: b, namespace: shop}\nspec: {mtls: {mode: PERMISSIVE}}";
const NS_OLDER: &str = "metadata: {name: z, namespace: shop, \
                        creationTimestamp: '2020-01-01T00:00:00Z'}\nspec: {mtls: {mode: DISABLE}}";
const NS_FIRST: &str = "metadata: {name: a, namespace: shop}\nspec: {mtls: {mode: STRICT}}";
const NS_UNSET: &str = "metadata: {name: b, namespace: shop}\nspec: {mtls: {mode: UNSET}}";
const OTHER: &str = "metadata: {name: b, namespace: other}\nspec: {mtls: {mode: DISABLE}}";
const DB: &str = "metadata: {name: db, namespace: shop}\n\
                  spec: {selector: {matchLabels: {app: db}}, mtls: {mode: STRICT}}";
const DB_PORT: &str = "metadata: {name: db, namespace: shop}\n\
                       spec: {selector: {matchLabels: {app: db}}, \
                       portLevelMtls: {9090: {mode: DISABLE}, 8080: {mode: UNSET}}}";
const DB_ROOT: &str = "metadata: {name: db, namespace: diolkos-system}\n\
                       spec: {selector: {matchLabels: {app: db}}, mtls: {mode: DISABLE}}";

#[test]
fn the_narrowest_policy_that_says_something_counts_and_of_equals_the_oldest() {
    use MtlsMode::{Disable, Permissive, Strict};
    type Expected = [Option<MtlsMode>; 3];
    // The db pod's 8080 and 9090, and the web pod.
    let cases: [(&[&str], Expected); 12] = [
        (&[], [None; 3]),
        (&[MESH_STRICT], [Some(Strict); 3]),
        (&[ISTIO_DISABLE], [Some(Disable); 3]),
        (&[ISTIO_DISABLE, MESH_STRICT], [Some(Strict); 3]),
        (&[MESH_STRICT, NS_PERMISSIVE], [Some(Permissive); 3]),
        (&[MESH_STRICT, NS_UNSET], [Some(Strict); 3]),
        (&[MESH_STRICT, OTHER], [Some(Strict); 3]),
        (&[NS_PERMISSIVE, NS_OLDER, NS_FIRST], [Some(Disable); 3]),
        (&[NS_PERMISSIVE, NS_FIRST], [Some(Strict); 3]),
        (&[NS_PERMISSIVE, DB], [Some(Strict), Some(Strict), Some(Permissive)]),
        (&[NS_FIRST, DB_PORT], [Some(Strict), Some(Disable), Some(Strict)]),
        (&[DB_ROOT], [None; 3]),
    ];
    for (policies, expected) in cases {
        let derived = derived(policies);
        let mode = |pod: &str, port: u16| {
            let entry =
                &derived.pods[&(Namespace::new("shop").unwrap(), PodName::new(pod).unwrap())];
            entry.modes.of(Port::new(port).unwrap())
        };
        let found = [mode("one", 8080), mode("one", 9090), mode("two", 8080)];
        assert_eq!(found, expected, "{policies:#?}");
    }
}

/// `address:port mtls`, sorted.
fn endpoints(policies: &[&str]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for fact in derived(policies).facts.into_values() {
        let Fact::Slice(slice) = fact else { continue };
        for endpoint in &slice.endpoints {
            for (_, port) in &slice.ports {
                let mtls = if endpoint.mtls == Mtls::Istio { "mtls" } else { "plain" };
                let line = format!("{}:{port} {mtls}", endpoint.address);
                assert!(all.insert(line), "each port of an endpoint is said once");
            }
        }
    }
    all
}

#[test]
fn clients_speak_plaintext_where_mutual_tls_is_disabled_and_only_there() {
    let disable_db = "metadata: {name: db, namespace: shop}\n\
                      spec: {selector: {matchLabels: {app: db}}, mtls: {mode: DISABLE}}";
    let all_but_one = "metadata: {name: db, namespace: shop}\n\
                       spec: {selector: {matchLabels: {app: db}}, mtls: {mode: DISABLE}, \
                       portLevelMtls: {8080: {mode: STRICT}}}";
    let overridden = "metadata: {name: db, namespace: shop}\n\
                      spec: {selector: {matchLabels: {app: db}}, mtls: {mode: DISABLE}, \
                      portLevelMtls: {8080: {mode: STRICT}, 9090: {mode: PERMISSIVE}}}";
    let cases: [(&[&str], [&str; 4]); 6] = [
        (&[], ["mtls", "mtls", "mtls", "mtls"]),
        (&[MESH_STRICT], ["mtls", "mtls", "mtls", "mtls"]),
        (&[disable_db], ["plain", "plain", "mtls", "mtls"]),
        (&[DB_PORT], ["mtls", "plain", "mtls", "mtls"]),
        (&[all_but_one], ["mtls", "plain", "mtls", "mtls"]),
        (&[overridden], ["mtls", "mtls", "mtls", "mtls"]),
    ];
    for (policies, expected) in cases {
        let at = ["10.0.0.1:8080", "10.0.0.1:9090", "10.0.0.2:8080", "10.0.0.2:9090"];
        let lines = at.iter().zip(expected).map(|(at, mtls)| format!("{at} {mtls}"));
        assert_eq!(endpoints(policies), lines.collect(), "{policies:#?}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_line() {
    let cases = [
        (
            "metadata: {name: a, namespace: shop}\nspec: {mtls: {mode: strict}}",
            "spec.mtls.mode: \"strict\" is no mode; use UNSET, DISABLE, PERMISSIVE or STRICT",
        ),
        (
            "metadata: {name: a, namespace: shop}\nspec: {portLevelMtls: {80: {mode: STRICT}}}",
            "spec.portLevelMtls: portLevelMtls is for the workloads of a selector, and there is \
             none; add spec.selector.matchLabels",
        ),
        (
            "metadata: {name: a, namespace: shop}\n\
             spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {70000: {mode: STRICT}}}",
            "spec.portLevelMtls.70000: \"70000\" is not a port; use 1 to 65535",
        ),
    ];
    for (policy, expected) in cases {
        let rejections = derived(&[policy]).rejections;
        let told: Vec<_> = rejections.iter().map(ToString::to_string).collect();
        let [told] = told.as_slice() else { panic!("{told:#?}") };
        assert!(told.ends_with(expected), "{told}");
        assert_eq!(rejections[0].severity, Severity::Refused);
    }
    let told = derived(&[DB_ROOT]).rejections;
    assert_eq!(told[0].severity, Severity::Warning, "as Istio, it is without effect: {told:?}");
}

#[test]
fn as_many_ports_as_the_limit_and_not_one_more() {
    let policy = |count: usize| {
        let ports: Vec<_> = (1..=count).map(|n| format!("{n}: {{mode: STRICT}}")).collect();
        format!(
            "metadata: {{name: a, namespace: shop}}\nspec: {{selector: {{matchLabels: {{a: b}}}}, \
             portLevelMtls: {{{}}}}}",
            ports.join(", ")
        )
    };
    let max = diolkos_facts::limit::POLICY_PORTS_MAX;
    assert_eq!(derived(&[&policy(max)]).rejections, []);
    assert_eq!(derived(&[&policy(max + 1)]).rejections.len(), 1);
}

#[test]
fn the_mesh_file_says_the_default_and_what_may_leave() {
    let with = |more: &str| parse_mesh(&format!("{MESH}{more}")).0;
    let mesh = with("").unwrap();
    assert_eq!((mesh.mtls, mesh.outbound), (MtlsMode::Permissive, OutboundTraffic::Allow));
    let mesh = with("  mtls: strict\n  outboundTraffic: registryOnly\n").unwrap();
    assert_eq!((mesh.mtls, mesh.outbound), (MtlsMode::Strict, OutboundTraffic::RegistryOnly));
    let refused = with("  mtls: disable\n").unwrap_err().to_string();
    assert!(refused.contains("spec.mtls: \"disable\" is no default"), "{refused}");
    let refused = with("  outboundTraffic: all\n").unwrap_err().to_string();
    assert!(refused.ends_with("use allow or registryOnly"), "{refused}");
}
