//! Manifests and the facts that they must give, in words.

use diolkos_facts::{ClusterEntry, Folder, MeshFile, parse_mesh};
use diolkos_topology::{
    Consumers, EndpointFact, Fact, FactKey, GatewayFact, Health, Mtls, Namespace, PodName,
};

const MESH: &str = "
apiVersion: diolkos.dev/v1alpha1
kind: Mesh
metadata: {name: test}
spec:
  trustDomain: mesh.example
  staleAfter: 1m30s
  export: all
  clusterLocal:
  - {host: '*.kube-system.svc.cluster.local', local: false}
  - {host: a.b.svc.cluster.local}
  clusters:
  - {name: east, addresses: [10.0.0.0/8, 'fd00::/8'], caCertificate: east/ca.pem}
  - {name: west, network: westnet, folder: /srv/west, caCertificate: west/ca.pem}
  - {name: north, tokens: {issuer: 'https://north.example/id', jwks: north/jwks.json}}
  meshNetworks:
    northnet:
      endpoints: [{fromRegistry: north}, {fromCidr: 10.9.0.0/16}, {fromCidr: 10.9.9.0/24}]
      gateways:
      - {address: 192.0.2.9, port: 443}
      - {registryServiceName: door.istio-system.svc.cluster.local, port: 15443}
    hill:
      endpoints: [{fromCidr: 10.9.9.128/25}]
";

fn mesh(text: &str) -> MeshFile {
    let (mesh, notes) = parse_mesh(text);
    assert!(notes.is_empty(), "{notes:?}");
    mesh.expect("the mesh file is right")
}

fn entry<'a>(mesh: &'a MeshFile, name: &str) -> &'a ClusterEntry {
    let named = |entry: &&ClusterEntry| entry.settings.cluster.as_str() == name;
    mesh.clusters.iter().find(named).expect("a cluster")
}

/// The folder of one cluster with one file, in which nothing is wrong.
fn folder(cluster: &str, manifests: &str) -> Folder {
    let folder = told(cluster, manifests);
    assert!(folder.rejections().is_empty(), "{:#?}", folder.rejections());
    folder
}

fn told(cluster: &str, manifests: &str) -> Folder {
    let mesh = mesh(MESH);
    let mut folder = Folder::new(&entry(&mesh, cluster).settings, &mesh.networks);
    folder.set("a.yaml", Some(manifests));
    folder
}

#[test]
fn a_mesh_file_says_all_that_it_can_say() {
    let mesh = mesh(MESH);
    assert_eq!(mesh.settings.stale_ms_max, Some(90_000));
    assert_eq!(mesh.settings.cluster_domain, "cluster.local");
    assert_eq!(mesh.settings.cluster_local.len(), 2);
    assert!(!mesh.settings.cluster_local[0].local && mesh.settings.cluster_local[1].local);
    let networks: Vec<_> =
        mesh.clusters.iter().map(|entry| entry.settings.network.to_string()).collect();
    assert_eq!(networks, ["(unnamed)", "westnet", "northnet"]);
    let folders: Vec<_> = mesh.clusters.iter().map(|entry| entry.folder()).collect();
    assert_eq!(folders, ["clusters/east", "/srv/west", "clusters/north"]);
    assert_eq!(entry(&mesh, "east").settings.addresses.len(), 2);
    assert_eq!(entry(&mesh, "east").ca_certificate.as_deref(), Some("east/ca.pem"));
    assert_eq!(entry(&mesh, "east").tokens, None);
    let tokens = entry(&mesh, "north").tokens.as_ref().expect("tokens");
    let said = (tokens.issuer.as_str(), tokens.jwks.as_str());
    assert_eq!(said, ("https://north.example/id", "north/jwks.json"));
    let owners: Vec<_> =
        mesh.networks.gateways.iter().map(|gateway| gateway.cluster.to_string()).collect();
    assert_eq!(owners, ["north", "north"]);
}

