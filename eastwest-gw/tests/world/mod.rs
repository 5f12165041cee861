//! A gateway on loopback, its primary's words, and targets that count who came.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod ends;
#[path = "../../route/tests/hellos/mod.rs"]
pub(crate) mod hellos;
pub(crate) mod lines;
pub(crate) mod mesh;
pub(crate) mod pages;
pub(crate) mod primary;
pub(crate) mod resources;
pub(crate) mod tunnels;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diolkos_eastwest_gw::{Applied, BytePath, End, Gateway, Limits};
use diolkos_ops::{Shutdown, Trigger, listen};
use diolkos_xds::ResourceType;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

pub(crate) use hellos::ISTIO_NAME;

/// Longer than anything takes on a busy machine; nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) address: SocketAddr,
    pub(crate) trigger: Trigger,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default(), Duration::from_secs(30)).await
    }

    pub(crate) async fn with(limits: Limits, drain: Duration) -> Self {
        Self::moving(BytePath::default(), limits, drain).await
    }

    pub(crate) async fn moving(path: BytePath, limits: Limits, drain: Duration) -> Self {
        let (trigger, shutdown) = Shutdown::new();
        let source = Some("127.0.0.77".parse().unwrap());
        let gateway = Gateway::moving(path, limits, source, drain, shutdown).unwrap();
        let gateway = Arc::new(gateway);
        let listener = listen("127.0.0.1:0".parse().unwrap(), limits.backlog).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&gateway);
        tokio::spawn(async move { serving.serve(listener).await });
        let world = Self { gateway, address, trigger };
        world.listener();
        world
    }

    pub(crate) fn listener(&self) {
        let listener = resources::listener(self.address);
        self.apply(ResourceType::Listener, &[("sni", listener)], &[]);
    }

    /// Through the same door as an update of the primary.
    pub(crate) fn apply(
        &self,
        kind: ResourceType,
        upserts: &[(&str, Vec<u8>)],
        removes: &[&str],
    ) -> Applied {
        let upserts: Vec<_> =
            upserts.iter().map(|(name, body)| ((*name).to_owned(), body.clone())).collect();
        let removes: Vec<_> = removes.iter().map(|name| (*name).to_owned()).collect();
        self.gateway.config().apply(kind, &upserts, &removes)
    }

    pub(crate) fn route(&self, name: &str, targets: &[SocketAddr]) {
        let cluster = self.apply(ResourceType::Cluster, &[(name, resources::cluster(name))], &[]);
        let body = resources::endpoints(name, targets);
        let endpoints = self.apply(ResourceType::Endpoint, &[(name, body)], &[]);
        assert_eq!((cluster.faults, endpoints.faults), (vec![], vec![]));
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn connect_from(&self, source: &str) -> TcpStream {
        self.try_from(source).await.unwrap()
    }

    /// How a connection from there failed. One that is not listened to may be reset before it is
    /// even there.
    pub(crate) async fn fault_from(&self, source: &str) -> Option<io::ErrorKind> {
        fault(self.try_from(source).await).await
    }

    pub(crate) async fn try_from(&self, source: &str) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        socket.connect(self.address).await
    }

    pub(crate) fn ends(&self, end: End) -> u64 {
        self.gateway.metrics().ends(end)
    }

    pub(crate) async fn ended(&self, end: End, count: u64) {
        until(|| self.ends(end) == count, &format!("{count} connections end with {end:?}")).await;
    }
}

/// A hello for the one service of these tests, as a mesh client sends it.
pub(crate) fn hello() -> Vec<u8> {
    hellos::named(ISTIO_NAME.as_bytes())
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

    /// Sends back what comes, and says that it is done when the client does.
    pub(crate) async fn echo() -> Self {
        Self::start(|mut stream| async move {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        })
        .await
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// An address where nothing listens.
pub(crate) async fn dead_address() -> SocketAddr {
    TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap()
}

/// Where somebody listens whose queue is full: whoever connects gets neither yes nor no.
pub(crate) struct Deaf {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Deaf {
    pub(crate) async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(connected) =
            timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            queue.push(connected.unwrap());
        }
        Self { address, _listener: listener, _queue: queue }
    }
}

pub(crate) async fn until(condition: impl Fn() -> bool, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Reads `bytes` back.
pub(crate) async fn expect_echo(stream: &mut TcpStream, bytes: &[u8]) {
    let mut back = vec![0; bytes.len()];
    timeout(PATIENCE, stream.read_exact(&mut back)).await.expect("an echo in time").unwrap();
    assert_eq!(back, bytes);
}

pub(crate) async fn fault(connected: io::Result<TcpStream>) -> Option<io::ErrorKind> {
    match connected {
        Ok(mut stream) => read_to_end(&mut stream).await.1,
        Err(fault) => Some(fault.kind()),
    }
}

/// How the other side ended, and what it sent before.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut all = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("an end in time");
    (all, end.err().map(|error| error.kind()))
}

pub(crate) fn shut_down_write(stream: &TcpStream) {
    SockRef::from(stream).shutdown(std::net::Shutdown::Write).unwrap();
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
