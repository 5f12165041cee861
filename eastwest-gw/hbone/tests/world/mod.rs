//! A server of tunnels on loopback, a gate that a test words, and targets that count who came.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod raw;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use diolkos_hbone::{
    Admission, Destination, End, Gate, Limits, Metrics, Outer, OuterError, Refused, Server,
    ServerSettings,
};
use diolkos_ops::metrics::Registry;
use diolkos_ops::{Shutdown, Trigger};
use diolkos_route::{HostName, Route, Target as RouteTarget, sni};
use diolkos_tls::{Expect, Identity, Peer, Roots};
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{Authority, LeafRequest, Validity};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything takes on a busy machine; nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const CATALOG: &str = "catalog.shop.svc.cluster.local:8080";

pub(crate) const GATEWAY: &str = "spiffe://cluster.local/ns/diolkos-system/sa/eastwest";

pub(crate) fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

pub(crate) fn domain() -> TrustDomain {
    TrustDomain::new("cluster.local").unwrap()
}

/// One root, and whoever it signs for.
#[derive(Clone)]
pub(crate) struct Mesh {
    root: Arc<Authority>,
    folder: Arc<TempDir>,
}

fn validity() -> Validity {
    let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
    Validity { not_before: now - day, not_after: now + day }
}

impl Mesh {
    pub(crate) fn new() -> Self {
        Self {
            root: Arc::new(Authority::new_root("test", validity()).unwrap()),
            folder: Arc::new(tempfile::tempdir().unwrap()),
        }
    }

    /// Signed by the root itself; its folder is good for `diolkos_tls` and for Envoy.
    pub(crate) fn identity(&self, id: &str) -> (Identity, Roots) {
        let leaf = LeafRequest { id: self::id(id), dns: vec![], ips: vec![], validity: validity() };
        let folder: &Path = &self.folder.path().join(id.replace(['/', ':'], "_"));
        self.root.issue(&leaf).unwrap().write(folder).unwrap();
        (Identity::load(folder).unwrap(), Roots::load(folder, &domain()).unwrap())
    }
}

/// Its targets, and the accounts that may reach it; none means everybody.
type Service = (Vec<SocketAddr>, Vec<SpiffeId>);

/// Services by their `host:port`.
#[derive(Default)]
pub(crate) struct Table {
    services: Mutex<BTreeMap<String, Service>>,
    asked: AtomicUsize,
}

impl Gate for Table {
    fn admit(&self, caller: &Peer, to: &Destination) -> Admission {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let services = self.services.lock().unwrap();
        let route = match services.get(&to.to_string()) {
            None => Err(Refused::UnknownService),
            Some((_, callers)) if !callers.is_empty() && !callers.contains(&caller.id) => {
                Err(Refused::NotExported)
            }
            Some((targets, _)) if targets.is_empty() => Err(Refused::NoEndpoints),
            Some((targets, _)) => {
                let name = sni::encode(to.port(), "", to.host().as_str());
                let target = |(priority, address): (u32, &SocketAddr)| RouteTarget {
                    address: *address,
                    weight: 1,
                    priority,
                };
                let targets = (0..).zip(targets).map(target).collect();
                Ok(Arc::new(Route::new(HostName::new(name.as_bytes()).unwrap(), targets)))
            }
        };
        Admission { cluster: None, route }
    }
}

