//! Claims against credential and facts, one by one.

use diolkos_facts::PodEntry;
use diolkos_topology::{ClusterId, Namespace, NetworkId};
use diolkos_trust::SpiffeId;

use super::Credential;
use super::node::{Denied, Node};
use crate::authority::Authorities;

/// A client whose credential and claims agree.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) id: SpiffeId,
    pub(crate) credential: Credential,
    pub(crate) cluster: ClusterId,
    pub(crate) namespace: Namespace,
    pub(crate) service_account: String,
    pub(crate) node: Node,
}

const BY_POD: &str = "the facts know this pod with";
const BY_FACTS: &str = "the facts of its cluster say";

/// Everything but the network, which the facts know. `clusterid` came with the stream's headers.
pub(crate) fn check(
    credential: Credential,
    clusterid: Option<&str>,
    node: Node,
    authorities: &Authorities,
) -> Result<Caller, Denied> {
    let (id, cluster) = credential.owner(authorities)?;
    let words = credential.words();
    let no_workload = || Denied::NoWorkload { id: id.to_string() };
    let workload = id.workload_name().ok_or_else(no_workload)?;
    let namespace = Namespace::new(workload.namespace).map_err(|_| no_workload())?;
    let service_account = workload.service_account.to_owned();
    agree("CLUSTER_ID", node.cluster.as_deref(), cluster.as_str(), words.issued_by)?;
    agree("clusterid", clusterid, cluster.as_str(), words.issued_by)?;
    for (claim, said) in &node.namespaces {
        agree(claim, Some(said), namespace.as_str(), words.says)?;
    }
    agree("SERVICE_ACCOUNT", node.service_account.as_deref(), &service_account, words.says)?;
    if let Some(pod) = credential.pod() {
        agree("the node id's pod name", Some(&node.pod), pod, words.says)?;
    }
    Ok(Caller { id, credential, cluster, namespace, service_account, node })
}

pub(crate) fn check_pod(caller: &Caller, pod: Option<&PodEntry>) -> Result<(), Denied> {
    let Some(pod) = pod else {
        return Ok(());
    };
    let said = caller.service_account.as_str();
    agree(caller.credential.words().account, Some(said), &pod.service_account, BY_POD)
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
