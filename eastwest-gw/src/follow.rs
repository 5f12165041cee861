//! Follows the control plane: its updates into the configuration, the verdicts back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use diolkos_ops::metrics::{Counter, Gauge};
use diolkos_ops::printable;
use diolkos_xds::ResourceType;
use diolkos_xds_client::{ClientSettings, Incoming, Subscription, Update, XdsHandle, connect};
use serde::Serialize;

use crate::{Config, ControlPlane, Metrics};

/// What a stream is counted in.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    pub(crate) routes: Gauge,
    pub(crate) connected: Gauge,
    pub(crate) refused: Counter,
}

impl Followed {
    pub(crate) fn of(metrics: &Metrics) -> Self {
        Self {
            routes: metrics.routes.clone(),
            connected: metrics.xds_connected.clone(),
            refused: metrics.xds_refused.clone(),
        }
    }
}

/// Of a reason, so much is kept for the debug page.
const REASON_CHARS_MAX: usize = 1024;

/// What is known of the stream, for whoever asks.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stream {
    pub connected: bool,
    /// Since 1970, when the last stream began.
    pub since_seconds: Option<u64>,
    pub updates: u64,
    pub last_disconnect: Option<String>,
    /// The last update that was refused, and why.
    pub last_nack: Option<String>,
}

pub(crate) type SharedStream = Arc<Mutex<Stream>>;

pub(crate) async fn follow(
    settings: ClientSettings,
    whom: ControlPlane,
    config: Arc<Config>,
    metrics: Followed,
    stream: SharedStream,
) {
    let name = whom.name();
    let subscribe = vec![
        (ResourceType::Cluster, Subscription::Wildcard),
        (ResourceType::Endpoint, Subscription::Names(Vec::new())),
        (ResourceType::Listener, Subscription::Wildcard),
    ];
    let (handle, mut incoming) = connect(settings, subscribe);
    while let Some(event) = incoming.recv().await {
        match event {
            Incoming::Connected => {
                tracing::info!("connected to the {name}");
                metrics.connected.set(1);
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                note(&stream, |stream| {
                    stream.connected = true;
                    stream.since_seconds = now.ok().map(|since| since.as_secs());
                });
            }
            Incoming::Disconnected { why } => {
                let why = shown(why.text());
                tracing::warn!(why, "no {name}; keeping what is known");
                metrics.connected.set(0);
                note(&stream, |stream| {
                    stream.connected = false;
                    stream.last_disconnect = Some(why);
                });
            }
            Incoming::Update(update) => take(update, whom, &config, &metrics, &stream, &handle),
        }
    }
}

fn take(
    update: Update,
    whom: ControlPlane,
    config: &Config,
    metrics: &Followed,
    stream: &SharedStream,
    handle: &XdsHandle,
) {
    let applied = config.apply_of(whom, update.kind, &update.upserts, &update.removes);
    metrics.routes.set(i64::try_from(config.route_count()).unwrap_or(i64::MAX));
    note(stream, |stream| stream.updates += 1);
    let kind = update.kind;
    match applied.refusal() {
        None => update.accept(),
        Some(reason) => {
            metrics.refused.inc();
            let reason = shown(&reason);
            tracing::warn!(%kind, reason, "part of an update is refused");
            note(stream, |stream| stream.last_nack = Some(format!("{kind}: {reason}")));
            update.reject(reason);
        }
    }
    if !applied.unsubscribe.is_empty() {
        handle.unsubscribe(ResourceType::Endpoint, applied.unsubscribe);
    }
    if !applied.subscribe.is_empty() {
        handle.subscribe(ResourceType::Endpoint, applied.subscribe);
    }
}

fn note(stream: &SharedStream, change: impl FnOnce(&mut Stream)) {
    change(&mut stream.lock().unwrap_or_else(PoisonError::into_inner));
}

fn shown(text: &str) -> String {
    printable(text).chars().take(REASON_CHARS_MAX).collect()
}
