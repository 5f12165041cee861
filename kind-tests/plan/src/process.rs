//! The programs of a cluster, in the order in which they can start.

use crate::address::Ranges;
use crate::model::Cluster;
use crate::places::Places;
use crate::space::API_PORT;

/// A program in a cluster's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Unique in its cluster.
    pub name: &'static str,
    pub argv: Vec<String>,
}

/// Processes that start together, and what must hold before the next ones do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub name: &'static str,
    pub start: Vec<Process>,
    pub ready: Vec<Ready>,
}

/// What is asked from this machine's own network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// The API server says it is.
    Api,
    /// 200 over plain HTTP.
    Http { url: String },
    /// The Node objects are there, and ready.
    Nodes(Vec<String>),
    /// The cluster's CA has come to every namespace, so pods can be made.
    RootCertificate,
}

/// Who is known to an API server, by a token: name and group.
pub const USERS: &[(&str, &str, &str)] = &[
    ("admin", "diolkos:admin", "system:masters"),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("proxy", "system:kube-proxy", ""),
    ("dns", "diolkos:dns", ""),
    // It makes tokens and reads secrets for every pod of every node.
    ("node", "diolkos:node", "system:masters"),
];

pub(crate) fn kubeconfig_of(places: &Places, cluster: &str, user: &str) -> String {
    format!("{}/{user}.kubeconfig", places.cluster(cluster))
}

pub(crate) fn stages(cluster: &Cluster, ranges: &Ranges, places: &Places) -> Vec<Stage> {
    let name = cluster.name.as_str();
    let outside = ranges.api.v4;
    let http =
        |port: u16, path: &str| Ready::Http { url: format!("http://{outside}:{port}{path}") };
    let nodes = cluster.nodes.iter().map(|node| node.name.to_string()).collect();
    vec![
        Stage {
            name: "API server",
            start: vec![etcd(name, places), api_server(name, ranges, places)],
            ready: vec![Ready::Api],
        },
        Stage {
            name: "controllers and nodes",
            start: vec![
                controllers(name, places),
                scheduler(name, places),
                node_program(name, places),
                dns(name, places),
            ],
            ready: vec![Ready::Nodes(nodes), Ready::RootCertificate],
        },
        // It wants its node to be there, and finds out its addresses only once.
        Stage {
            name: "proxy",
            start: vec![proxy(cluster, ranges, places)],
            ready: vec![http(10256, "/healthz"), http(8181, "/ready")],
        },
    ]
}

fn process(name: &'static str, program: String, arguments: &[String]) -> Process {
    let mut argv = vec![program];
    argv.extend_from_slice(arguments);
    Process { name, argv }
}

/// Lost when the machine stops, and so faster: this is no place to keep anything.
fn etcd(cluster: &str, places: &Places) -> Process {
    let folder = places.cluster(cluster);
    process(
        ETCD,
        places.tool("etcd"),
        &[
            format!("--name={cluster}"),
            format!("--data-dir={folder}/etcd"),
            "--unsafe-no-fsync".to_owned(),
            "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
            "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
            "--initial-advertise-peer-urls=http://127.0.0.1:2380".to_owned(),
            format!("--initial-cluster={cluster}=http://127.0.0.1:2380"),
            "--log-level=warn".to_owned(),
        ],
    )
}

pub const ETCD: &str = "etcd";
pub const API_SERVER: &str = "kube-apiserver";

fn api_server(cluster: &str, ranges: &Ranges, places: &Places) -> Process {
    let pki = format!("{}/pki", places.cluster(cluster));
    process(
        API_SERVER,
        places.tool("kube-apiserver"),
        &[
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            format!("--secure-port={API_PORT}"),
            format!("--advertise-address={}", ranges.api.v4),
            format!("--service-cluster-ip-range={}", ranges.services),
            format!("--tls-cert-file={pki}/apiserver.crt"),
            format!("--tls-private-key-file={pki}/apiserver.key"),
            format!("--client-ca-file={pki}/ca.crt"),
            format!("--token-auth-file={}/tokens.csv", places.cluster(cluster)),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            format!("--service-account-key-file={pki}/sa.pub"),
            format!("--service-account-signing-key-file={pki}/sa.key"),
            "--allow-privileged=true".to_owned(),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--profiling=false".to_owned(),
            // Nobody is sent elsewhere first when it ends.
            "--shutdown-delay-duration=0s".to_owned(),
        ],
    )
}

fn controllers(cluster: &str, places: &Places) -> Process {
    let pki = format!("{}/pki", places.cluster(cluster));
    process(
        "kube-controller-manager",
        places.tool("kube-controller-manager"),
        &[
            format!("--kubeconfig={}", kubeconfig_of(places, cluster, "controller-manager")),
            format!("--service-account-private-key-file={pki}/sa.key"),
            format!("--root-ca-file={pki}/ca.crt"),
            "--use-service-account-credentials=true".to_owned(),
            // The node program has the addresses of its pods from its own file.
            "--allocate-node-cidrs=false".to_owned(),
            "--leader-elect=false".to_owned(),
            // One that is elected ends when its API server is away, and then gives nodes time anew.
            // This one goes on, and would call all of them dead at once when the server is back.
            "--node-monitor-grace-period=1h".to_owned(),
            // Nobody asks it, and a certificate of its own takes time.
            "--secure-port=0".to_owned(),
            "--kube-api-qps=300".to_owned(),
            "--kube-api-burst=500".to_owned(),
        ],
    )
}

fn scheduler(cluster: &str, places: &Places) -> Process {
    process(
        "kube-scheduler",
        places.tool("kube-scheduler"),
        &[
            format!("--kubeconfig={}", kubeconfig_of(places, cluster, "scheduler")),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ],
    )
}

fn node_program(cluster: &str, places: &Places) -> Process {
    let config = format!("{}/node.json", places.cluster(cluster));
    let program = places.tool("diolkos-node");
    process("node", program, &["run".to_owned(), format!("--config={config}")])
}

fn dns(cluster: &str, places: &Places) -> Process {
    let config = format!("{}/Corefile", places.cluster(cluster));
    process("coredns", places.tool("coredns"), &[format!("-conf={config}")])
}

fn proxy(cluster: &Cluster, ranges: &Ranges, places: &Places) -> Process {
    let name = cluster.name.as_str();
    process(
        "kube-proxy",
        places.tool("kube-proxy"),
        &[
            format!("--kubeconfig={}", kubeconfig_of(places, name, "proxy")),
            "--proxy-mode=nftables".to_owned(),
            format!("--hostname-override={}", cluster.nodes[0].name),
            format!("--cluster-cidr={}", ranges.pods),
            "--healthz-bind-address=0.0.0.0:10256".to_owned(),
            "--metrics-bind-address=127.0.0.1:10249".to_owned(),
            // Otherwise it writes to a setting of the whole machine, may not, and ends.
            "--conntrack-max-per-core=0".to_owned(),
            "--conntrack-min=0".to_owned(),
            "--conntrack-tcp-timeout-established=0".to_owned(),
            "--conntrack-tcp-timeout-close-wait=0".to_owned(),
        ],
    )
}