#[test]
fn istios_config_map_and_helm_shapes_of_mesh_networks_are_one() {
    let wrapped = MESH
        .replace("\n    ", "\n      ")
        .replace("  meshNetworks:\n", "  meshNetworks:\n    networks:\n");
    assert_eq!(mesh(&wrapped), mesh(MESH));
}

fn pod(name: &str, labels: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\n\
         metadata: {{name: {name}, namespace: shop, labels: {{{labels}}}}}\n\
         spec: {{{spec}}}\n---\n"
    )
}

fn slice(endpoints: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: cart-x, namespace: shop, \
         labels: {{kubernetes.io/service-name: cart}}}}\n\
         addressType: IPv4\n\
         ports: [{{name: http, port: 8080}}, {{name: dns, port: 53, protocol: UDP}}]\n\
         endpoints:\n{endpoints}\n---\n"
    )
}

fn endpoint(folder: &Folder) -> EndpointFact {
    let facts = folder.facts();
    let mut slices = facts.values().filter_map(|fact| match fact {
        Fact::Slice(slice) => Some(slice.endpoints.clone()),
        _ => None,
    });
    let endpoints = slices.next().expect("a slice");
    endpoints.into_iter().next().expect("an endpoint")
}

const OF_POD: &str = "- {addresses: [10.9.9.200], targetRef: {kind: Pod, name: cart-1}}";

#[test]
fn an_endpoint_is_joined_with_its_pod() {
    let labels = "security.istio.io/tlsMode: istio, app: cart, version: v2";
    let manifests = pod("cart-1", labels, "serviceAccountName: till, nodeName: n1")
        + &slice("- {addresses: [10.9.9.200], zone: z1, targetRef: {kind: Pod, name: cart-1}}");
    let folder = folder("east", &manifests);
    let found = endpoint(&folder);
    assert_eq!(found.mtls, Mtls::Istio);
    let identity = found.identity.map(|id| id.to_string());
    assert_eq!(identity.as_deref(), Some("spiffe://mesh.example/ns/shop/sa/till"));
    assert_eq!(found.node.map(|node| node.to_string()).as_deref(), Some("n1"));
    assert_eq!(found.zone.as_deref(), Some("z1"));
    assert_eq!(&*found.workload.canonical_name, "cart");
    assert_eq!(&*found.workload.canonical_revision, "v2");
    let entry = folder.pod("shop", "cart-1").expect("the pod is known");
    assert_eq!(entry.service_account, "till");
    let key = (Namespace::new("shop").expect("a name"), PodName::new("cart-1").expect("a name"));
    assert_eq!(folder.derive().pods[&key], entry);
}

#[test]
fn an_endpoint_without_a_pod_is_plaintext_and_nobody() {
    let found = endpoint(&folder("west", &slice("- {addresses: [10.9.9.200]}")));
    assert_eq!((found.mtls, found.identity, found.pod), (Mtls::Plaintext, None, None));
}

#[test]
fn a_pod_without_a_service_account_is_default() {
    let manifests = pod("cart-1", "", "") + &slice(OF_POD);
    let identity = endpoint(&folder("west", &manifests)).identity.map(|id| id.to_string());
    assert_eq!(identity.as_deref(), Some("spiffe://mesh.example/ns/shop/sa/default"));
}

#[test]
fn health_is_what_the_conditions_say_and_ready_where_they_do_not() {
    for (conditions, expected) in [
        ("", Health::Ready),
        (", conditions: {}", Health::Ready),
        (", conditions: {ready: true}", Health::Ready),
        (", conditions: {ready: false}", Health::NotReady),
        (", conditions: {ready: false, serving: true, terminating: true}", Health::Terminating),
        (", conditions: {ready: true, terminating: true}", Health::Terminating),
    ] {
        let text = slice(&format!("- {{addresses: [10.0.0.1]{conditions}}}"));
        assert_eq!(endpoint(&folder("west", &text)).health, expected, "{conditions}");
    }
}

