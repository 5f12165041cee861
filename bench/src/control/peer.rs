//! The control planes that are compared, each as a process of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use diolkos_tls::{Expect, Identity, Roots};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, RequestKey, Subject};
use diolkos_xds::ResourceType;
use diolkos_xds_client::NodeClaims;

use super::ground::{ACCOUNT, Ground, NAMESPACE, SYSTEM, write};
use crate::ads::{Ask, Claims, Way};
use crate::mesh::{TRUST_DOMAIN, cluster_name, network_name};
use crate::process::{Process, Tools, diolkos, free};

/// In the primary's certificate.
const SERVER_NAME: &str = "primary.bench.example";
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Diolkos,
    Istiod,
    /// With the debounce off and no limit on new streams.
    Tuned,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Diolkos, Self::Istiod, Self::Tuned];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Diolkos => "diolkos",
            Self::Istiod => "istiod",
            Self::Tuned => "istiod tuned",
        }
    }
}

/// What an operator would have to know to ask this of istiod.
pub(super) const TUNING: [(&str, &str); 4] = [
    ("PILOT_ENABLE_EDS_DEBOUNCE", "false"),
    ("PILOT_DEBOUNCE_AFTER", "0s"),
    ("PILOT_PUSH_THROTTLE", "1000"),
    ("PILOT_MAX_REQUESTS_PER_SECOND", "100000"),
];

/// It issues no certificates, injects nothing and validates nothing: that is not compared.
const ISTIOD: [(&str, &str); 7] = [
    ("POD_NAMESPACE", SYSTEM),
    ("POD_NAME", "istiod"),
    ("CLUSTER_ID", "cluster-000"),
    ("ENABLE_CA_SERVER", "false"),
    ("PILOT_CERT_PROVIDER", "none"),
    ("INJECTION_WEBHOOK_CONFIG_NAME", ""),
    ("VALIDATION_WEBHOOK_CONFIG_NAME", ""),
];

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
    pub(super) way: Way,
}

/// What is the same for all starts.
#[derive(Debug)]
pub(super) struct Launch {
    folder: PathBuf,
    kubeconfig: PathBuf,
    istiod: PathBuf,
    tls: Way,
}

impl Launch {
    pub(super) fn prepare(tools: &Tools, ground: &Ground) -> anyhow::Result<Self> {
        let folder = ground.folder().to_owned();
        let validity = ground.validity();
        let root = Authority::new_root("diolkos bench", validity)?;
        let authority = root.intermediate(&cluster_name(0), validity)?;
        authority.write(&folder.join("ca"))?;
        write(
            &folder,
            "mesh.yaml",
            &format!(
                "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata:\n  name: bench\nspec:\n  \
                 trustDomain: {TRUST_DOMAIN}\n  export: all\n"
            ),
        )?;
        write(&folder, "istio-mesh.yaml", &format!("trustDomain: {TRUST_DOMAIN}\n"))?;
        write(&folder, "istio-networks.yaml", "networks: {}\n")?;
        let istiod = tools.path("pilot-discovery");
        let tls = client_tls(&authority, &folder)?;
        Ok(Self { kubeconfig: ground.kubeconfig()?, folder, istiod, tls })
    }

    pub(super) fn start(&self, kind: Kind) -> anyhow::Result<Peer> {
        let address = free(LOCALHOST)?;
        let (process, way) = match kind {
            Kind::Diolkos => (self.diolkos(address)?, self.tls.clone()),
            Kind::Istiod => (self.istiod(address, &[])?, Way::Plain),
            Kind::Tuned => (self.istiod(address, &TUNING)?, Way::Plain),
        };
        Ok(Peer { process, address, way })
    }

