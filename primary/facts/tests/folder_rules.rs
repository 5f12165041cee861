//! What a new text of a file does to what the folder said before.

use diolkos_facts::{Change, Folder, MeshNetworks, Severity, diff};
use diolkos_topology::{ClusterId, ClusterSettings, Fact, FactKey, Grants, NetworkId};
use diolkos_trust::TrustDomain;

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

fn service(name: &str, port: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{ports: [{{name: http, port: {port}}}]}}\n---\n"
    )
}

/// `cart:80 till:81`
fn services(folder: &Folder) -> String {
    let facts = folder.facts();
    let services = facts.values().filter_map(|fact| match fact {
        Fact::Service(service) => {
            let ports: Vec<_> = service.ports.iter().map(|port| port.port.to_string()).collect();
            Some(format!("{}:{}", service.key.name, ports.join(",")))
        }
        _ => None,
    });
    services.collect::<Vec<_>>().join(" ")
}

#[test]
fn each_edit_leaves_what_the_rule_says() {
    let good = service("cart", "80") + &service("till", "81");
    let cases: &[(&str, String, &str)] = &[
        (
            "an object that can be read takes effect",
            service("cart", "90") + &service("till", "81"),
            "cart:90 till:81",
        ),
        ("an object that is not there is gone", service("cart", "80"), "cart:80"),
        (
            "a refused object stays as it was, its neighbours change",
            service("cart", "0") + &service("till", "91"),
            "cart:80 till:91",
        ),
        (
            "a wrong type is a refusal",
            service("cart", "x") + &service("lamp", "82"),
            "cart:80 lamp:82",
        ),
        (
            "what cannot be read may be any object",
            service("cart", "90") + "kind: [\n---\n",
            "cart:90 till:81",
        ),
        (
            "an object without a name may be any object",
            service("cart", "90") + "apiVersion: v1\nkind: Service\n",
            "cart:90 till:81",
        ),
        ("a file that is not YAML changes nothing", "{".into(), "cart:80 till:81"),
        ("an empty file changes nothing", String::new(), "cart:80 till:81"),
        ("a file of comments changes nothing", "# soon\n---\n".into(), "cart:80 till:81"),
        (
            "an object that became another kind is gone",
            service("cart", "80") + &service("till", "81").replace("kind: Service", "kind: Other"),
            "cart:80",
        ),
        (
            "an ExternalName has no endpoints any more",
            service("cart", "80")
                + &service("till", "81").replace("spec: {", "spec: {type: ExternalName, "),
            "cart:80",
        ),
        (
            "a list without items says that there is nothing",
            "apiVersion: v1\nkind: List\nitems: []\n".into(),
            "",
        ),
    ];
    for (name, text, expected) in cases {
        let mut folder = folder();
        folder.set("a.yaml", Some(&good));
        folder.set("a.yaml", Some(text));
        assert_eq!(services(&folder), *expected, "{name}");
        // The same text once more changes nothing.
        folder.set("a.yaml", Some(text));
        assert_eq!(services(&folder), *expected, "{name}, again");
        folder.set("a.yaml", Some(&good));
        assert_eq!(services(&folder), "cart:80 till:81", "{name}, repaired");
        assert!(folder.rejections().is_empty(), "{name}: {:?}", folder.rejections());
        folder.set("a.yaml", None);
        assert_eq!(services(&folder), "", "{name}, file removed");
    }
}

#[test]
fn a_refusal_says_that_the_last_good_version_counts_only_where_there_is_one() {
    let mut folder = folder();
    let says = |folder: &mut Folder| {
        let rejections = folder.set("a.yaml", Some(&service("cart", "0")));
        assert_eq!(rejections.len(), 1);
        assert_eq!(rejections[0].severity, Severity::Refused);
        rejections[0].to_string()
    };
    assert!(says(&mut folder).ends_with("use 1 to 65535"));
    folder.set("a.yaml", Some(&service("cart", "80")));
    assert!(says(&mut folder).ends_with("(until then the last good version counts)"));
}

#[test]
fn a_refused_endpoint_inside_a_slice_that_was_taken_keeps_nothing_back() {
    let slice = |address: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: x, labels: {{kubernetes.io/service-name: cart}}}}\n\
             addressType: IPv4\nendpoints: [{{addresses: [{address}]}}]\n---\n"
        )
    };
    let mut folder = folder();
    folder.set("a.yaml", Some(&(slice("10.0.0.1") + &service("cart", "80"))));
    let told = folder.set("a.yaml", Some(&(slice("10.0.0.256") + &service("cart", "0"))));
    let kept: Vec<_> = told.iter().map(|told| told.to_string().contains("last good")).collect();
    assert_eq!(kept, [false, true], "{told:?}");
}

#[test]
fn of_two_objects_of_one_name_the_first_by_file_and_line_counts() {
    let mut folder = folder();
    folder.set("b.yaml", Some(&service("cart", "82")));
    folder
        .set("a.yaml", Some(&("\n".to_owned() + &service("cart", "80") + &service("cart", "81"))));
    assert_eq!(services(&folder), "cart:80");
    let told: Vec<_> = folder.rejections().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "a.yaml:7: Service shop/cart: also in a.yaml:2; keep one of them; the first counts",
            "b.yaml:1: Service shop/cart: also in a.yaml:2; keep one of them; the first counts",
        ]
    );
    folder.set("a.yaml", None);
    assert_eq!(services(&folder), "cart:82");
    assert!(folder.rejections().is_empty());
}

#[test]
fn an_unreadable_file_keeps_what_it_said() {
    let mut folder = folder();
    folder.set("a.yaml", Some(&service("cart", "80")));
    let told = folder.set_unreadable("a.yaml", "permission denied");
    assert_eq!(told[0].to_string().split(';').next(), Some("a.yaml: permission denied"));
    assert_eq!(services(&folder), "cart:80");
}

#[test]
fn a_difference_is_removals_and_then_upserts() {
    let mut folder = folder();
    folder.set("a.yaml", Some(&(service("cart", "80") + &service("till", "81"))));
    let old = folder.facts();
    folder.set("a.yaml", Some(&(service("cart", "80") + &service("lamp", "82"))));
    let new = folder.facts();
    let changes = diff(&old, &new);
    let names: Vec<_> = changes
        .iter()
        .map(|change| match change {
            Change::Remove(FactKey::Service(key)) => format!("-{}", key.name),
            Change::Upsert(Fact::Service(fact)) => format!("+{}", fact.key.name),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["-till", "+lamp"]);
    assert!(diff(&new, &new).is_empty());
}
