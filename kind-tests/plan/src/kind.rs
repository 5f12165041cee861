//! The same topology for kind: files, and scripts that use them where a Docker engine is.
//!
//! All clusters are on one Docker network, so that their load balancers reach each other. Pods reach
//! pods of another cluster only where the topology has both on one network: then, and only then,
//! their nodes get routes to each other's pods.

use std::fmt::Write as _;

use ipnet::{IpNet, Ipv6Net};
use serde_json::Value;

use crate::address::{Ranges, Slot};
use crate::cluster_file::{File, IMAGE};
use crate::document;
use crate::install::Step;
use crate::model::{Cluster, Topology};
use crate::places::Places;
use crate::plan::Plan;

/// What the scripts were written for.
const METALLB: &str = "https://raw.githubusercontent.com/metallb/metallb/v0.15.2/config/manifests/metallb-native.yaml";

/// Files below one folder, by their names in it. `places.state` is that folder.
#[must_use]
pub fn kind_files(topology: &Topology, slot: Slot, places: &Places) -> Vec<File> {
    let plan = Plan::new(topology.clone(), slot, places.clone());
    let mut files = Vec::new();
    let mut add = |path: String, text: String| files.push(File { path, text });
    for (index, cluster) in topology.clusters.iter().enumerate() {
        let name = &cluster.name;
        let ranges = Ranges::of(slot, index);
        add(format!("kind-{name}.yaml"), kind_config(topology, cluster, &ranges));
        add(format!("metallb-{name}.yaml"), metallb(&ranges));
        let namespaces = document::namespaces(topology, cluster);
        add(format!("namespaces-{name}.yaml"), yaml(&namespaces));
        let workloads = document::workloads(topology, cluster);
        if !workloads.is_empty() {
            add(format!("workloads-{name}.yaml"), yaml(&workloads));
        }
        let policies = document::policies(topology, cluster);
        if !policies.is_empty() {
            add(format!("policies-{name}.yaml"), yaml(&policies));
        }
    }
    add("Dockerfile".to_owned(), dockerfile(places));
    add("up.sh".to_owned(), up(&plan));
    add("routes.sh".to_owned(), routes(topology));
    add("down.sh".to_owned(), down(topology));
    files
}

/// JSON is YAML, a document on a line of its own.
fn yaml(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("---\n{document}\n")).collect()
}

/// kind's name for a cluster, of all that may be on the machine.
fn kind_name(topology: &Topology, cluster: &Cluster) -> String {
    format!("{}-{}", topology.name, cluster.name)
}

fn network(topology: &Topology) -> String {
    format!("diolkos-{}", topology.name)
}

fn kind_config(topology: &Topology, cluster: &Cluster, ranges: &Ranges) -> String {
    // kind gives each node a /64 of the pods' range.
    let pods6 = match ranges.pods.v6 {
        IpNet::V6(range) => Ipv6Net::new(range.network(), 60).map_or(ranges.pods.v6, IpNet::V6),
        range @ IpNet::V4(_) => range,
    };
    let mut text = format!(
        "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nname: {}\nnetworking:\n  \
         ipFamily: dual\n  podSubnet: \"{},{pods6}\"\n  serviceSubnet: \"{}\"\n  \
         kubeProxyMode: nftables\n",
        kind_name(topology, cluster),
        ranges.pods.v4,
        ranges.services,
    );
    // Its first node is one of the topology's, so it takes pods.
    text.push_str(
        "kubeadmConfigPatches:\n- |\n  kind: InitConfiguration\n  nodeRegistration:\n    \
         taints: []\nnodes:\n",
    );
    for (index, node) in cluster.nodes.iter().enumerate() {
        let role = if index == 0 { "control-plane" } else { "worker" };
        let _ = write!(
            text,
            "- role: {role}\n  labels:\n    topology.kubernetes.io/region: {}\n    \
             topology.kubernetes.io/zone: {}\n",
            node.region, node.zone
        );
    }
    text
}

fn metallb(ranges: &Ranges) -> String {
    let balancers = &ranges.load_balancers;
    format!(
        "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata:\n  name: diolkos\n  \
         namespace: metallb-system\nspec:\n  addresses:\n  - {}\n  - {}\n---\n\
         apiVersion: metallb.io/v1beta1\nkind: L2Advertisement\nmetadata:\n  name: diolkos\n  \
         namespace: metallb-system\nspec:\n  ipAddressPools: [diolkos]\n",
        balancers.v4, balancers.v6
    )
}

/// One image for every role: see docs/adr/0004-in-a-cluster.md.
fn dockerfile(places: &Places) -> String {
    let envoy = if places.envoy.is_some() { "COPY envoy /usr/local/bin/envoy\n" } else { "" };
    format!(
        "FROM debian:bookworm-slim\nRUN apt-get update && apt-get install -y --no-install-recommends \
         nftables && rm -rf /var/lib/apt/lists/*\nCOPY diolkos /usr/local/bin/diolkos\n{envoy}\
         ENTRYPOINT [\"/usr/local/bin/diolkos\"]\n"
    )
}

const HEAD: &str = "#!/bin/sh\nset -eu\ncd \"$(dirname \"$0\")\"\n";