    fn diolkos(&self, address: SocketAddr) -> anyhow::Result<Process> {
        let mut arguments = vec!["primary".to_owned()];
        for (flag, value) in [
            ("mesh", self.path("mesh.yaml")),
            ("cluster", cluster_name(0)),
            ("listen", address.to_string()),
            ("ca", self.path("ca")),
            ("trust-domain", TRUST_DOMAIN.to_owned()),
            ("namespace", SYSTEM.to_owned()),
            ("service-account", "primary".to_owned()),
            ("name", SERVER_NAME.to_owned()),
            ("source", "kubernetes".to_owned()),
            ("system-namespace", SYSTEM.to_owned()),
            ("kubeconfig", text(&self.kubeconfig)),
            ("allow-cidr", "127.0.0.0/8".to_owned()),
            ("admin", free(LOCALHOST)?.to_string()),
        ] {
            arguments.extend([format!("--{flag}"), value]);
        }
        Process::start("diolkos", &diolkos()?, &arguments, &[], &self.folder)
    }

    fn istiod(&self, address: SocketAddr, tuning: &[(&str, &str)]) -> anyhow::Result<Process> {
        let mut arguments = vec!["discovery".to_owned()];
        for (flag, value) in [
            ("kubeconfig", text(&self.kubeconfig)),
            ("clusterID", cluster_name(0)),
            ("namespace", SYSTEM.to_owned()),
            ("meshConfig", self.path("istio-mesh.yaml")),
            ("networksConfig", self.path("istio-networks.yaml")),
            ("grpcAddr", address.to_string()),
            ("secureGRPCAddr", String::new()),
            ("httpsAddr", String::new()),
            ("httpAddr", free(LOCALHOST)?.to_string()),
            ("monitoringAddr", free(LOCALHOST)?.to_string()),
            ("ctrlz_port", "0".to_owned()),
        ] {
            arguments.push(format!("--{flag}={value}"));
        }
        let environment = [&ISTIOD[..], tuning].concat();
        Process::start("istiod", &self.istiod, &arguments, &environment, &self.folder)
    }

    fn path(&self, name: &str) -> String {
        text(&self.folder.join(name))
    }
}

/// The clients' certificate, as the primary's own CA signs it over its API.
fn client_tls(authority: &Authority, folder: &Path) -> anyhow::Result<Way> {
    let key = rcgen::KeyPair::generate()?;
    let csr = rcgen::CertificateParams::default().serialize_request(&key)?.pem()?;
    let domain = TrustDomain::new(TRUST_DOMAIN)?;
    let id = SpiffeId::workload(&domain, NAMESPACE, ACCOUNT)?;
    let subject = Subject { id: &id, cluster: &cluster_name(0) };
    let now = SystemTime::now();
    let ttl = diolkos_trust_service::ttl_of(0);
    let request = RequestKey::of_pem(&csr).context("the clients' request")?;
    let signed = authority.sign(&request, &subject, ttl, now)?;
    let identity =
        Identity::of_pem(signed.chain.concat().as_bytes(), key.serialize_pem().as_bytes(), now)?;
    let own = folder.join("client");
    std::fs::create_dir_all(&own)?;
    write(&own, diolkos_tls::ROOT_CERT_FILE, &signed.roots)?;
    let roots = Roots::load(&own, &domain)?;
    let expect = Expect::Dns(SERVER_NAME.into());
    let config = diolkos_tls::client_config(&identity, &roots, expect, &["h2"]);
    Ok(Way::Tls(config, diolkos_tls::server_name(SERVER_NAME)?))
}

/// What a sidecar in the first cluster asks: all clusters there are, and their endpoints.
pub(super) fn ask(ground: &Ground, index: usize) -> Ask {
    let (pod, address) = ground.client(index);
    let claims = NodeClaims {
        kind: "sidecar".into(),
        ip: address.into(),
        pod,
        namespace: NAMESPACE.into(),
        domain: "cluster.local".into(),
        cluster: cluster_name(0),
        network: Some(network_name(0)),
        service_account: Some(ACCOUNT.into()),
        labels: BTreeMap::new(),
        extra: BTreeMap::new(),
    };
    Ask {
        node: Claims(claims).node(),
        names: vec![(ResourceType::Cluster.url(), Vec::new())],
        follows: true,
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
