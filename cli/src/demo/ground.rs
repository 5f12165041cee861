//! The demo's folder: mesh file, manifests of both clusters, certificates, logs.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest, Validity};

use super::plan::{
    GATEWAY_PORT, NAMESPACE, PODS, Plan, Pod, SERVICE_PORT, SYSTEM, Side, TRUST_DOMAIN,
};

#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) dir: PathBuf,
    pub(crate) plan: Plan,
}

impl Ground {
    /// Writes everything that exists before the first process starts.
    pub(crate) fn lay(dir: PathBuf, plan: Plan) -> anyhow::Result<Self> {
        let ground = Self { dir, plan };
        ground.write("mesh.yaml", &ground.mesh())?;
        for side in Side::BOTH {
            ground.write_cluster(side)?;
        }
        ground.write_certificates().context("cannot make the demo's certificates")?;
        fs::create_dir_all(ground.dir.join("logs"))?;
        Ok(ground)
    }

    pub(crate) fn mesh_file(&self) -> PathBuf {
        self.dir.join("mesh.yaml")
    }

    pub(crate) fn identity(&self, name: &str) -> PathBuf {
        self.dir.join("identities").join(name)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    pub(crate) fn catalog_manifest(&self, side: Side) -> PathBuf {
        self.dir.join(format!("clusters/{}/catalog.yaml", side.name()))
    }

    /// Rewrites one cluster's catalog with so many of its pods, as an editor would: whole.
    pub(crate) fn scale_catalog(&self, side: Side, replicas: usize) -> anyhow::Result<SystemTime> {
        let pods: Vec<Pod> = pods(side, "catalog").take(replicas).collect();
        self.write(
            &format!("clusters/{}/catalog.yaml", side.name()),
            &self.service(side, "catalog", &pods),
        )?;
        Ok(SystemTime::now())
    }

    fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.dir.join(path);
        let parent = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let fresh = path.with_extension("new~");
        fs::write(&fresh, text).with_context(|| format!("cannot write {}", fresh.display()))?;
        fs::rename(&fresh, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    fn mesh(&self) -> String {
        let mut text = format!(
            "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata:\n  name: demo\nspec:\n  \
             trustDomain: {TRUST_DOMAIN}\n  export: listed\n  clusters:\n"
        );
        for side in Side::BOTH {
            let _ = write!(
                text,
                "  - name: {name}\n    addresses: [{range}]\n    \
                 caCertificate: cacerts/{name}/ca-cert.pem\n",
                name = side.name(),
                range = self.plan.range(side),
            );
        }
        text
    }

    fn write_cluster(&self, side: Side) -> anyhow::Result<()> {
        let folder = format!("clusters/{}", side.name());
        self.write(&format!("{folder}/cluster.yaml"), &cluster(side))?;
        self.write(&format!("{folder}/gateway.yaml"), &self.gateway(side))?;
        let services: &[&str] = match side {
            Side::East => &["catalog", "payments", "ledger"],
            Side::West => &["catalog"],
        };
        for service in services {
            let pods: Vec<Pod> = pods(side, service).collect();
            self.write(&format!("{folder}/{service}.yaml"), &self.service(side, service, &pods))?;
        }
        if side == Side::West {
            let client = pod("client", NAMESPACE, "client", side, self.plan.client());
            self.write(&format!("{folder}/client.yaml"), &client)?;
        }
        Ok(())
    }

    fn gateway(&self, side: Side) -> String {
        let gateways = self.plan.gateways(side);
        let addresses: Vec<String> = gateways.iter().map(|it| it.ip().to_string()).collect();
        let mut text = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: eastwest\n  namespace: {SYSTEM}\n  \
             labels:\n    topology.istio.io/network: {network}\nspec:\n  clusterIP: {vip}\n  \
             externalIPs: [{addresses}]\n  ports:\n  - name: tls\n    port: {GATEWAY_PORT}\n",
            network = side.name(),
            vip = self.plan.vip(side, "eastwest"),
            addresses = addresses.join(", "),
        );
        for (index, gateway) in gateways.iter().enumerate() {
            text.push_str("---\n");
            let name = format!("eastwest-{}", index + 1);
            text.push_str(&pod(&name, SYSTEM, "eastwest", side, gateway.ip()));
        }
        text
    }

    fn service(&self, side: Side, service: &str, pods: &[Pod]) -> String {
        let mut text = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {service}\n  \
             namespace: {NAMESPACE}\nspec:\n  clusterIP: {vip}\n  ports:\n  - name: http\n    \
             port: {SERVICE_PORT}\n---\napiVersion: multicluster.x-k8s.io/v1alpha1\n\
             kind: ServiceExport\nmetadata:\n  name: {service}\n  namespace: {NAMESPACE}\n  \
             creationTimestamp: \"2026-01-01T00:00:00Z\"\n",
            vip = self.plan.vip(side, service),
        );
        for it in pods {
            text.push_str("---\n");
            let ip = self.plan.pod(it).ip();
            text.push_str(&pod(&it.name(), NAMESPACE, service, side, ip));
        }
        let _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  \
             name: {service}-1\n  namespace: {NAMESPACE}\n  labels:\n    \
             kubernetes.io/service-name: {service}\naddressType: IPv4\nports:\n- name: http\n  \
             port: {SERVICE_PORT}\n"
        );
        text.push_str(if pods.is_empty() { "endpoints: []\n" } else { "endpoints:\n" });
        for it in pods {
            let _ = write!(
                text,
                "- addresses: [{ip}]\n  conditions: {{ready: true}}\n  nodeName: {node}\n  \
                 targetRef: {{kind: Pod, namespace: {NAMESPACE}, name: {name}}}\n",
                ip = self.plan.pod(it).ip(),
                node = node(side),
                name = it.name(),
            );
        }
        text
    }

    /// One root, an intermediate per cluster, a leaf per process; and a stranger with a root of his own.
    fn write_certificates(&self) -> anyhow::Result<()> {
        let now = SystemTime::now();
        let validity = |length| Validity { not_before: now, not_after: now + length };
        let root = Authority::new_root("diolkos demo", validity(10 * DAY))?;
        for side in Side::BOTH {
            let authority = root.intermediate(side.name(), validity(5 * DAY))?;
            authority.write(&self.dir.join("cacerts").join(side.name()))?;
            let leaf = |name: &str, namespace: &str, account: &str, dns: &[&str]| {
                self.leaf(&authority, name, namespace, account, dns)
            };
            let primary = format!("primary-{}", side.name());
            leaf(&primary, SYSTEM, "primary", &[crate::PRIMARY_NAME])?;
            for number in 1..=self.plan.gateways(side).len() {
                leaf(&gateway_name(side, number), SYSTEM, "eastwest", &[])?;
            }
            for it in PODS.iter().filter(|it| it.side == side) {
                let account = if it.service == "ledger" { "intruder" } else { it.service };
                leaf(&it.name(), NAMESPACE, account, &[])?;
            }
            if side == Side::West {
                leaf("client", NAMESPACE, "client", &[])?;
            }
        }
        self.write_stranger(&root, validity(DAY))
    }

    /// Claims the client's identity, but under a root that nobody here trusts. It knows our root,
    /// which is no secret, so that it is the others who refuse.
    fn write_stranger(&self, ours: &Authority, validity: Validity) -> anyhow::Result<()> {
        let root = Authority::new_root("stranger", validity)?;
        let west = root.intermediate("west", validity)?;
        self.leaf(&west, "stranger", NAMESPACE, "client", &[])?;
        fs::write(self.identity("stranger").join("root-cert.pem"), ours.root_pem())?;
        Ok(())
    }

    fn leaf(
        &self,
        authority: &Authority,
        name: &str,
        namespace: &str,
        account: &str,
        dns: &[&str],
    ) -> anyhow::Result<()> {
        let now = SystemTime::now();
        let issued = authority.issue(&LeafRequest {
            id: SpiffeId::workload(&TrustDomain::new(TRUST_DOMAIN)?, namespace, account)?,
            dns: dns.iter().map(|&name| name.to_owned()).collect(),
            ips: Vec::new(),
            validity: Validity { not_before: now, not_after: now + DAY },
        })?;
        issued.write(&self.identity(name))?;
        Ok(())
    }
}

