//! A client that walks the mesh as a proxy does: ADS, endpoint, mutual TLS, identity check.

mod balance;
mod exchange;
mod target;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diolkos_tls::{Identity, Roots};
use diolkos_xds::ResourceType;
use diolkos_xds_client::{ClientSettings, Incoming, Subscription, Update, Why};
use tokio::sync::watch;

use self::balance::Balance;
pub(crate) use self::exchange::{
    Failure, Heard, Inner, RefusedBy, Speaker, Stage, TunnelThrough, plain,
};
use self::target::{Candidate, Through, Upstream};

/// A service port as the client's control plane names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    fn cluster(&self) -> String {
        format!("outbound|{}||{}", self.port, self.host)
    }
}

/// What one request met on its way.
#[derive(Debug)]
pub(crate) struct Walked {
    pub(crate) address: SocketAddr,
    pub(crate) through_gateway_of: Option<String>,
    pub(crate) attempts: usize,
    pub(crate) heard: Heard,
}

/// One stream to the primary, shared by all requests.
#[derive(Debug)]
pub(crate) struct Walker {
    services: Arc<Services>,
    speaker: Speaker,
    // Its end is the stream's end.
    _stream: diolkos_xds_client::XdsHandle,
}

#[derive(Debug)]
struct Services {
    by_cluster: Mutex<BTreeMap<String, Service>>,
    changed: watch::Sender<u64>,
    /// Why the primary does not talk to us, if it does not.
    refusal: Mutex<Option<Why>>,
}

#[derive(Debug, Default)]
struct Service {
    upstream: Option<Upstream>,
    candidates: Option<Vec<Candidate>>,
    balance: Balance,
}

impl Walker {
    /// The speaker is who servers see, however the primary knows us.
    pub(crate) fn start(settings: ClientSettings, speaker: Speaker, targets: &[Target]) -> Self {
        let names: Vec<String> = targets.iter().map(Target::cluster).collect();
        let services = Arc::new(Services {
            by_cluster: Mutex::new(
                names.iter().map(|name| (name.clone(), Service::default())).collect(),
            ),
            changed: watch::Sender::new(0),
            refusal: Mutex::new(None),
        });
        let subscriptions = vec![
            (ResourceType::Cluster, Subscription::Names(names.clone())),
            (ResourceType::Endpoint, Subscription::Names(names)),
        ];
        let (stream, mut incoming) = diolkos_xds_client::connect(settings, subscriptions);
        let listening = services.clone();
        tokio::spawn(async move {
            while let Some(event) = incoming.recv().await {
                listening.hear(event);
            }
        });
        Self { services, speaker, _stream: stream }
    }

