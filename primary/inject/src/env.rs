//! What the injector tells a sidecar by its environment, and where both look for files.

/// Probes of the application, as [`crate::Probes`] in JSON.
pub const PROBES: &str = "DIOLKOS_PROBES";
pub const CLUSTER: &str = "DIOLKOS_CLUSTER";
pub const NETWORK: &str = "DIOLKOS_NETWORK";
pub const TRUST_DOMAIN: &str = "DIOLKOS_TRUST_DOMAIN";
pub const CLUSTER_DOMAIN: &str = "DIOLKOS_CLUSTER_DOMAIN";
/// `name:port`; the name is what the primary's certificate must carry.
pub const PRIMARY: &str = "DIOLKOS_PRIMARY";
/// `0`: the allocator takes no huge pages, from before the first line of the program on. Of roles of
/// which there are many each would hold 5 MiB for nothing.
pub const HUGE_PAGES: &str = "MIMALLOC_ALLOW_THP";
pub const DRAIN_SECONDS: &str = "DIOLKOS_DRAIN_SECONDS";
pub const POD: &str = "POD_NAME";
pub const NAMESPACE: &str = "POD_NAMESPACE";
/// All addresses of the pod, with commas between.
pub const POD_IPS: &str = "POD_IPS";
pub const SERVICE_ACCOUNT: &str = "SERVICE_ACCOUNT";
pub const NODE: &str = "NODE_NAME";

pub const TOKEN_DIR: &str = "/var/run/secrets/tokens";
pub const TOKEN_FILE: &str = "diolkos-token";
/// As Istio's agents find it.
pub const ROOT_DIR: &str = "/var/run/secrets/istio";
/// Key of ConfigMap [`ROOT_CONFIG_MAP`].
pub const ROOT_FILE: &str = "root-cert.pem";
pub const ROOT_CONFIG_MAP: &str = "istio-ca-root-cert";
/// Bootstrap and socket; in memory, and gone with the pod.
pub const RUN_DIR: &str = "/var/run/diolkos";
pub const TOKEN_AUDIENCE: &str = "diolkos-ca";

/// Nobody's traffic is redirected that runs as this user.
pub const PROXY_UID: u32 = 1337;
pub const OUTBOUND_PORT: u16 = 15_001;
pub const INBOUND_PORT: u16 = 15_006;
pub const ENVOY_ADMIN_PORT: u16 = 15_000;
pub const PROBE_PORT: u16 = 15_020;
pub const HEALTH_PORT: u16 = 15_021;
pub const READY_PATH: &str = "/healthz/ready";
