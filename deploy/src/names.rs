//! Names and ports by which the parts of a mesh find each other: docs/adr/0004-in-a-cluster.md.

/// Where everything of ours is, unless several meshes share a cluster.
pub const SYSTEM_NAMESPACE: &str = "diolkos-system";
pub const PRIMARY: &str = "diolkos-primary";
pub const GATEWAY: &str = "diolkos-eastwestgateway";
/// The Service by which a gateway's own cluster goes out.
pub const EGRESS: &str = "diolkos-egressgateway";
pub const READER: &str = "diolkos-reader";
/// What a primary may change in a cluster that has none.
pub const CONTROLLED: &str = "diolkos-controlled";
pub const INJECTOR: &str = "diolkos-sidecar-injector";
/// The mesh's settings, a ConfigMap.
pub const MESH: &str = "diolkos";
pub const MESH_KEY: &str = "mesh";
/// The CA, a Secret in Istio's layout.
pub const CA: &str = "cacerts";
/// Roots for workloads, a ConfigMap in every namespace.
pub const ROOTS: &str = "istio-ca-root-cert";
pub const ROOTS_KEY: &str = "root-cert.pem";
/// The lease of the replica that writes.
pub const LEASE: &str = "diolkos-primary";
/// By this name Istio's proxies know a primary.
pub const ISTIOD: &str = "istiod.istio-system.svc";

pub const NETWORK_LABEL: &str = "topology.istio.io/network";
/// Of a system namespace: which clusters' primaries may write here.
pub const CONTROL_PLANES: &str = "topology.istio.io/controlPlaneClusters";
pub const INJECTION_LABEL: &str = "istio-injection";
pub const REVISION_LABEL: &str = "istio.io/rev";
pub const INJECT_LABEL: &str = "sidecar.istio.io/inject";
pub const NAME_LABEL: &str = "app.kubernetes.io/name";

/// Of tokens that are for nothing but a certificate.
pub const TOKEN_AUDIENCE: &str = "diolkos-ca";

pub const XDS_PORT: u16 = 15_012;
pub const ADMIN_PORT: u16 = 15_014;
pub const WEBHOOK_PORT: u16 = 15_017;
pub const HEALTH_PORT: u16 = 15_021;
pub const DATA_PORT: u16 = 15_443;
/// Where gateways end tunnels, and where Istio's clients look for that.
pub const HBONE_PORT: u16 = 15_008;
/// Where gateways let their own cluster's sidecars out.
pub const EGRESS_PORT: u16 = 15_444;
/// Where the Service has the webhook: API servers ask there unless told otherwise.
pub const WEBHOOK_SERVICE_PORT: u16 = 443;

/// What is of a cluster and not of a namespace has the namespace in its name, unless that is the
/// usual one: so several meshes can share a cluster.
pub fn of_cluster(name: &str, namespace: &str) -> String {
    match namespace {
        SYSTEM_NAMESPACE => name.to_owned(),
        other => format!("{name}-{other}"),
    }
}

/// The DNS name of the primary within its cluster, and in its certificate.
pub fn primary_host(namespace: &str) -> String {
    format!("{PRIMARY}.{namespace}.svc")
}
