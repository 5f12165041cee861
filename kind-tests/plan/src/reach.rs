//! Who must reach whom, by which way: the rules of a mesh, applied to a topology once more and
//! without its machinery, so that a test of the machinery has something to be held to.

use std::fmt;

use serde::Serialize;

use crate::model::{Cluster, Export, Port, Sidecar, Topology, Workload};
use crate::name::Label;

/// One line of the matrix: calls from one workload in one cluster to one port of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub from: Caller,
    pub to: Callee,
    pub expect: Expect,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    pub cluster: Label,
    pub namespace: Label,
    pub workload: Label,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Callee {
    pub namespace: Label,
    pub service: Label,
    pub port: u16,
    pub protocol: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Expect {
    /// The endpoints that may answer. All of the nearest do; the others when those are gone.
    Answers(Vec<Group>),
    Never(Why),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    pub cluster: Label,
    pub pods: u32,
    pub way: Way,
    pub near: Nearness,
    pub transport: Transport,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// From pod to pod.
    Direct,
    /// Through an east-west gateway of this network.
    Gateway(Label),
}

/// As the caller's cluster sees a callee's: by any node of the one and any of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Nearness {
    Zone,
    Region,
    Elsewhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Transport {
    MutualTls,
    Plaintext,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// It is not exported, and has no pods in the caller's cluster.
    NotExported,
    /// The service is unknown in the caller's cluster, and so is its name.
    NoName,
    /// It takes mutual TLS only, and the caller has none, or that of another mesh.
    Strict,
    /// Its pods are behind a gateway, which carries mutual TLS only.
    NoSidecarBehindGateway,
    /// The caller has no sidecar, and the cluster itself knows no pods of the service.
    NoLocalPods,
    /// This version cannot carry it.
    NotYet(String),
}

/// Every workload as a caller, in every cluster it has pods in, against every port of every other.
#[must_use]
pub fn matrix(topology: &Topology) -> Vec<Row> {
    let mut rows = Vec::new();
    for caller in &topology.workloads {
        for (cluster, _) in &caller.replicas {
            let Some(cluster) = topology.cluster(cluster.as_str()) else { continue };
            let callees = topology.workloads.iter().filter(|callee| *callee != caller);
            for callee in callees {
                let expect = expect(topology, cluster, caller, callee);
                rows.extend(
                    callee.ports.iter().map(|port| row(cluster, caller, callee, port, &expect)),
                );
            }
        }
    }
    rows
}

fn row(
    cluster: &Cluster,
    caller: &Workload,
    callee: &Workload,
    port: &Port,
    expect: &Expect,
) -> Row {
    Row {
        from: Caller {
            cluster: cluster.name.clone(),
            namespace: caller.namespace.clone(),
            workload: caller.name.clone(),
        },
        to: Callee {
            namespace: callee.namespace.clone(),
            service: callee.name.clone(),
            port: port.number,
            protocol: port.protocol.to_string(),
        },
        expect: expect.clone(),
    }
}

fn expect(topology: &Topology, here: &Cluster, caller: &Workload, callee: &Workload) -> Expect {
    if caller.mesh == callee.mesh && caller.sidecar != Sidecar::None {
        return through_the_mesh(topology, here, callee);
    }
    // Without the mesh a call goes where the cluster's own services lead, in plaintext.
    let pods = callee.replicas_in(here.name.as_str());
    let not_yet = topology
        .not_yet
        .iter()
        .find(|pair| pair.from == caller.mesh && pair.to == callee.mesh)
        .map(|pair| Expect::Never(Why::NotYet(pair.because.clone())));
    if pods > 0 && callee.sidecar != Sidecar::Strict {
        let way = Way::Direct;
        let near = nearness(here, here);
        let cluster = here.name.clone();
        let transport = Transport::Plaintext;
        return Expect::Answers(vec![Group { cluster, pods, way, near, transport }]);
    }
    let plain = if pods > 0 {
        Why::Strict
    } else if here.meshes.contains(&callee.mesh) {
        Why::NoLocalPods
    } else {
        Why::NoName
    };
    not_yet.unwrap_or(Expect::Never(plain))
}

fn through_the_mesh(topology: &Topology, here: &Cluster, callee: &Workload) -> Expect {
    let export = topology.mesh(callee.mesh.as_str()).map(|mesh| mesh.export);
    let is_known = export == Some(Export::All) || callee.exported;
    let transport = match callee.sidecar {
        Sidecar::None => Transport::Plaintext,
        Sidecar::Permissive | Sidecar::Strict => Transport::MutualTls,
    };
    let mut groups = Vec::new();
    let mut why = Why::NotExported;
    for (cluster, pods) in &callee.replicas {
        let Some(there) = topology.cluster(cluster.as_str()) else { continue };
        if there.name != here.name && !is_known {
            continue;
        }
        let way = if there.network == here.network {
            Way::Direct
        } else {
            Way::Gateway(there.network.clone())
        };
        if way != Way::Direct && transport == Transport::Plaintext {
            why = Why::NoSidecarBehindGateway;
            continue;
        }
        let near = nearness(here, there);
        groups.push(Group { cluster: cluster.clone(), pods: *pods, way, near, transport });
    }
    groups.sort_by_key(|group| group.near);
    if groups.is_empty() { Expect::Never(why) } else { Expect::Answers(groups) }
}

fn nearness(here: &Cluster, there: &Cluster) -> Nearness {
    let any = |same: fn(&crate::Node, &crate::Node) -> bool| {
        here.nodes.iter().any(|node| there.nodes.iter().any(|other| same(node, other)))
    };
    if any(|node, other| node.region == other.region && node.zone == other.zone) {
        Nearness::Zone
    } else if any(|node, other| node.region == other.region) {
        Nearness::Region
    } else {
        Nearness::Elsewhere
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, expect } = self;
        write!(f, "{}/{}/{} -> ", from.cluster, from.namespace, from.workload)?;
        write!(f, "{}/{}:{} {}: ", to.namespace, to.service, to.port, to.protocol)?;
        match expect {
            Expect::Answers(groups) => {
                for (index, group) in groups.iter().enumerate() {
                    write!(f, "{}{group}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Expect::Never(why) => write!(f, "never, {why}"),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.pods, self.cluster)?;
        match &self.way {
            Way::Direct => f.write_str(" directly")?,
            Way::Gateway(network) => write!(f, " by the gateway of {network}")?,
        }
        f.write_str(match self.near {
            Nearness::Zone => ", same zone",
            Nearness::Region => ", same region",
            Nearness::Elsewhere => ", elsewhere",
        })?;
        f.write_str(match self.transport {
            Transport::MutualTls => "",
            Transport::Plaintext => ", plaintext",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotExported => "it is not exported",
            Self::NoName => "its name is not known there",
            Self::Strict => "it takes the mutual TLS of its mesh only",
            Self::NoSidecarBehindGateway => "no gateway carries plaintext",
            Self::NoLocalPods => "the caller's cluster has no pods of it",
            Self::NotYet(because) => return write!(f, "not yet: {because}"),
        })
    }
}