#[test]
fn the_network_is_the_pods_then_the_system_namespaces_then_the_mesh_files_then_by_address() {
    let label = "topology.istio.io/network: podnet";
    let namespace = |name: &str, network: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\n\
             metadata: {{name: {name}, labels: {{topology.istio.io/network: {network}}}}}\n---\n"
        )
    };
    let plain = pod("cart-1", "", "") + &slice(OF_POD);
    let labelled = pod("cart-1", label, "") + &slice(OF_POD);
    let system = namespace("istio-system", "nsnet");
    let both = namespace("istio-system", "other") + &namespace("diolkos-system", "nsnet");
    let ordinary = namespace("shop", "never");
    // What the endpoint says of itself, and what the cluster's system namespace says.
    let cases = [
        ("the pod's label goes first", "east", labelled + &system, Some("podnet"), Some("nsnet")),
        ("a system namespace", "east", plain.clone() + &system, None, Some("nsnet")),
        ("diolkos-system goes before", "east", plain.clone() + &both, None, Some("nsnet")),
        ("fromCidr, the narrowest", "east", plain.clone() + &ordinary, Some("hill"), None),
        ("the entry's network", "west", plain.clone(), None, None),
        ("fromRegistry", "north", plain + &door(), None, None),
    ];
    for (name, cluster, manifests, of_endpoint, of_cluster) in cases {
        let folder = folder(cluster, &manifests);
        let network = endpoint(&folder).network.map(|network| network.to_string());
        assert_eq!(network.as_deref(), of_endpoint, "{name}");
        let facts = folder.facts();
        let namespaces: Vec<_> = facts
            .values()
            .filter_map(|fact| match fact {
                Fact::Namespace(fact) => fact.network.as_ref().map(ToString::to_string),
                _ => None,
            })
            .collect();
        assert_eq!(namespaces, of_cluster.into_iter().collect::<Vec<_>>(), "{name}");
    }
}

fn gateway(labels: &str, spec: &str, status: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\n\
         metadata: {{name: door, namespace: istio-system, labels: {{{labels}}}}}\n\
         spec: {{{spec}}}\nstatus: {{{status}}}\n---\n"
    )
}

fn door() -> String {
    gateway("", "externalIPs: [192.0.2.1], ports: [{name: tls, port: 15443}]", "")
}

/// `network address sni hbone`, one line per gateway.
fn gateways(folder: &Folder) -> String {
    let facts = folder.facts();
    let gateways = facts.values().filter_map(|fact| match fact {
        Fact::Gateway(gateway) => Some(line(gateway)),
        _ => None,
    });
    gateways.collect::<Vec<_>>().join(", ")
}

fn line(gateway: &GatewayFact) -> String {
    let port = |port: Option<diolkos_topology::Port>| {
        port.map_or_else(|| "-".into(), |port| port.to_string())
    };
    let (sni, hbone) = (port(gateway.sni_port), port(gateway.hbone_port));
    let out = gateway.egress_port.map_or_else(String::new, |port| format!(" out {port}"));
    format!("{} {} {sni} {hbone}{out}", gateway.network, gateway.key.address)
}

/// Of the Service `door`: an endpoint that is ready, or none is.
fn behind(name: &str, port: &str, ready: bool) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: {name}, namespace: istio-system, \
         labels: {{kubernetes.io/service-name: door}}}}\n\
         ports: [{{name: {port}, port: 15444}}]\n\
         endpoints: [{{addresses: [10.0.0.7], conditions: {{ready: {ready}}}}}]\n---\n"
    )
}