pub(crate) struct World {
    pub(crate) mesh: Mesh,
    pub(crate) table: Arc<Table>,
    pub(crate) metrics: Metrics,
    pub(crate) address: SocketAddr,
    pub(crate) trigger: Trigger,
    pub(crate) ended: JoinHandle<()>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default(), Duration::from_secs(30)).await
    }

    pub(crate) async fn with(limits: Limits, drain: Duration) -> Self {
        Self::of(Mesh::new(), GATEWAY, limits, drain).await
    }

    /// Of the same mesh, with another name: the end of an inner tunnel.
    pub(crate) async fn start_as(mesh: &Mesh, id: &str) -> Self {
        Self::of(mesh.clone(), id, Limits::default(), Duration::from_secs(30)).await
    }

    async fn of(mesh: Mesh, id: &str, limits: Limits, drain: Duration) -> Self {
        let (identity, roots) = mesh.identity(id);
        let table = Arc::new(Table::default());
        let settings = ServerSettings {
            identity,
            roots,
            gate: Arc::clone(&table) as Arc<dyn Gate>,
            limits,
            source: None,
            drain,
        };
        let (metrics, (trigger, shutdown)) = (Metrics::new(&mut Registry::new()), Shutdown::new());
        let server = Server::new(settings, metrics.clone(), shutdown);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ended = tokio::spawn(async move {
            server.serve(listener).await;
            server.drained().await;
        });
        Self { mesh, table, metrics, address, trigger, ended }
    }

    pub(crate) fn route(&self, authority: &str, targets: &[SocketAddr]) {
        self.route_for(authority, targets, &[]);
    }

    pub(crate) fn route_for(&self, authority: &str, targets: &[SocketAddr], callers: &[&str]) {
        let callers = callers.iter().map(|caller| id(caller)).collect();
        let mut services = self.table.services.lock().unwrap();
        services.insert(authority.into(), (targets.to_vec(), callers));
    }

    /// How often the gate was asked.
    pub(crate) fn asked(&self) -> usize {
        self.table.asked.load(Ordering::SeqCst)
    }

    pub(crate) async fn outer(&self) -> Outer {
        self.outer_of(&account("web")).await.unwrap()
    }

    pub(crate) async fn outer_of(&self, caller: &str) -> Result<Outer, OuterError> {
        let (identity, roots) = self.mesh.identity(caller);
        self.outer_as(&identity, &roots, GATEWAY).await
    }

    pub(crate) async fn outer_as(
        &self,
        identity: &Identity,
        roots: &Roots,
        server: &str,
    ) -> Result<Outer, OuterError> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let expect = Expect::Ids(vec![id(server)]);
        in_time(Outer::connect(stream, identity, roots, expect)).await
    }

    pub(crate) async fn refused(&self, refused: Refused, count: u64) {
        let what = || format!("{count} refused as {refused:?}, of {}", self.counted());
        until_told(|| self.metrics.refusals(refused) == count, what).await;
    }

    pub(crate) async fn opened(&self, count: u64) {
        until(|| self.metrics.opened.get() == count, &format!("{count} tunnels open")).await;
    }

    pub(crate) async fn ended(&self, end: End, count: u64) {
        let what = || format!("{count} end with {end:?}, of {}", self.counted());
        until_told(|| self.metrics.ends(end) == count, what).await;
    }

    fn counted(&self) -> String {
        let ends = End::ENDINGS.into_iter().chain(Refused::ALL.map(End::Refused));
        let counts = ends.map(|end| (end.label(), self.metrics.ends(end)));
        let counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
        let (asked, opened) = (self.asked(), self.metrics.opened.get());
        let (live, tunnels) = (self.metrics.connections.get(), self.metrics.tunnels.get());
        format!("{counts:?}, {asked} asked, {opened} opened, {live} connections, {tunnels} open")
    }
}

pub(crate) fn account(name: &str) -> String {
    format!("spiffe://cluster.local/ns/shop/sa/{name}")
}

/// A server behind the gateway.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Target {
    pub(crate) async fn start<F, S>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        Self { address, accepted }
    }

    /// Sends everything back, then closes.
    pub(crate) async fn echo() -> Self {
        Self::start(|mut stream| async move {
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        })
        .await
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

pub(crate) async fn until(holds: impl Fn() -> bool, what: &str) {
    until_told(holds, || what.to_owned()).await;
}

async fn until_told(holds: impl Fn() -> bool, what: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {}", what());
        sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it takes far too long")
}

/// Reads `bytes` back.
pub(crate) async fn expect_echo<S: AsyncReadExt + Unpin>(stream: &mut S, bytes: &[u8]) {
    let mut back = vec![0; bytes.len()];
    in_time(stream.read_exact(&mut back)).await.unwrap();
    assert!(back == bytes, "{} bytes came back as others", bytes.len());
}

/// Bytes that no shift or repetition leaves equal.
pub(crate) fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
