//! Both ends of tunnels: a gateway that is the way out of its network, and the gateway of another
//! network that ends them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diolkos_eastwest_gw::{
    Config, Egress, EgressLimits, EgressSettings, End, Fault, Gateway, Limits,
};
use diolkos_hbone::{Admission, Destination, Gate, Metrics, Refused, Server, ServerSettings};
use diolkos_ops::metrics::Registry;
use diolkos_ops::{Shutdown, Trigger, listen};
use diolkos_tls::{Identity, Peer, Roots};
use diolkos_xds::ResourceType;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::mesh::Mesh;
use super::{resources, until};

/// The account of gateways, in every cluster of a mesh.
pub(crate) const GATEWAY: &str = "gateway";

/// Whoever asked for a tunnel, and of which cluster they were.
type Callers = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// Ends tunnels, by the same routes and exports as a whole gateway.
pub(crate) struct Far {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) trigger: Trigger,
    pub(crate) ended: JoinHandle<()>,
    pub(crate) callers: Callers,
    config: Arc<Config>,
    name: String,
}

struct Seen {
    config: Arc<Config>,
    callers: Callers,
}

impl Gate for Seen {
    fn admit(&self, caller: &Peer, to: &Destination) -> Admission {
        let admission = self.config.admit(caller, to);
        let cluster = admission.cluster.as_deref().map(str::to_owned);
        self.callers.lock().unwrap().push((caller.id.to_string(), cluster));
        admission
    }
}

impl Far {
    pub(crate) async fn start(mesh: &Mesh) -> Self {
        Self::with(mesh, GATEWAY, diolkos_hbone::Limits::default()).await
    }

    pub(crate) async fn with(mesh: &Mesh, account: &str, limits: diolkos_hbone::Limits) -> Self {
        let (config, callers) = (Arc::new(Config::default()), Callers::default());
        let (identity, roots) = mesh.identity(account, &[]);
        let gate = Seen { config: Arc::clone(&config), callers: Arc::clone(&callers) };
        let settings = ServerSettings {
            identity,
            roots,
            gate: Arc::new(gate),
            limits,
            source: None,
            drain: Duration::from_secs(2),
        };
        let (metrics, (trigger, shutdown)) = (Metrics::new(&mut Registry::new()), Shutdown::new());
        let server = Server::new(settings, metrics.clone(), shutdown);
        let listener = TcpListener::bind("127.0.0.3:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ended = tokio::spawn(async move {
            server.serve(listener).await;
            server.drained().await;
        });
        let far = Self {
            address,
            metrics,
            trigger,
            ended,
            callers,
            config,
            name: super::ISTIO_NAME.into(),
        };
        let listener = resources::listener(address);
        far.apply(ResourceType::Listener, "sni", listener);
        far
    }

    /// Where the one service is.
    pub(crate) fn route(&self, target: SocketAddr) {
        let name = self.name.clone();
        self.apply(ResourceType::Cluster, &name, resources::cluster(&name));
        self.apply(ResourceType::Endpoint, &name, resources::endpoints(&name, &[target]));
    }

    /// The same for some clusters only: each is known by its CA.
    pub(crate) fn route_for(&self, target: SocketAddr, clusters: &[(&str, &Mesh)], named: &[&str]) {
        let key =
            |(name, mesh): &(&str, &Mesh)| vec![(*name).to_owned(), mesh.issuer().to_string()];
        let mut callers = vec![vec![String::new()]];
        callers.extend(clusters.iter().map(key));
        let mut listener = resources::listener_message(self.address);
        listener.metadata = Some(resources::metadata("callers", &callers));
        self.apply(ResourceType::Listener, "sni", listener.encode_to_vec());
        let mut cluster = resources::cluster_message(&self.name);
        let named = named.iter().map(|name| (*name).to_owned()).collect();
        cluster.metadata = Some(resources::metadata("consumers", &[named]));
        self.apply(ResourceType::Cluster, &self.name, cluster.encode_to_vec());
        let body = resources::endpoints_of(&self.name, &[(target, "east")]);
        self.apply(ResourceType::Endpoint, &self.name, body);
    }

    fn apply(&self, kind: ResourceType, name: &str, body: Vec<u8>) {
        let applied = self.config.apply(kind, &[(name.to_owned(), body)], &[]);
        assert_eq!(applied.faults, Vec::<String>::new());
    }

    pub(crate) async fn refused(&self, refused: Refused, count: u64) {
        let what = format!("{count} are refused as {refused:?}");
        until(|| self.metrics.refusals(refused) == count, &what).await;
    }
}

/// The way out.
pub(crate) struct Near {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) egress: Arc<Egress>,
    pub(crate) identity: Identity,
    pub(crate) roots: Roots,
    pub(crate) address: SocketAddr,
    pub(crate) trigger: Trigger,
}

