//! What a topology file may not say, and how it is told.

use diolkos_kind_plan::{limit, parse};

const FILE: &str = "\
apiVersion: diolkos.dev/v1alpha1
kind: Topology
metadata:
  name: t
spec:
  summary: A test
  meshes:
  - {id: m, trustDomain: cluster.local, root: common, export: all}
  networks: [north, south]
  clusters:
  - {name: east, network: north}
  - {name: west, network: south}
  workloads:
  - {name: cart, namespace: shop, replicas: {east: 1}, ports: {http: 8080}}
";

fn refusal(from: &str, to: &str) -> String {
    let text = FILE.replacen(from, to, 1);
    assert_ne!(text, FILE, "{from:?} is not in the file");
    match parse(&text) {
        Ok(_) => panic!("{from:?} -> {to:?} was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_file_itself_is_right_and_what_it_leaves_out_is_filled_in() {
    let topology = parse(FILE).unwrap();
    let east = topology.cluster("east").unwrap();
    assert_eq!((east.gateways, east.nodes.len(), east.role.to_string()), (1, 1, "primary".into()));
    assert_eq!(east.nodes[0].name.as_str(), "east-1");
    assert_eq!(topology.workloads[0].service_account.as_str(), "cart");
    assert_eq!(topology.meshes[0].system_namespace.as_str(), "diolkos-system");
}

#[test]
fn unknown_and_misspelt_is_refused_with_its_line() {
    for (from, to, says) in [
        ("network: north", "netwrok: north", "line 11: unknown field `netwrok`"),
        ("kind: Topology", "kind: Mesh", "line 2: kind is \"Mesh\"; this version reads Topology"),
        ("/v1alpha1", "/v2", "line 1: apiVersion is \"diolkos.dev/v2\""),
        ("export: all", "export: some", "line 8: unknown variant `some`"),
        ("{east: 1}", "{east: one}", "line 14: "),
        ("name: east", "name: East", "line 11: \"East\" is no name"),
        ("  name: t\n", "  name: t\n  name: u\n", "line 5: "),
        ("summary: A test", "summary: \"\"", "line 4: a sentence has 0 bytes"),
        ("[north, south]", "*north", "line 9: "),
        ("http: 8080", "web: 8080", "line 14: workload cart: port \"web\": names begin with http"),
        ("http: 8080", "http: 0", "line 14: workload cart: port \"http\": 0 is no port"),
        ("http: 8080", "http: 65536", "line 14: "),
        ("network: south}", "network: south, role: boss}", "line 12: \"boss\" is no role"),
        ("network: south}", "network: south, zones: [a]}", "line 12: cluster west: zone \"a\" has"),
        ("{east: 1}", "{north: 1}", "line 14: workload cart: replicas in north, which is no clus"),
    ] {
        let told = refusal(from, to);
        assert!(told.starts_with(says), "{from:?} -> {to:?}: {told}");
    }
}

#[test]
fn what_refers_to_nothing_or_makes_no_sense_is_refused() {
    let role = |role: &str| format!("network: south, role: {role}}}");
    for (from, to, says) in [
        ("network: south", "network: soth", "cluster west: network soth is not listed"),
        ("network: south", "network: north", "network south has no cluster"),
        ("name: west", "name: east", "cluster east is there twice"),
        ("name: west", "name: config", "cluster config: in remote secrets this name is"),
        ("network: south}", &role("remote of west"), "but west is remote of west, not a primary"),
        ("network: south}", &role("remote of oslo"), "remote of oslo, which is not listed"),
        (
            "network: south}",
            &role("external control plane of east"),
            "cluster west is external control plane of east, but east is primary, not a remote",
        ),
        (
            "network: south}",
            "network: south, gateways: 0}",
            "network south has no gateway of mesh m",
        ),
        (
            "network: south}",
            "network: south, egress: true, gateways: 0}",
            "cluster west: egress, but no gateway to be the way out",
        ),
        ("network: south}", "network: south, meshes: [x]}", "cluster west: mesh x is not listed"),
        ("{http: 8080}", "{http: 80, http-b: 80}", "workload shop/cart: port 80 is there twice"),
        ("namespace: shop", "namespace: diolkos-system", "cart is in a system namespace"),
        ("{east: 1}", "{}", "workload shop/cart has no replicas"),
        (
            "  networks:",
            "  - {id: n, trustDomain: n.example, root: n, export: all}\n  networks:",
            "cluster east: no mesh; there is more than one",
        ),
    ] {
        let told = refusal(from, to);
        assert!(told.contains(says), "{from:?} -> {to:?}: {told}");
    }
}

#[test]
fn meshes_with_roots_of_their_own_have_trust_domains_of_their_own() {
    let two = |second: &str| {
        let text = FILE.replace("network: north}", "network: north, meshes: [m]}");
        let text = text.replace("network: south}", "network: south, meshes: [n]}");
        let text = text.replace("namespace: shop", "mesh: m, namespace: shop");
        let text = text.replacen("  networks:", &format!("  - {second}\n  networks:"), 1);
        parse(&text).map_err(|error| error.to_string())
    };
    let second = "{id: n, trustDomain: n.example, root: n, export: all}";
    assert_eq!(two(second).map(|topology| topology.meshes.len()), Ok(2));
    let told = two(&second.replace("n.example", "cluster.local")).unwrap_err();
    assert!(told.contains("meshes m and n have different roots and one trust domain"), "{told}");
}

#[test]
fn every_size_has_its_limit() {
    let at = FILE.replace("{east: 1}", &format!("{{east: {}}}", limit::REPLICAS_MAX));
    assert!(parse(&at).is_ok());
    let over = format!("{{east: {}}}", limit::REPLICAS_MAX + 1);
    assert!(refusal("{east: 1}", &over).contains("21 replicas in east; use 1 to 20"));
    let gateways = |count: u32| format!("network: south, gateways: {count}}}");
    let at = FILE.replace("network: south}", &gateways(limit::GATEWAYS_PER_CLUSTER_MAX));
    assert!(parse(&at).is_ok());
    let over = gateways(limit::GATEWAYS_PER_CLUSTER_MAX + 1);
    assert!(refusal("network: south}", &over).contains("17 gateways, at most 16"));
    let ports = |count: usize| {
        let ports: Vec<String> = (1..=count).map(|n| format!("http-{n}: {n}")).collect();
        format!("ports: {{{}}}", ports.join(", "))
    };
    let at = FILE.replace("ports: {http: 8080}", &ports(limit::PORTS_PER_WORKLOAD_MAX));
    assert!(parse(&at).is_ok());
    let over = ports(limit::PORTS_PER_WORKLOAD_MAX + 1);
    assert!(refusal("ports: {http: 8080}", &over).contains("9 ports; use 1 to 8"));
    let clusters = |count: usize| {
        let more = (2..count).map(|n| format!("  - {{name: c{n}, network: north}}\n"));
        more.collect::<String>() + "  workloads:"
    };
    assert!(parse(&FILE.replace("  workloads:", &clusters(limit::CLUSTERS_MAX))).is_ok());
    let over = clusters(limit::CLUSTERS_MAX + 1);
    assert!(refusal("  workloads:", &over).contains("9 clusters, a topology has at most 8"));
    let zones =
        |count: usize| format!("network: south, zones: [{}]}}", vec!["r/z"; count].join(", "));
    let at = FILE.replace("network: south}", &zones(limit::NODES_PER_CLUSTER_MAX));
    assert!(parse(&at).is_ok());
    let over = zones(limit::NODES_PER_CLUSTER_MAX + 1);
    assert!(refusal("network: south}", &over).contains("9 zones, at most 8"));
    let padded = format!("{FILE}{}", "#\n".repeat(limit::FILE_BYTES_MAX / 2));
    assert!(parse(&padded).unwrap_err().to_string().contains("at most 65536 are read"));
}
