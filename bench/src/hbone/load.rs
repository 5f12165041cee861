//! Clients of tunnels and the backend behind them, on one thread of one core: neither is what is
//! measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use diolkos_hbone::{Outer, Tunnel};
use diolkos_tls::{Expect, Identity, Roots};
use diolkos_trust::TrustDomain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::gateway::routes::DOMAIN;

const ANSWER_BYTES: usize = 64;
const REQUEST_BYTES: usize = 100;
const RESPONSE_BYTES: usize = 200;
const CHUNK_BYTES: usize = 64 * 1024;
const SETTLE: Duration = Duration::from_millis(300);
/// Fewer than a server lets one connection have.
const TUNNELS_EACH: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Job {
    /// A tunnel on a connection that is there, 16 at a time.
    Tunnel,
    /// A connection, and a tunnel on it, 16 at a time.
    Connection,
    /// Bytes to the client, over four connections of two tunnels.
    Down,
    Up,
    /// A request at a time.
    One,
    /// A request at a time in each of 64 tunnels of four connections.
    Many,
}

impl Job {
    pub(super) const ALL: [Self; 6] =
        [Self::Tunnel, Self::Connection, Self::Down, Self::Up, Self::One, Self::Many];

    /// Connections, and clients on each.
    fn shape(self) -> (usize, usize) {
        match self {
            Self::Tunnel | Self::Connection => (1, 16),
            Self::Down | Self::Up => (4, 2),
            Self::One => (1, 1),
            Self::Many => (4, 16),
        }
    }
}

/// What a client asks of the backend by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Answer,
    Pour,
    Drain,
    Converse,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Answer, Self::Pour, Self::Drain, Self::Converse];

    fn of(job: Job) -> Self {
        match job {
            Job::Tunnel | Job::Connection => Self::Answer,
            Job::Down => Self::Pour,
            Job::Up => Self::Drain,
            Job::One | Job::Many => Self::Converse,
        }
    }
}

/// What was done in a while.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Tunnels, or requests.
    pub(super) count: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) failures: AtomicU64,
    latencies: Mutex<Vec<f64>>,
}

impl Seen {
    fn done(&self, since: Instant) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let took = since.elapsed().as_secs_f64() * 1e6;
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }

    fn reset(&self) {
        for count in [&self.count, &self.bytes, &self.failures] {
            count.store(0, Ordering::Relaxed);
        }
        self.latencies();
    }

    /// Microseconds.
    pub(super) fn latencies(&self) -> Vec<f64> {
        std::mem::take(&mut self.latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Clone)]
pub(super) struct Load {
    pub(super) backend: SocketAddr,
    pub(super) seen: Arc<Seen>,
    identity: Identity,
    roots: Roots,
}

impl Load {
    /// Its backend answers as long as the runtime is run.
    pub(super) async fn new(certificates: &Path) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).await?;
        let (backend, seen) = (listener.local_addr()?, Arc::new(Seen::default()));
        tokio::spawn(accept(listener, Arc::clone(&seen)));
        let (folder, domain) = (certificates.join("gateway"), TrustDomain::new(DOMAIN)?);
        let (identity, roots) = (Identity::load(&folder)?, Roots::load(&folder, &domain)?);
        Ok(Self { backend, seen, identity, roots })
    }

    pub(super) async fn connect(&self, to: SocketAddr) -> anyhow::Result<Outer> {
        let socket = TcpSocket::new_v4()?;
        // From one of many addresses: a gateway may bound what one source has.
        socket.bind((Ipv4Addr::new(127, 1, 0, rand::random_range(1..=250)), 0).into())?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        let expect = Expect::AnyOf(vec![TrustDomain::new(DOMAIN)?]);
        Ok(Outer::connect(stream, &self.identity, &self.roots, expect).await?)
    }

    /// Does a job, and for `time` of it counts; `cpu` is read at both ends of that.
    pub(super) async fn work(
        &self,
        job: Job,
        (to, authority): (SocketAddr, &str),
        time: Duration,
        cpu: impl Fn() -> u64,
    ) -> anyhow::Result<(u64, Duration)> {
        let (connections, clients) = job.shape();
        let mut all = JoinSet::new();
        for _ in 0..connections {
            let outer = self.connect(to).await.context("cannot reach the server of tunnels")?;
            for _ in 0..clients {
                let client = Client {
                    job,
                    load: self.clone(),
                    outer: outer.clone(),
                    to,
                    authority: authority.into(),
                };
                all.spawn(client.run());
            }
        }
        sleep(SETTLE).await;
        self.seen.reset();
        let (before, begin) = (cpu(), Instant::now());
        sleep(time).await;
        let (spent, took) = (cpu() - before, begin.elapsed());
        all.shutdown().await;
        Ok((spent, took))
    }

    /// Tunnels that have been used once, and stand idle as long as what is returned lives.
    pub(super) async fn hold(
        &self,
        (to, authority): (SocketAddr, &str),
        count: usize,
    ) -> anyhow::Result<Vec<Tunnel>> {
        let mut held = Vec::new();
        while held.len() < count {
            let outer = self.connect(to).await?;
            for _ in 0..TUNNELS_EACH.min(count - held.len()) {
                let mut tunnel = outer.open(authority).await?;
                tunnel.write_all(&[Mode::Converse as u8]).await?;
                converse(&mut tunnel).await?;
                held.push(tunnel);
            }
        }
        Ok(held)
    }
}