#[test]
fn a_service_with_the_port_for_it_is_a_way_out_once_somebody_is_ready_behind_it() {
    let network = "topology.istio.io/network: e";
    let own = "clusterIP: 10.96.0.9, ports: [{name: tls-egress, port: 15444}]";
    let both = "clusterIP: 10.96.0.9, externalIPs: [192.0.2.1], \
                ports: [{name: tls, port: 15443}, {name: tls-egress, port: 15444}]";
    let dual = "clusterIPs: [10.96.0.9, 'fd00::9'], ports: [{name: tls-egress, port: 15444}]";
    let ready = behind("door-1", "tls-egress", true);
    let cases = [
        (network, own, ready.clone(), "e 10.96.0.9 - - out 15444", ""),
        (network, dual, ready.clone(), "e 10.96.0.9 - - out 15444, e fd00::9 - - out 15444", ""),
        (network, both, ready.clone(), "e 10.96.0.9 - - out 15444, e 192.0.2.1 15443 -", ""),
        (network, own, String::new(), "", "nobody is ready at port 15444"),
        (network, both, behind("door-1", "tls-egress", false), "e 192.0.2.1 15443 -", "nobody is"),
        (network, own, behind("door-1", "tls", true), "", "nobody is ready at port 15444"),
        (
            network,
            "clusterIP: None, ports: [{name: tls-egress, port: 15444}]",
            ready.clone(),
            "",
            "no cluster IP to be left by",
        ),
        ("", own, ready, "", ""),
    ];
    for (labels, spec, slices, expected, said) in cases {
        let folder = told("east", &(gateway(labels, spec, "") + &slices));
        assert_eq!(gateways(&folder), expected, "{labels} {spec} {slices}");
        let causes: Vec<_> = folder.rejections().into_iter().map(|one| one.cause).collect();
        assert_eq!(causes.len(), usize::from(!said.is_empty()), "{causes:?}");
        assert!(causes.iter().all(|cause| cause.contains(said)), "{causes:?}");
    }
}

#[test]
fn a_labelled_service_is_a_gateway_by_each_of_its_addresses() {
    const NETWORK: &str = "topology.istio.io/network: e";
    let label = "topology.istio.io/network: e, networking.istio.io/gatewayPort: '443'";
    let balancer = "loadBalancer: {ingress: [{ip: 192.0.2.7}]}";
    let cases = [
        (
            NETWORK,
            "externalIPs: [192.0.2.2, 192.0.2.1], ports: [{port: 15443}]",
            "",
            "e 192.0.2.1 15443 -, e 192.0.2.2 15443 -",
        ),
        (NETWORK, "type: LoadBalancer, ports: [{port: 15443}]", balancer, "e 192.0.2.7 15443 -"),
        (
            NETWORK,
            "externalIPs: [192.0.2.1], ports: [{name: a, port: 15443}, {name: b, port: 15008}]",
            "",
            "e 192.0.2.1 15443 15008",
        ),
        (NETWORK, "externalIPs: [192.0.2.1], ports: [{port: 15008}]", "", "e 192.0.2.1 - 15008"),
        (label, "externalIPs: [192.0.2.1], ports: [{port: 443}]", "", "e 192.0.2.1 443 -"),
        (
            label,
            "externalIPs: [192.0.2.1], ports: [{name: a, port: 15443}, {name: b, port: 15008}]",
            "",
            "e 192.0.2.1 - 15008",
        ),
        ("", "externalIPs: [192.0.2.1], ports: [{port: 15443}]", "", ""),
    ];
    for (labels, spec, status, expected) in cases {
        let folder = folder("east", &gateway(labels, spec, status));
        assert_eq!(gateways(&folder), expected, "{labels} {spec}");
        assert!(folder.facts().keys().any(|key| matches!(key, FactKey::Service(_))));
    }
}