    /// Waits until the primary has said where the target is.
    pub(crate) async fn ready(&self, target: &Target, within: Duration) -> Result<(), Failure> {
        let mut changed = self.services.changed.subscribe();
        let known = async {
            while !self.services.knows(&target.cluster()) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(within, known).await.is_ok() {
            return Ok(());
        }
        let refusal = lock(&self.services.refusal).clone();
        let why = match &refusal {
            Some(why) => why.to_string(),
            None => format!("the primary has not said where {}:{} is", target.host, target.port),
        };
        let refused_by = match refusal {
            Some(Why::Refused(_)) => RefusedBy::Primary,
            Some(Why::Own(_) | Why::Untrusted(_)) => RefusedBy::Client,
            Some(Why::Away(_) | Why::Ended(_)) | None => RefusedBy::Nobody,
        };
        Err(Failure::new(Stage::Discovery, refused_by, why))
    }

    /// One request: on a failed connection the next address is tried, as Envoy's default retries do.
    pub(crate) async fn request(&self, target: &Target, path: &str) -> Result<Walked, Failure> {
        let mut tried = Vec::new();
        let mut last = None;
        while tried.len() < ATTEMPTS_MAX {
            let Some((upstream, candidate)) = self.services.pick(&target.cluster(), &tried) else {
                break;
            };
            tried.push(candidate.address);
            match self.attempt(&upstream, &candidate, target, path).await {
                Ok(heard) => {
                    let through_gateway_of = match candidate.through {
                        Through::Gateway { cluster } => Some(cluster),
                        Through::Direct { .. } => None,
                    };
                    return Ok(Walked {
                        address: candidate.address,
                        through_gateway_of,
                        attempts: tried.len(),
                        heard,
                    });
                }
                Err(failure) => {
                    self.services.eject(&target.cluster(), candidate.address);
                    let retry = failure.stage.before_request();
                    last = Some(failure);
                    if !retry {
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            Failure::new(
                Stage::Discovery,
                RefusedBy::Nobody,
                format!("{}:{} has no endpoint in this view", target.host, target.port),
            )
        }))
    }

    async fn attempt(
        &self,
        upstream: &Option<Upstream>,
        candidate: &Candidate,
        target: &Target,
        path: &str,
    ) -> Result<Heard, Failure> {
        let authority = format!("{}:{}", target.host, target.port);
        match upstream {
            Some(upstream) if candidate.mtls => {
                self.speaker
                    .mtls(candidate.address, &upstream.sni, &upstream.identities, &authority, path)
                    .await
            }
            _ if candidate.mtls => Err(Failure::new(
                Stage::Discovery,
                RefusedBy::Client,
                format!("{} speaks mTLS but its cluster names no identity", candidate.address),
            )),
            _ => plain(candidate.address, self.speaker.source, &authority, path).await,
        }
    }
}

impl Services {
    fn hear(&self, event: Incoming) {
        match event {
            Incoming::Connected => *lock(&self.refusal) = None,
            Incoming::Disconnected { why } => {
                tracing::info!(%why, "stream to the primary ended");
                *lock(&self.refusal) = Some(why);
            }
            Incoming::Update(update) => match self.learn(&update) {
                Ok(()) => update.accept(),
                Err(why) => update.reject(&why),
            },
        }
        self.changed.send_modify(|count| *count += 1);
    }

    fn learn(&self, update: &Update) -> Result<(), String> {
        let mut services = lock(&self.by_cluster);
        for (name, body) in &update.upserts {
            let Some(service) = services.get_mut(name.as_str()) else { continue };
            let read = match update.kind {
                ResourceType::Cluster => target::upstream(body).map(|it| service.upstream = it),
                ResourceType::Endpoint => target::candidates(body).map(|candidates| {
                    service.candidates = Some(candidates);
                    service.balance.reset();
                }),
                _ => Ok(()),
            };
            read.map_err(|error| format!("{name}: {error}"))?;
        }
        for name in &update.removes {
            let Some(service) = services.get_mut(name.as_str()) else { continue };
            match update.kind {
                ResourceType::Cluster => service.upstream = None,
                ResourceType::Endpoint => service.candidates = None,
                _ => {}
            }
        }
        Ok(())
    }

    fn knows(&self, cluster: &str) -> bool {
        let services = lock(&self.by_cluster);
        let known = |it: &Service| it.candidates.as_ref().is_some_and(|list| !list.is_empty());
        services.get(cluster).is_some_and(known)
    }

    fn pick(&self, cluster: &str, tried: &[SocketAddr]) -> Option<(Option<Upstream>, Candidate)> {
        let mut services = lock(&self.by_cluster);
        let Service { upstream, candidates, balance } = services.get_mut(cluster)?;
        let candidate = balance.pick(candidates.as_deref()?, tried, Instant::now())?.clone();
        Some((upstream.clone(), candidate))
    }

    fn eject(&self, cluster: &str, address: SocketAddr) {
        if let Some(service) = lock(&self.by_cluster).get_mut(cluster) {
            service.balance.eject(address, Instant::now());
        }
    }
}

/// Everything under these locks is replaced whole, so a panic elsewhere leaves it sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first try and Envoy's two retries.
const ATTEMPTS_MAX: usize = 3;

impl Speaker {
    pub(crate) fn new(identity: Identity, roots: Roots, source: Option<IpAddr>) -> Self {
        Self { identity, roots, source }
    }
}