struct Client {
    job: Job,
    load: Load,
    outer: Outer,
    to: SocketAddr,
    authority: String,
}

impl Client {
    async fn run(self) {
        loop {
            if let Err(cause) = self.once().await {
                self.load.seen.failures.fetch_add(1, Ordering::Relaxed);
                eprintln!("{:?}: {cause:#}", self.job);
                sleep(SETTLE).await;
            }
        }
    }

    async fn once(&self) -> anyhow::Result<()> {
        let (since, mode) = (Instant::now(), Mode::of(self.job));
        let outer = match self.job {
            Job::Connection => self.load.connect(self.to).await?,
            _ => self.outer.clone(),
        };
        let mut tunnel = outer.open(&self.authority).await?;
        tunnel.write_all(&[mode as u8]).await?;
        let seen = &self.load.seen;
        match mode {
            Mode::Answer => {
                tunnel.read_exact(&mut [0; ANSWER_BYTES]).await?;
                seen.done(since);
                // A server that said its end may have forgotten the stream already.
                let _ = tunnel.shutdown().await;
                Ok(())
            }
            Mode::Pour => count(&mut tunnel, seen).await,
            Mode::Drain => {
                let chunk = vec![0; CHUNK_BYTES];
                loop {
                    tunnel.write_all(&chunk).await?;
                }
            }
            Mode::Converse => loop {
                let since = Instant::now();
                converse(&mut tunnel).await?;
                seen.done(since);
            },
        }
    }
}

async fn converse(tunnel: &mut Tunnel) -> anyhow::Result<()> {
    tunnel.write_all(&[0; REQUEST_BYTES]).await?;
    tunnel.read_exact(&mut [0; RESPONSE_BYTES]).await?;
    Ok(())
}

async fn count(from: &mut (impl AsyncReadExt + Unpin), seen: &Seen) -> anyhow::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        anyhow::ensure!(read > 0, "it ended");
        seen.bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            // It ends when its client does.
            let _ = serve(stream, &seen).await;
        });
    }
}

async fn serve(mut stream: TcpStream, seen: &Seen) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mode = stream.read_u8().await?;
    let mode = Mode::ALL.into_iter().find(|one| *one as u8 == mode).context("no such mode")?;
    match mode {
        Mode::Answer => Ok(stream.write_all(&[0; ANSWER_BYTES]).await?),
        Mode::Pour => {
            let chunk = vec![0; CHUNK_BYTES];
            loop {
                stream.write_all(&chunk).await?;
            }
        }
        Mode::Drain => count(&mut stream, seen).await,
        Mode::Converse => loop {
            stream.read_exact(&mut [0; REQUEST_BYTES]).await?;
            stream.write_all(&[0; RESPONSE_BYTES]).await?;
        },
    }
}
