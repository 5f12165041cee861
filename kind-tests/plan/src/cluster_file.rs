//! Files that the programs of a cluster read. Secrets are places in them: `${CLUSTER/token:USER}` and
//! `${CLUSTER/base64:PATH}`, a path below the cluster's folder.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::address::Ranges;
use crate::model::{Cluster, Topology};
use crate::places::Places;
use crate::process::{USERS, kubeconfig_of};
use crate::space::API_PORT;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub text: String,
}

/// The name under which workloads and `diolkos manifest` ask for this project's binary.
pub const IMAGE: &str = "diolkos";

pub(crate) fn files(cluster: &Cluster, ranges: &Ranges, places: &Places) -> Vec<File> {
    let name = cluster.name.as_str();
    let folder = places.cluster(name);
    let server = server(ranges);
    let mut files = vec![File { path: format!("{folder}/tokens.csv"), text: tokens(name) }];
    for (user, ..) in USERS {
        let text = kubeconfig(&[Access { cluster: name, server: &server, user }]);
        files.push(File { path: kubeconfig_of(places, name, user), text });
    }
    let corefile = corefile(&kubeconfig_of(places, name, "dns"));
    files.push(File { path: format!("{folder}/Corefile"), text: corefile });
    let node = pretty(&node_config(cluster, ranges, places));
    files.push(File { path: format!("{folder}/node.json"), text: node });
    files.push(File { path: format!("{folder}/images.json"), text: pretty(&images(places)) });
    files
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn tokens(cluster: &str) -> String {
    let line = |(user, name, group): &(&str, &str, &str)| {
        format!("${{{cluster}/token:{user}}},{name},{user},\"{group}\"\n")
    };
    USERS.iter().map(line).collect()
}

struct Access<'a> {
    cluster: &'a str,
    server: &'a str,
    user: &'a str,
}

/// A context per cluster, the first one current.
fn kubeconfig(accesses: &[Access<'_>]) -> String {
    let (mut clusters, mut contexts, mut users) = (String::new(), String::new(), String::new());
    for Access { cluster, server, user } in accesses {
        let ca = format!("${{{cluster}/base64:pki/ca.crt}}");
        let _ = write!(
            clusters,
            "- name: {cluster}\n  cluster:\n    server: {server}\n    \
             certificate-authority-data: {ca}\n"
        );
        let _ = write!(
            contexts,
            "- name: {cluster}\n  context: {{cluster: {cluster}, user: {cluster}}}\n"
        );
        let token = format!("${{{cluster}/token:{user}}}");
        let _ = write!(users, "- name: {cluster}\n  user: {{token: {token}}}\n");
    }
    let current = accesses.first().map_or("", |access| access.cluster);
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: {current}\nclusters:\n{clusters}\
         contexts:\n{contexts}users:\n{users}"
    )
}

/// For whoever works with the topology.
pub(crate) fn kubeconfig_of_all(topology: &Topology, ranges: &[Ranges]) -> String {
    let servers: Vec<String> = ranges.iter().map(server).collect();
    let clusters = topology.clusters.iter().zip(&servers);
    let accesses: Vec<Access<'_>> = clusters
        .map(|(cluster, server)| Access { cluster: cluster.name.as_str(), server, user: "admin" })
        .collect();
    kubeconfig(&accesses)
}

fn server(ranges: &Ranges) -> String {
    format!("https://{}:{API_PORT}", ranges.api.v4)
}

/// What is not of the cluster does not exist: a name that was misspelt is told at once.
fn corefile(kubeconfig: &str) -> String {
    format!(
        "cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {{\n    errors\n    ready 0.0.0.0:8181\n    \
         kubernetes cluster.local in-addr.arpa ip6.arpa {{\n        kubeconfig {kubeconfig}\n        \
         ttl 1\n    }}\n    loadbalance\n}}\n.:53 {{\n    errors\n    template ANY ANY {{\n        \
         rcode NXDOMAIN\n    }}\n}}\n"
    )
}

fn node_config(cluster: &Cluster, ranges: &Ranges, places: &Places) -> Value {
    let folder = places.cluster(cluster.name.as_str());
    let nodes: Value = cluster
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            json!({
                "name": node.name.as_str(),
                "region": node.region.as_str(),
                "zone": node.zone.as_str(),
                "addresses": ranges.node(index).both(),
            })
        })
        .collect();
    json!({
        "cluster": cluster.name.as_str(),
        "kubeconfig": kubeconfig_of(places, cluster.name.as_str(), "node"),
        "state": format!("{folder}/node"),
        "images": format!("{folder}/images.json"),
        "podCIDRs": ranges.pods.both().map(|range| range.to_string()),
        "clusterDNS": ranges.dns.both(),
        "clusterDomain": "cluster.local",
        "nft": places.nft,
        "nodes": nodes,
    })
}

const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One binary, whatever it is called: see docs/adr/0004-in-a-cluster.md.
fn images(places: &Places) -> Value {
    let mut mounts = json!({});
    if let Some(envoy) = &places.envoy {
        mounts["/usr/local/bin/envoy"] = json!(envoy);
    }
    // One that was unpacked looks for its libraries beside itself: it comes as a folder.
    let mut env = json!({});
    let unpacked = places.nft.strip_suffix("/bin/nft").filter(|home| !home.starts_with("/usr"));
    if let Some(home) = unpacked {
        mounts["/usr/local/nft"] = json!(home);
        env["PATH"] = json!(format!("{USUAL_PATH}:/usr/local/nft/bin"));
    }
    let image = |name: &str| {
        json!({
            "name": name,
            "binary": places.diolkos,
            "at": format!("/usr/local/bin/{IMAGE}"),
            "mounts": mounts,
            "env": env,
        })
    };
    json!([image(&format!("{IMAGE}*")), image("diolkos.dev/*")])
}

/// `text` with every `${name}` replaced by what `of` gives for it.
///
/// # Errors
/// The first name that `of` does not know.
pub fn fill(text: &str, of: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or_else(|| after.to_owned())?;
        filled.push_str(before);
        filled.push_str(&of(name).ok_or_else(|| name.to_owned())?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_an_unknown_one_is_named() {
        let of = |name: &str| (name == "token:a").then(|| "s3cret".to_owned());
        assert_eq!(fill("x ${token:a} y ${token:a}", of).unwrap(), "x s3cret y s3cret");
        assert_eq!(fill("no place { } $ here", of).unwrap(), "no place { } $ here");
        assert_eq!(fill("${token:b}", of).unwrap_err(), "token:b");
        assert_eq!(fill("${open", of).unwrap_err(), "open");
    }
}