/// What a test words differently.
#[derive(Default)]
pub(crate) struct Wording {
    pub(crate) limits: Limits,
    pub(crate) egress: EgressLimits,
    pub(crate) drain: Option<Duration>,
    /// The accounts that other gateways may have; none: the usual one.
    pub(crate) gateways: Vec<&'static str>,
}

impl Near {
    pub(crate) async fn start(mesh: &Mesh) -> Self {
        Self::with(mesh, Wording::default()).await
    }

    pub(crate) async fn with(mesh: &Mesh, wording: Wording) -> Self {
        let Wording { limits, egress, drain, gateways } = wording;
        let (trigger, shutdown) = Shutdown::new();
        let drain = drain.unwrap_or(Duration::from_secs(30));
        let gateway = Arc::new(Gateway::new(limits, None, drain, shutdown).unwrap());
        let listener = listen("127.0.0.1:0".parse().unwrap(), limits.backlog).unwrap();
        let address = listener.local_addr().unwrap();
        let gateways = gateways.into_iter().map(Mesh::id).collect();
        let settings = EgressSettings { listen: address, gateways, limits: egress };
        let egress = Egress::new(&settings, None, limits, &mut Registry::new());
        let (identity, roots) = mesh.identity(GATEWAY, &[]);
        egress.enters(identity.clone(), roots.clone());
        let (serving, out) = (Arc::clone(&gateway), Arc::clone(&egress));
        tokio::spawn(async move { serving.serve_egress(listener, out).await });
        let near = Self { gateway, egress, identity, roots, address, trigger };
        near.apply(ResourceType::Listener, "sni", resources::listener(address));
        near
    }

    /// Gateways that lead to the one service, the first first.
    pub(crate) fn route(&self, gateways: &[SocketAddr]) {
        self.route_of(super::ISTIO_NAME, gateways);
    }

    pub(crate) fn route_of(&self, name: &str, gateways: &[SocketAddr]) {
        self.apply(ResourceType::Cluster, name, resources::cluster(name));
        self.apply(ResourceType::Endpoint, name, resources::endpoints(name, gateways));
    }

    fn apply(&self, kind: ResourceType, name: &str, body: Vec<u8>) {
        let applied = self.egress.config().apply(kind, &[(name.to_owned(), body)], &[]);
        assert_eq!(applied.faults, Vec::<String>::new());
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) fn ends(&self, end: End) -> u64 {
        self.gateway.metrics().ends(end)
    }

    pub(crate) async fn ended(&self, end: End, count: u64) {
        let told = || -> Vec<(&str, u64)> {
            let all = End::refusals().chain(End::ENDINGS).map(|end| (end.label(), self.ends(end)));
            all.filter(|(_, count)| *count > 0).collect()
        };
        let deadline = tokio::time::Instant::now() + super::PATIENCE;
        while self.ends(end) != count {
            let late = tokio::time::Instant::now() >= deadline;
            assert!(!late, "in vain: {count} end with {end:?}, of {:?}", told());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn connections(&self, count: i64) {
        let metrics = self.egress.metrics();
        until(|| metrics.connections.get() == count, &format!("{count} connections")).await;
    }

    pub(crate) async fn tunnels(&self, count: i64) {
        let metrics = self.egress.metrics();
        until(|| metrics.tunnels.get() == count, &format!("{count} tunnels")).await;
    }

    pub(crate) fn failures(&self, fault: Fault) -> u64 {
        self.egress.metrics().failures(fault)
    }

    /// Whether the last dial of the first target of the one route worked.
    pub(crate) fn last_dials(&self) -> Vec<Option<bool>> {
        let routes = self.egress.config().routes();
        routes[0].dials().map(|(_, dial)| dial.map(|dial| dial.connected)).collect()
    }
}

/// A wire to a gateway that can go dead: nothing passes any more, nothing breaks.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    dead: watch::Sender<bool>,
    cuts: watch::Sender<u32>,
    accepted: Arc<AtomicU64>,
}

impl Wire {
    pub(crate) async fn to(far: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.4:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (dead, accepted) = (watch::Sender::new(false), Arc::new(AtomicU64::new(0)));
        let cuts = watch::Sender::new(0);
        let (die, cut, count) = (dead.clone(), cuts.clone(), Arc::clone(&accepted));
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (mut die, mut cut) = (die.subscribe(), cut.subscribe());
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(far).await.unwrap();
                    tokio::select! {
                        biased;
                        died = die.wait_for(|dead| *dead) => drop(died),
                        _ = cut.changed() => return,
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { address, dead, cuts, accepted }
    }

    pub(crate) fn die(&self) {
        self.dead.send_replace(true);
    }

    /// Those there are break; new ones pass.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }
}