fn up(plan: &Plan) -> String {
    let topology = &plan.topology;
    let network = network(topology);
    let six = Ranges::of(plan.slot, 0).private.v6;
    // All clusters of the slot, IPv6 too.
    let six = match six {
        IpNet::V6(range) => Ipv6Net::new(range.network(), 52).map_or(six, IpNet::V6).trunc(),
        range @ IpNet::V4(_) => range,
    };
    let outside = plan.slot.outside();
    let nodes = plan.slot.kind_nodes();
    let mut text = format!(
        "{HEAD}docker network inspect {network} >/dev/null 2>&1 || docker network create \
         --driver bridge \\\n  --subnet {outside} --ip-range {nodes} --ipv6 --subnet {six} \
         {network}\nexport KIND_EXPERIMENTAL_DOCKER_NETWORK={network}\n\
         cp \"{}\" diolkos\n",
        plan.places.diolkos
    );
    if let Some(envoy) = &plan.places.envoy {
        let _ = writeln!(text, "cp \"{envoy}\" envoy");
    }
    let _ = writeln!(text, "docker build --tag {IMAGE}:latest .");
    for cluster in &topology.clusters {
        let name = kind_name(topology, cluster);
        let _ = write!(
            text,
            "\nkind create cluster --config kind-{}.yaml --kubeconfig kubeconfig --wait 2m\n\
             kind load docker-image {IMAGE}:latest --name {name}\n",
            cluster.name
        );
    }
    text.push_str("\n./routes.sh\n");
    for cluster in &topology.clusters {
        let context = format!("kubectl --kubeconfig kubeconfig --context kind-{}", {
            kind_name(topology, cluster)
        });
        let name = &cluster.name;
        let _ = write!(
            text,
            "\n{context} apply -f {METALLB}\n{context} -n metallb-system wait --timeout 2m \\\n  \
             --for condition=Available deployment/controller\n\
             {context} apply -f metallb-{name}.yaml\n{context} apply -f namespaces-{name}.yaml\n"
        );
    }
    for phase in &plan.install {
        for (cluster, steps) in &phase.steps {
            let Some(cluster) = topology.cluster(cluster.as_str()) else { continue };
            for step in steps {
                text.push_str(&install(topology, cluster, step));
            }
        }
    }
    text.push_str("\necho \"kubeconfig: $PWD/kubeconfig\" >&2\n");
    text
}

/// What `up` does with one step; parts of other projects' making are applied afterwards.
fn install(topology: &Topology, cluster: &Cluster, step: &Step) -> String {
    let name = &cluster.name;
    let context =
        format!("kubectl --kubeconfig kubeconfig --context kind-{}", kind_name(topology, cluster));
    match step {
        Step::ApplyFolder(folder) => {
            format!("{context} apply --server-side -f \"{folder}\"\n")
        }
        Step::Secret { namespace, name, folder } => format!(
            "{context} -n {namespace} create secret generic {name} --from-file \"{folder}\" \\\n  \
             --dry-run=client -o yaml | {context} apply -f -\n"
        ),
        Step::Apply(documents) => {
            let kind = |document: &Value| document["kind"].as_str().unwrap_or_default().to_owned();
            match documents.first().map(kind).as_deref() {
                Some("Namespace") | None => String::new(),
                Some(_) => format!("{context} apply -f workloads-{name}.yaml\n"),
            }
        }
        Step::ApplyIfServed(_) => format!("{context} apply -f policies-{name}.yaml || true\n"),
        Step::Part(_) | Step::Wait(_) => String::new(),
    }
}

/// Both ways between all nodes of each two clusters of one network.
fn routes(topology: &Topology) -> String {
    let mut text = format!(
        "{HEAD}# join FROM TO: the nodes of FROM learn where the pods of TO are.\njoin() {{\n  \
         kubectl --kubeconfig kubeconfig --context \"kind-$2\" get nodes -o jsonpath='{{range \
         .items[*]}}{{.status.addresses[?(@.type==\"InternalIP\")].address}} \
         {{.spec.podCIDRs[*]}}{{\"\\n\"}}{{end}}' |\n  while read -r line; do\n    \
         four=; six=\n    for word in $line; do\n      case \"$word\" in\n        */*) for node in \
         $(kind get nodes --name \"$1\"); do\n          case \"$word\" in\n            *:*) docker exec \
         \"$node\" ip -6 route replace \"$word\" via \"$six\" ;;\n            *) docker exec \"$node\" ip \
         route replace \"$word\" via \"$four\" ;;\n          esac\n        done ;;\n        *:*) \
         six=$word ;;\n        *) four=$word ;;\n      esac\n    done\n  done\n}}\n"
    );
    for cluster in &topology.clusters {
        let near = topology
            .clusters
            .iter()
            .filter(|other| other.name != cluster.name && other.network == cluster.network);
        for other in near {
            let (from, to) = (kind_name(topology, cluster), kind_name(topology, other));
            let _ = writeln!(text, "join {from} {to}");
        }
    }
    text
}

fn down(topology: &Topology) -> String {
    let mut text = HEAD.to_owned();
    for cluster in &topology.clusters {
        let _ = writeln!(text, "kind delete cluster --name {}", kind_name(topology, cluster));
    }
    let _ = writeln!(text, "docker network rm {}", network(topology));
    text
}
