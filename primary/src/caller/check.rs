//! Claims against certificate and facts, one by one.

use diolkos_facts::PodEntry;
use diolkos_tls::Peer;
use diolkos_topology::{ClusterId, Namespace, NetworkId};

use super::node::{Denied, Node};
use crate::authority::{Authorities, Stranger};

/// A client whose certificate and claims agree.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) peer: Peer,
    pub(crate) cluster: ClusterId,
    pub(crate) namespace: Namespace,
    pub(crate) service_account: String,
    pub(crate) node: Node,
}

const BY_CERTIFICATE: &str = "the certificate says";
const BY_ISSUER: &str = "the certificate was issued for cluster";
const BY_POD: &str = "the facts know this pod with";
const BY_FACTS: &str = "the facts of its cluster say";

/// Everything but the network, which the facts know.
pub(crate) fn check(peer: Peer, node: Node, authorities: &Authorities) -> Result<Caller, Denied> {
    let id = peer.id.to_string();
    let no_workload = || Denied::NoWorkload { id: id.clone() };
    let workload = peer.id.workload_name().ok_or_else(no_workload)?;
    let namespace = Namespace::new(workload.namespace).map_err(|_| no_workload())?;
    let service_account = workload.service_account.to_owned();
    let cluster = authorities
        .cluster_of(&peer)
        .map_err(|stranger| match stranger {
            Stranger::Issuer => Denied::UnknownIssuer { id: id.clone() },
            Stranger::Cluster(cluster) => Denied::UnknownCluster { id: id.clone(), cluster },
        })?
        .clone();
    agree("CLUSTER_ID", node.cluster.as_deref(), cluster.as_str(), BY_ISSUER)?;
    for (claim, said) in &node.namespaces {
        agree(claim, Some(said), namespace.as_str(), BY_CERTIFICATE)?;
    }
    agree("SERVICE_ACCOUNT", node.service_account.as_deref(), &service_account, BY_CERTIFICATE)?;
    Ok(Caller { peer, cluster, namespace, service_account, node })
}

pub(crate) fn check_pod(caller: &Caller, pod: Option<&PodEntry>) -> Result<(), Denied> {
    let Some(pod) = pod else {
        return Ok(());
    };
    let said = caller.service_account.as_str();
    agree("the certificate's service account", Some(said), &pod.service_account, BY_POD)
}

pub(crate) fn check_network(caller: &Caller, network: &NetworkId) -> Result<(), Denied> {
    agree("NETWORK", caller.node.network.as_deref(), network.as_str(), BY_FACTS)
}

fn agree(
    claim: &'static str,
    said: Option<&str>,
    expected: &str,
    by: &'static str,
) -> Result<(), Denied> {
    match said {
        Some(said) if said != expected => {
            Err(Denied::Claim { claim, said: said.into(), expected: expected.into(), by })
        }
        _ => Ok(()),
    }
}
