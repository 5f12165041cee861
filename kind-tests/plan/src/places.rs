//! Where things are on this machine.

/// Paths that a plan speaks of; whoever asks for the plan knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The topology's own folder. All that a plan writes is below it.
    pub state: String,
    /// The folder of the Kubernetes programs.
    pub tools: String,
    /// A folder of custom resource definitions, each cluster gets all of them.
    pub crds: Option<String>,
    /// This project's binary, for workloads.
    pub diolkos: String,
    /// Envoy, for sidecars; without it no pod can have one.
    pub envoy: Option<String>,
    pub nft: String,
}

impl Places {
    #[must_use]
    pub fn tool(&self, name: &str) -> String {
        format!("{}/{name}", self.tools)
    }

    #[must_use]
    pub fn cluster(&self, name: &str) -> String {
        format!("{}/clusters/{name}", self.state)
    }

    /// The log of a process, `CLUSTER/NAME`.
    #[must_use]
    pub fn log(&self, cluster: &str, process: &str) -> String {
        format!("{}/{process}.log", self.cluster(cluster))
    }

    /// The CA of a mesh in a cluster, in Istio's layout.
    #[must_use]
    pub fn cacerts(&self, mesh: &str, cluster: &str) -> String {
        format!("{}/cacerts/{mesh}/{cluster}", self.state)
    }

    /// One context per cluster.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        format!("{}/kubeconfig", self.state)
    }
}