#[test]
fn a_node_port_gateway_is_entered_by_its_nodes_for_both_ports() {
    let node = |name: &str, labels: &str, addresses: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n\
             status: {{addresses: [{addresses}]}}\n---\n"
        )
    };
    let nodes = node("n1", "door: open", "{type: InternalIP, address: 10.0.0.1}")
        + &node(
            "n2",
            "",
            "{type: Hostname, address: n2}, {type: InternalIP, address: 10.0.0.2}, \
             {type: ExternalIP, address: 192.0.2.2}",
        );
    let door = gateway(
        "topology.istio.io/network: e",
        "type: NodePort, ports: [{name: a, port: 15443, nodePort: 31443}, \
         {name: b, port: 15008, nodePort: 31008}]",
        "",
    );
    let all = folder("east", &(nodes.clone() + &door));
    assert_eq!(gateways(&all), "e 10.0.0.1 31443 31008, e 192.0.2.2 31443 31008");
    let annotated = door.replace(
        "labels: {topo",
        "annotations: {traffic.istio.io/nodeSelector: '{\"door\": \"open\"}'}, labels: {topo",
    );
    let selected = folder("east", &(nodes + &annotated));
    assert_eq!(gateways(&selected), "e 10.0.0.1 31443 31008");
}

#[test]
fn mesh_networks_gateways_belong_to_the_cluster_of_their_registry() {
    let north = folder("north", &door());
    assert_eq!(gateways(&north), "northnet 192.0.2.9 443 -, northnet 192.0.2.1 15443 -");
    assert_eq!(gateways(&folder("east", &door())), "");
    let labelled = gateway(
        "topology.istio.io/network: own",
        "externalIPs: [192.0.2.1], ports: [{port: 15443}]",
        "",
    );
    let own = folder("north", &labelled);
    assert_eq!(gateways(&own), "northnet 192.0.2.9 443 -, own 192.0.2.1 15443 -");
    let without = told("north", &pod("cart-1", "", ""));
    let rejections: Vec<_> = without.rejections().iter().map(ToString::to_string).collect();
    assert_eq!(rejections.len(), 1);
    assert!(rejections[0].contains("cluster north has no Service istio-system/door"));
}

#[test]
fn an_export_is_for_everyone_or_for_those_it_lists() {
    let export = |annotations: &str| {
        format!(
            "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceExport\n\
             metadata: {{name: cart, namespace: shop, \
             creationTimestamp: '1970-01-01T00:00:02Z'{annotations}}}\n"
        )
    };
    let consumers = |annotations: &str| {
        let facts = folder("east", &export(annotations)).facts();
        let fact = facts.into_values().next().expect("an export");
        let Fact::Export(fact) = fact else { panic!("{fact:?}") };
        assert_eq!(fact.created, 2_000);
        fact.consumers
    };
    assert_eq!(consumers(""), Consumers::Everyone);
    let listed = consumers(", annotations: {diolkos.dev/consumers: 'west, north,'}");
    let Consumers::Listed(listed) = listed else { panic!("{listed:?}") };
    let listed: Vec<_> = listed.iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["north", "west"]);
}

#[test]
fn a_headless_service_has_no_addresses_and_lists_become_objects() {
    let list = r#"{"apiVersion": "v1", "kind": "ServiceList", "items": [
        {"metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:01Z"},
         "spec": {"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80}]}},
        {"metadata": {"name": "b"},
         "spec": {"clusterIPs": ["10.0.0.1", "fd00::1"], "ports": [{"port": 80}]}}]}"#;
    let facts = folder("east", list).facts();
    let vips: Vec<_> = facts
        .values()
        .map(|fact| match fact {
            Fact::Service(fact) => (fact.key.to_string(), fact.vips.len(), fact.created),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(vips, [("default/a".into(), 0, Some(1_000)), ("default/b".into(), 2, None)]);
}

#[test]
fn a_node_says_where_it_is() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: \
        {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}}\n";
    let facts = folder("east", node).facts();
    let Some(Fact::Node(fact)) = facts.values().next() else { panic!("{facts:?}") };
    assert_eq!(fact.locality.to_string(), "r1/z1");
}
