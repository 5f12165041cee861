//! Two clusters on two networks in a folder, with certificates, and a primary over them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use diolkos_ops::{Shutdown, Trigger};
use diolkos_primary::{Primary, PrimarySettings};
use diolkos_tls::{Identity, Roots};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest, Validity};
use diolkos_xds::ResourceType;
use diolkos_xds_client::{Backoff, ClientSettings, Credential, Incoming, NodeClaims, Update};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// How long a test waits for anything before it says what did not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);
pub(crate) const DOMAIN: &str = "mesh.test";
const PRIMARY: &str = "primary.test";

pub(crate) struct World {
    dir: TempDir,
    root: Authority,
    clusters: BTreeMap<&'static str, Authority>,
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    primary: Primary,
    trigger: Trigger,
}

impl World {
    /// `west` and `east`, each with a service of its own (`shop/west-shop`, `shop/east-shop`) of
    /// two endpoints, a gateway, a node and the pod `web-1`.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Authority::new_root("test", validity()).unwrap();
        let clusters = ["west", "east"]
            .into_iter()
            .map(|name| (name, root.intermediate(name, validity()).unwrap()))
            .collect();
        let world = Self { dir, root, clusters };
        for (name, authority) in &world.clusters {
            authority.write(&world.path(&format!("ca/{name}"))).unwrap();
            world.write(&format!("clusters/{name}/base.yaml"), &base(name, name));
            world.service(name, &format!("{name}-shop"), &[1, 2]);
        }
        world.mesh(
            "  - {name: west, addresses: [127.1.0.0/16], caCertificate: ca/west/ca-cert.pem}
  - {name: east, addresses: [127.2.0.0/16], caCertificate: ca/east/ca-cert.pem}
",
        );
        world
    }

    pub(crate) fn mesh(&self, clusters: &str) {
        self.write(
            "mesh.yaml",
            &format!(
                "apiVersion: diolkos.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: test}}\nspec:\n  \
                 trustDomain: {DOMAIN}\n  export: all\n  clusters:\n{clusters}"
            ),
        );
    }

    /// Says anew on which network the cluster is.
    pub(crate) fn network(&self, cluster: &str, network: &str) {
        self.write(&format!("clusters/{cluster}/base.yaml"), &base(cluster, network));
    }

    /// A service whose endpoints have these last numbers.
    pub(crate) fn service(&self, cluster: &str, service: &str, endpoints: &[u8]) {
        self.write(
            &format!("clusters/{cluster}/{service}.yaml"),
            &service_yaml(cluster, service, endpoints),
        );
    }

    /// In one step, as a careful editor would.
    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let draft = path.with_extension("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, path).unwrap();
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// The settings of a primary on a free port.
    pub(crate) fn settings(&self) -> PrimarySettings {
        let identity = self.path("id/primary");
        if !identity.exists() {
            self.issue("west", "istio-system", "primary", &[PRIMARY], &identity);
        }
        let any = "127.0.0.1:0".parse().unwrap();
        let mut settings =
            PrimarySettings::new(self.path("mesh.yaml"), "west".into(), any, identity);
        settings.admin = Some(any);
        settings
    }

    pub(crate) async fn start(&self) -> Running {
        start(self.settings()).await
    }

    /// A sidecar of `shop/web-1`, which the facts know, in that cluster.
    pub(crate) fn sidecar(&self, running: &Running, cluster: &str) -> ClientSettings {
        self.client(running, cluster, "shop", "web", "web-1")
    }

    pub(crate) fn client(
        &self,
        running: &Running,
        cluster: &str,
        namespace: &str,
        account: &str,
        pod: &str,
    ) -> ClientSettings {
        let dir = self.path(&format!("id/{cluster}-{namespace}-{account}"));
        if !dir.exists() {
            self.issue(cluster, namespace, account, &[], &dir);
        }
        ClientSettings {
            place: running.address.into(),
            server: PRIMARY.into(),
            credential: Credential::Certificate(Identity::load(&dir).unwrap()),
            roots: Roots::load(&dir, &TrustDomain::new(DOMAIN).unwrap()).unwrap(),
            node: NodeClaims {
                kind: "sidecar".into(),
                ip: ip(cluster, 9),
                pod: pod.into(),
                namespace: namespace.into(),
                domain: "cluster.local".into(),
                cluster: cluster.into(),
                network: Some(cluster.into()),
                service_account: Some(account.into()),
                labels: BTreeMap::new(),
                extra: BTreeMap::new(),
            },
            source: None,
            pings: Default::default(),
            backoff: Backoff {
                base: Duration::from_millis(20),
                cap: Duration::from_millis(100),
                ..Backoff::default()
            },
        }
    }

    /// One who has a certificate of `web` under a root of its own, and knows ours.
    pub(crate) fn stranger(&self, running: &Running) -> ClientSettings {
        let dir = self.path("id/stranger");
        let root = Authority::new_root("stranger", validity()).unwrap();
        issue_by(&root, "shop", "web", &[], &dir);
        fs::write(dir.join("root-cert.pem"), self.root.root_pem()).unwrap();
        let credential = Credential::Certificate(Identity::load(&dir).unwrap());
        ClientSettings { credential, ..self.sidecar(running, "west") }
    }

    /// One whose certificate the root itself signed: of this mesh, and of no cluster.
    pub(crate) fn homeless(&self, running: &Running) -> ClientSettings {
        let dir = self.path("id/homeless");
        issue_by(&self.root, "shop", "web", &[], &dir);
        let credential = Credential::Certificate(Identity::load(&dir).unwrap());
        ClientSettings { credential, ..self.sidecar(running, "west") }
    }

    /// `shop/web` of west, with a certificate that ends then.
    pub(crate) fn mortal(&self, running: &Running, not_after: SystemTime) -> ClientSettings {
        let dir = self.path("id/mortal");
        let validity = Validity { not_after, ..validity() };
        issue_valid(&self.clusters["west"], "shop", "web", &[], validity, &dir);
        let credential = Credential::Certificate(Identity::load(&dir).unwrap());
        ClientSettings { credential, ..self.sidecar(running, "west") }
    }

    fn issue(&self, cluster: &str, namespace: &str, account: &str, dns: &[&str], dir: &Path) {
        issue_by(&self.clusters[cluster], namespace, account, dns, dir);
    }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.trigger.fire();
        timeout(PATIENCE, self.primary.ended()).await.expect("the primary does not end");
    }

    /// Status and body of an admin page.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        get(self.admin, path).await
    }

    /// The same of the port that others may ask.
    pub(crate) async fn health(&self, path: &str) -> (u16, String) {
        let port = self.primary.health().unwrap().port();
        get(([127, 0, 0, 1], port).into(), path).await
    }

    pub(crate) async fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(path).await.1).unwrap()
    }

    pub(crate) async fn debug(&self) -> serde_json::Value {
        self.json("/debug/diolkos.json").await
    }

    /// The value of a metric without labels, or with the labels given in `name`.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.1;
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    pub(crate) fn webhook(&self) -> SocketAddr {
        self.primary.webhook().unwrap()
    }

    pub(crate) async fn until_ready(&self) {
        until("the primary is ready", async || self.get("/ready").await.0 == 200).await;
    }
}

