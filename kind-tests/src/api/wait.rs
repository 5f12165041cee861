//! Conditions of a cluster, looked at until they hold.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use diolkos_kind_plan::Condition;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::ListParams;

use super::{Cluster, in_time};
use crate::limit::LOOK_EVERY;

impl Cluster {
    /// # Errors
    /// What still lacked when time was up; or that a condition cannot be seen by the API alone.
    pub async fn wait(&self, condition: &Condition, within: Duration) -> anyhow::Result<()> {
        let what = condition.to_string();
        match condition {
            Condition::Established => self.until(within, &what, || self.established()).await,
            Condition::Available { namespace } => {
                self.until(within, &what, || self.available(namespace)).await
            }
            Condition::Reachable(_) => bail!("whether {what} is seen on the node alone"),
        }
    }

    /// The cluster's own addresses of a Service.
    pub(crate) async fn service_addresses(
        &self,
        namespace: &str,
        service: &str,
    ) -> anyhow::Result<Vec<IpAddr>> {
        let services: Api<Service> = Api::namespaced(self.client(), namespace);
        let spec = in_time(services.get(service)).await?.spec.unwrap_or_default();
        Ok(spec.cluster_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect())
    }

    pub(crate) async fn until<F>(
        &self,
        within: Duration,
        what: &str,
        look: impl Fn() -> F,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let Err(error) = look().await else { return Ok(()) };
            if tokio::time::Instant::now() > deadline {
                let name = &self.name;
                let what = format!("{name}: waited {within:?} until {what}, in vain");
                return Err(error.context(what));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The addresses of a Service of type LoadBalancer, once it has any: a gateway's, say.
    ///
    /// # Errors
    /// When it has none in time.
    pub async fn balancer(
        &self,
        namespace: &str,
        service: &str,
        within: Duration,
    ) -> anyhow::Result<Vec<IpAddr>> {
        let what = format!("{namespace}/{service} has an address");
        let look = || async { self.balancer_now(namespace, service).await.map(drop) };
        self.until(within, &what, look).await?;
        self.balancer_now(namespace, service).await
    }

    async fn balancer_now(&self, namespace: &str, service: &str) -> anyhow::Result<Vec<IpAddr>> {
        let services: Api<Service> = Api::namespaced(self.client(), namespace);
        let found = in_time(services.get(service)).await?;
        let status = found.status.and_then(|status| status.load_balancer);
        let ingress = status.and_then(|balancer| balancer.ingress).unwrap_or_default();
        let addresses = ingress.into_iter().filter_map(|ingress| ingress.ip?.parse().ok());
        let addresses: Vec<IpAddr> = addresses.collect();
        if addresses.is_empty() {
            bail!("{namespace}/{service} has no address");
        }
        Ok(addresses)
    }

    pub(crate) async fn nodes_are_ready(&self, names: &[String]) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(self.client());
        let nodes = in_time(nodes.list(&ListParams::default())).await?;
        for name in names {
            let node = nodes.iter().find(|node| node.metadata.name.as_ref() == Some(name));
            let node = node.with_context(|| format!("node {name} is not there"))?;
            let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
            let mut conditions = conditions.into_iter().flatten();
            if !conditions.any(|is| is.type_ == "Ready" && is.status == "True") {
                bail!("node {name} is not ready");
            }
        }
        Ok(())
    }

    pub(crate) async fn has_root_certificate(&self) -> anyhow::Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client(), "default");
        in_time(maps.get("kube-root-ca.crt")).await?;
        Ok(())
    }

    async fn established(&self) -> anyhow::Result<()> {
        let kinds: Api<CustomResourceDefinition> = Api::all(self.client());
        for kind in in_time(kinds.list(&ListParams::default())).await? {
            let conditions = kind.status.as_ref().and_then(|status| status.conditions.as_ref());
            let mut conditions = conditions.into_iter().flatten();
            if !conditions.any(|is| is.type_ == "Established" && is.status == "True") {
                bail!("{} is not served", kind.metadata.name.unwrap_or_default());
            }
        }
        Ok(())
    }

    async fn available(&self, namespace: &str) -> anyhow::Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client(), namespace);
        for deployment in in_time(deployments.list(&ListParams::default())).await? {
            let name = deployment.metadata.name.unwrap_or_default();
            let wanted = deployment.spec.replicas.unwrap_or(1);
            let status = deployment.status.unwrap_or_default();
            let seen = status.observed_generation >= deployment.metadata.generation;
            let updated = status.updated_replicas.unwrap_or(0);
            let available = status.available_replicas.unwrap_or(0);
            if !seen || updated < wanted || available < wanted {
                let pods = self.pods_in_short(namespace, &name).await;
                bail!("{namespace}/{name} has {available} of {wanted} replicas: {pods}");
            }
        }
        Ok(())
    }

    /// Why pods of a deployment are not ready, for whoever waits for them.
    async fn pods_in_short(&self, namespace: &str, name: &str) -> String {
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let Ok(pods) = in_time(pods.list(&ListParams::default())).await else {
            return "its pods cannot be listed".to_owned();
        };
        let prefix = format!("{name}-");
        let mut says = Vec::new();
        for pod in pods {
            let Some(name) = pod.metadata.name.filter(|name| name.starts_with(&prefix)) else {
                continue;
            };
            let status = pod.status.unwrap_or_default();
            let phase = status.phase.unwrap_or_default();
            let containers = status.init_container_statuses.into_iter().flatten();
            let containers = containers.chain(status.container_statuses.into_iter().flatten());
            let waiting = containers.filter_map(|container| {
                let waiting = container.state?.waiting?;
                let (reason, message) = (waiting.reason?, waiting.message.unwrap_or_default());
                Some(format!("{} {reason} {message}", container.name))
            });
            says.push(format!("{name} {phase} {}", waiting.collect::<Vec<_>>().join(", ")));
        }
        if says.is_empty() { "no pods".to_owned() } else { says.join("; ") }
    }
}
