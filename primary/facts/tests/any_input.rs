//! Whatever the bytes: no panic, and nothing lost that could be read.

use diolkos_facts::{Folder, MeshNetworks, limit, parse_mesh};
use diolkos_topology::{ClusterId, ClusterSettings, Grants, NetworkId};
use diolkos_trust::TrustDomain;
use proptest::prelude::*;

fn folder() -> Folder {
    let settings = ClusterSettings {
        cluster: ClusterId::new("east").expect("a name"),
        trust_domain: TrustDomain::new("mesh.example").expect("a trust domain"),
        network: NetworkId::unnamed(),
        addresses: Vec::new(),
        grants: Grants::everything(),
    };
    Folder::new(&settings, &MeshNetworks::default())
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop, \
    labels: {topology.istio.io/network: e}}\nspec:\n  externalIPs: [192.0.2.1]\n  ports:\n  \
    - name: http\n    port: 15443\n---\n";
const SLICE: &str = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: x\n  \
    labels: {kubernetes.io/service-name: cart}\naddressType: IPv4\nports: [{port: 80}]\n\
    endpoints:\n- addresses: [10.0.0.1]\n  targetRef: {kind: Pod, name: p}\n---\n";
const MESH: &str = "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {name: m}\nspec:\n  \
    trustDomain: t\n  clusters:\n  - name: a\n    addresses: [10.0.0.0/8]\n  meshNetworks:\n    \
    n:\n      endpoints: [{fromRegistry: a}]\n";

/// Text that is nearly right: pieces of manifests cut, repeated and mixed with YAML's own marks.
fn nearly() -> impl Strategy<Value = String> {
    let marks = prop::sample::select(vec![
        "---\n", "...\n", "{", "}", "[", "]", "&a ", "*a ", "<<: ", "? ", "| ", "!!int ", "\t",
        "\n", "- ", ": ", "'", "\"", "#", "%", "\u{feff}", "\u{0}", "\u{85}", "0x", "~", ".nan",
    ])
    .prop_map(String::from);
    let cut = (prop::sample::select(vec![SERVICE, SLICE, MESH]), any::<(u16, u16)>()).prop_map(
        |(text, (a, b))| {
            let at = |n: u16| usize::from(n) % (text.len() + 1);
            let (from, to) = (at(a).min(at(b)), at(a).max(at(b)));
            text[from..to].to_owned()
        },
    );
    let whole = prop::sample::select(vec![SERVICE, SLICE]).prop_map(String::from);
    prop::collection::vec(prop_oneof![marks, cut, whole], 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        let mut folder = folder();
        folder.set("a.yaml", Some(&text));
        folder.derive();
        let _ = parse_mesh(&text);
    }

    #[test]
    fn nearly_right_text_never_panics_and_its_lines_are_lines(text in nearly()) {
        let mut folder = folder();
        folder.set("a.yaml", Some(SERVICE));
        folder.set("a.yaml", Some(&text));
        let lines = u32::try_from(text.lines().count()).expect("few lines") + 1;
        for rejection in folder.derive().rejections {
            prop_assert!(rejection.line <= lines, "{rejection}");
            prop_assert!(!rejection.to_string().contains('\n'), "{rejection}");
        }
        let _ = parse_mesh(&text);
    }

    #[test]
    fn a_broken_neighbour_spoils_nothing(text in nearly()) {
        let mut alone = folder();
        alone.set("a.yaml", Some(SERVICE));
        let mut beside = folder();
        beside.set("a.yaml", Some(SERVICE));
        beside.set("b.yaml", Some(&format!("{SLICE}---\n{text}")));
        let beside = beside.facts();
        for (key, fact) in alone.facts() {
            prop_assert_eq!(beside.get(&key), Some(&fact));
        }
    }

    #[test]
    fn the_order_in_which_files_arrive_does_not_matter(
        texts in prop::collection::vec(nearly(), 3),
    ) {
        let names = ["a.yaml", "b.yaml", "c.yaml"];
        let mut forth = folder();
        let mut back = folder();
        for (name, text) in names.iter().zip(&texts) {
            forth.set(name, Some(text));
        }
        for (name, text) in names.iter().zip(&texts).rev() {
            back.set(name, Some(text));
        }
        prop_assert_eq!(forth.derive(), back.derive());
    }
}

