//! The pages of a primary that runs: asked at its address, or in its pod by port-forward.

mod ask;

use std::net::SocketAddr;

use anyhow::{Context as _, anyhow};
use clap::Args;
use diolkos_deploy::names;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::api::{self, ClusterArgs};
use crate::exit::{Unreachable, Usage};

/// Replicas that are asked; more than anybody runs.
const REPLICAS_MAX: u32 = 64;

/// Which primary, and how to reach it.
#[derive(Args, Clone, Debug)]
pub(crate) struct PrimaryArgs {
    /// The primary's admin address, where it can be reached [default: by port-forward to its pod]
    #[arg(long, value_name = "ADDRESS",
          conflicts_with_all = ["context", "kubeconfig", "namespace", "replica"])]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The system namespace [default: diolkos-system]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// The pod to ask, of several
    #[arg(long, value_name = "POD")]
    replica: Option<String>,
}

/// One that can be asked.
pub(crate) struct Primary {
    /// Its address, or its pod's name.
    pub(crate) name: String,
    way: Way,
}

enum Way {
    Address(SocketAddr),
    Pod { client: Client, namespace: String },
}

impl PrimaryArgs {
    /// Every replica that runs, those that are ready first.
    pub(crate) async fn all(&self) -> anyhow::Result<Vec<Primary>> {
        if let Some(address) = self.admin {
            return Ok(vec![Primary { name: address.to_string(), way: Way::Address(address) }]);
        }
        let cluster = self.cluster.cluster().await?;
        let namespace = self.namespace.as_deref().unwrap_or(names::SYSTEM_NAMESPACE);
        let found = self.pods(&cluster.client, namespace).await;
        found.with_context(|| format!("context {}", cluster.context))
    }

    /// The first of them.
    pub(crate) async fn one(&self) -> anyhow::Result<Primary> {
        let all = self.all().await?;
        // There is at least one, or it would have been an error.
        all.into_iter().next().context("no primary runs")
    }

    async fn pods(&self, client: &Client, namespace: &str) -> anyhow::Result<Vec<Primary>> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let wanted = ListParams::default()
            .labels(&format!("{}={}", names::NAME_LABEL, names::PRIMARY))
            .limit(REPLICAS_MAX);
        let what = format!("the primary's pods in namespace {namespace}");
        let mut found = api::answer(&what, pods.list(&wanted)).await?.items;
        found.retain(runs);
        found.sort_by_key(|pod| (!is_ready(pod), pod.name_any()));
        if found.is_empty() {
            return Err(Unreachable::of(anyhow!(
                "no primary runs in namespace {namespace}; give --namespace, or --context of a \
                 cluster that has one"
            )));
        }
        if let Some(replica) = &self.replica {
            let known: Vec<String> = found.iter().map(|pod| pod.name_any()).collect();
            found.retain(|pod| pod.name_any() == *replica);
            if found.is_empty() {
                let known = known.join(", ");
                return Err(Usage::of(anyhow!(
                    "--replica {replica} does not run; there are {known}"
                )));
            }
        }
        let primary = |pod: Pod| Primary {
            name: pod.name_any(),
            way: Way::Pod { client: client.clone(), namespace: namespace.to_owned() },
        };
        Ok(found.into_iter().map(primary).collect())
    }
}

fn runs(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

impl Primary {
    /// A page that is JSON.
    pub(crate) async fn page<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = match &self.way {
            Way::Address(address) => ask::by_address(*address, path).await,
            Way::Pod { client, namespace } => {
                ask::by_pod(client, namespace, &self.name, path).await
            }
        };
        answer
            .and_then(|answer| understood(&answer, path))
            .with_context(|| format!("primary {}", self.name))
    }
}

/// The same of a gateway.
pub(crate) async fn gateway_page<T: DeserializeOwned>(
    address: SocketAddr,
    path: &str,
) -> anyhow::Result<T> {
    ask::by_address(address, path)
        .await
        .and_then(|answer| understood(&answer, path))
        .with_context(|| format!("gateway {address}"))
}

fn understood<T: DeserializeOwned>(answer: &ask::Answer, path: &str) -> anyhow::Result<T> {
    let said = || {
        let text = String::from_utf8_lossy(&answer.body);
        anyhow!("{}", diolkos_ops::printable(text.trim()))
    };
    match answer.status {
        200 => serde_json::from_slice(&answer.body).with_context(|| {
            format!("{path}: it answers something else; is it of another version?")
        }),
        400 => Err(Usage::of(said())),
        503 => Err(Unreachable::of(said())),
        _ => Err(said()),
    }
}

/// `text` as a value in a query.
pub(crate) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let of = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_query_is_escaped() {
        assert_eq!(escaped("eu west/a&b=%+ü"), "eu%20west/a%26b%3D%25%2B%C3%BC");
    }
}