pub(crate) fn gateway_name(side: Side, number: usize) -> String {
    format!("gateway-{}-{number}", side.name())
}

fn pods(side: Side, service: &str) -> impl Iterator<Item = Pod> {
    PODS.into_iter().filter(move |it| it.side == side && it.service == service)
}

fn node(side: Side) -> String {
    format!("node-{}", side.name())
}

/// Both clusters are in one zone, so that distance decides nothing and the split shows.
fn cluster(side: Side) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {SYSTEM}\n  labels:\n    \
         topology.istio.io/network: {network}\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  \
         name: {NAMESPACE}\n---\napiVersion: v1\nkind: Node\nmetadata:\n  name: {node}\n  \
         labels:\n    topology.kubernetes.io/region: isthmus\n    \
         topology.kubernetes.io/zone: isthmus-a\n",
        network = side.name(),
        node = node(side),
    )
}

fn pod(name: &str, namespace: &str, account: &str, side: Side, ip: IpAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  \
         labels:\n    app: {account}\n    security.istio.io/tlsMode: istio\nspec:\n  \
         serviceAccountName: {account}\n  nodeName: {node}\n  containers: []\nstatus:\n  \
         podIP: {ip}\n",
        node = node(side),
    )
}

/// Where the demo lives when nobody says where.
pub(crate) fn default_dir() -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("diolkos-demo-").tempdir().context("cannot make a folder")
}

/// The SPIFFE id that a service's pods should have.
pub(crate) fn expected_id(service: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{service}")
}

pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