fn refused(text: &str) -> String {
    let mut folder = folder();
    folder.set("a.yaml", Some(text));
    let derived = folder.derive();
    derived.rejections.iter().map(|rejection| format!("{rejection}\n")).collect()
}

#[test]
fn a12_a_huge_document_is_refused_and_its_neighbour_is_not() {
    let filled = |bytes: usize| format!("{SERVICE}# {}\na: b\n---\n{SLICE}", "x".repeat(bytes));
    assert!(refused(&filled(limit::DOCUMENT_BYTES_MAX)).contains("a.yaml:9: the document has"));
    assert!(!refused(&filled(100)).contains("the document has"));
}

#[test]
fn a12_too_many_documents_and_objects_are_refused() {
    let documents = |count: usize| "---\na\n".repeat(count);
    assert!(
        refused(&documents(limit::DOCUMENTS_PER_FILE_MAX + 1)).contains("at most 10000 are read")
    );
    assert!(!refused(&documents(limit::DOCUMENTS_PER_FILE_MAX)).contains("at most 10000 are read"));
    let list =
        |count: usize| format!("{{apiVersion: v1, kind: List, items: [{}]}}", "{},".repeat(count));
    assert!(refused(&list(limit::OBJECTS_PER_FILE_MAX + 1)).contains("more than 50000 objects"));
    assert!(!refused(&list(limit::OBJECTS_PER_FILE_MAX)).contains("more than 50000 objects"));
}

#[test]
fn a12_a_file_of_the_largest_size_is_looked_at_and_one_byte_more_is_not() {
    let comment = |bytes: usize| "#".repeat(bytes);
    assert!(refused(&comment(limit::FILE_BYTES_MAX)).contains("the file holds no objects"));
    assert!(refused(&comment(limit::FILE_BYTES_MAX + 1)).contains("bytes, at most 67108864 are"));
}

#[test]
fn a12_a_document_of_the_most_nodes_is_read_and_one_more_is_not() {
    // The document, its list and its key are nodes too.
    let nodes = |count: usize| format!("a: [{}]", "1,".repeat(count - 3));
    let too_many = "nodes";
    assert!(!refused(&nodes(limit::NODES_PER_DOCUMENT_MAX)).contains(too_many));
    let told = refused(&nodes(limit::NODES_PER_DOCUMENT_MAX + 1));
    assert!(told.contains(too_many), "{told}");
}

#[test]
fn a12_unknown_fields_are_told_up_to_their_limit() {
    let fields = |count: usize| {
        let fields: String = (0..count).map(|i| format!("f{i}: 1\n")).collect();
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: cart}}\n{fields}")
    };
    for (count, told) in [(16, 16), (17, 16)] {
        assert_eq!(refused(&fields(count)).lines().count(), told);
    }
}

#[test]
fn a12_a_slice_of_twenty_thousand_ports_is_read_and_one_more_is_not() {
    let slice = |count: usize| {
        let ports: String =
            (0..count).map(|i| format!("{{name: p{i}, port: {}}},", i + 1)).collect();
        SLICE.replace("{port: 80}", &ports).replace("targetRef", "zone: z\n  deprecatedTopology")
    };
    let too_many = "20001 ports, at most 20000";
    assert!(!refused(&slice(limit::SLICE_PORTS_MAX)).contains(too_many));
    assert!(refused(&slice(limit::SLICE_PORTS_MAX + 1)).contains(too_many));
}

#[test]
fn a12_a_slice_of_a_thousand_endpoints_is_read_and_one_more_is_not() {
    let slice = |count: usize| {
        let endpoints: String =
            (0..count).map(|i| format!("- addresses: [10.0.{}.{}]\n", i / 250, i % 250)).collect();
        SLICE.split("- addresses").next().unwrap_or_default().to_owned() + &endpoints
    };
    assert_eq!(refused(&slice(limit::SLICE_ENDPOINTS_MAX)), "");
    let told = refused(&slice(limit::SLICE_ENDPOINTS_MAX + 1));
    assert!(told.contains("1001 endpoints, a slice has at most 1000"), "{told}");
}