pub(crate) async fn start(settings: PrimarySettings) -> Running {
    let (trigger, shutdown) = Shutdown::new();
    let primary = Primary::start(settings, shutdown).await.unwrap();
    let (address, admin) = (primary.address(), primary.admin().unwrap());
    Running { address, admin, primary, trigger }
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Asks until it is so.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !so().await {
        assert!(begin.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The next update of a kind, others accepted on the way.
pub(crate) async fn update(incoming: &mut Receiver<Incoming>, kind: ResourceType) -> Update {
    update_that(incoming, kind, |_| true).await
}

pub(crate) async fn update_that(
    incoming: &mut Receiver<Incoming>,
    kind: ResourceType,
    wanted: impl Fn(&Update) -> bool,
) -> Update {
    loop {
        match timeout(PATIENCE, incoming.recv()).await.expect("no such update came").unwrap() {
            Incoming::Update(update) if update.kind == kind && wanted(&update) => return update,
            _ => {}
        }
    }
}

pub(crate) fn names(update: &Update) -> Vec<&str> {
    update.upserts.iter().map(|(name, _)| name.as_str()).collect()
}

pub(crate) fn cluster_name(service: &str) -> String {
    format!("outbound|80||{service}.shop.svc.cluster.local")
}

pub(crate) fn ip(cluster: &str, last: u8) -> IpAddr {
    let network = if cluster == "west" { 1 } else { 2 };
    IpAddr::from([127, network, 0, last])
}

fn base(cluster: &str, network: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: istio-system\n  \
         labels: {{topology.istio.io/network: {network}}}\n---\n\
         apiVersion: v1\nkind: Node\nmetadata:\n  name: node-{cluster}\n  labels: \
         {{topology.kubernetes.io/region: r, topology.kubernetes.io/zone: {cluster}-a}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata:\n  name: eastwest\n  namespace: istio-system\n  \
         labels: {{topology.istio.io/network: {network}}}\nspec:\n  clusterIP: {vip}\n  \
         externalIPs: [{gateway}]\n  ports: [{{name: tls, port: 15443}}]\n---\n{pod}",
        vip = ip(cluster, 200),
        gateway = ip(cluster, 77),
        pod = pod(cluster, "web-1", "web", 9),
    )
}

fn service_yaml(cluster: &str, service: &str, endpoints: &[u8]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {service}, namespace: shop}}\nspec:\n  \
         clusterIP: {vip}\n  ports: [{{name: http, port: 80}}]\n---\n",
        vip = ip(cluster, 201),
    );
    for last in endpoints {
        text.push_str(&pod(cluster, &format!("{service}-{last}"), service, *last));
        text.push_str("---\n");
    }
    let _ = write!(
        text,
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}-1\n  \
         namespace: shop\n  labels: {{kubernetes.io/service-name: {service}}}\naddressType: IPv4\n\
         ports: [{{name: http, port: 8080}}]\nendpoints:\n"
    );
    for last in endpoints {
        let _ = writeln!(
            text,
            "- {{addresses: [{ip}], conditions: {{ready: true}}, nodeName: node-{cluster}, \
             targetRef: {{kind: Pod, namespace: shop, name: {service}-{last}}}}}",
            ip = ip(cluster, *last),
        );
    }
    text
}

fn pod(cluster: &str, name: &str, account: &str, last: u8) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\n  labels: \
         {{security.istio.io/tlsMode: istio}}\nspec: {{serviceAccountName: {account}, nodeName: \
         node-{cluster}, containers: []}}\nstatus: {{podIP: {ip}}}\n",
        ip = ip(cluster, last),
    )
}

fn validity() -> Validity {
    let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
    Validity { not_before: now - day / 24, not_after: now + day }
}

fn issue_by(authority: &Authority, namespace: &str, account: &str, dns: &[&str], dir: &Path) {
    issue_valid(authority, namespace, account, dns, validity(), dir);
}

fn issue_valid(
    authority: &Authority,
    namespace: &str,
    account: &str,
    dns: &[&str],
    validity: Validity,
    dir: &Path,
) {
    let leaf = LeafRequest {
        id: SpiffeId::workload(&TrustDomain::new(DOMAIN).unwrap(), namespace, account).unwrap(),
        dns: dns.iter().map(|name| (*name).to_owned()).collect(),
        ips: Vec::new(),
        validity,
    };
    fs::create_dir_all(dir).unwrap();
    authority.issue(&leaf).unwrap().write(dir).unwrap();
}
