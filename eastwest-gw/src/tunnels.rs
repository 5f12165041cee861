//! The port where HBONE's outer tunnels end: the same routes as by SNI, for callers that are seen.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use diolkos_hbone::{End, Limits, Metrics, Refused, Server, ServerSettings};
use diolkos_ops::Shutdown;
use diolkos_xds_client::Credential;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::Config;
use crate::own::Own;

/// What there is of tunnels, for whoever asks.
#[derive(Debug, Serialize)]
pub(crate) struct TunnelsShown {
    pending: i64,
    connections: i64,
    tunnels: i64,
    refused: BTreeMap<&'static str, u64>,
    ended: BTreeMap<&'static str, u64>,
}

impl TunnelsShown {
    pub(crate) fn of(metrics: &Metrics) -> Self {
        let refused = Refused::ALL.map(|one| (one.label(), metrics.refusals(one)));
        let ended = End::ENDINGS.map(|end| (end.label(), metrics.ends(end)));
        Self {
            pending: metrics.pending.get(),
            connections: metrics.connections.get(),
            tunnels: metrics.tunnels.get(),
            refused: refused.into_iter().filter(|(_, count)| *count > 0).collect(),
            ended: ended.into_iter().filter(|(_, count)| *count > 0).collect(),
        }
    }
}

pub(crate) struct Tunnels {
    pub(crate) listener: TcpListener,
    pub(crate) own: Arc<Own>,
    pub(crate) config: Arc<Config>,
    pub(crate) metrics: Metrics,
    pub(crate) source: Option<IpAddr>,
    pub(crate) drain: Duration,
}

impl Tunnels {
    /// Returns when the shutdown has begun and every tunnel has ended or the drain is over. Whoever
    /// comes before there is a certificate and a first word of the primary waits in the queue.
    pub(crate) async fn serve(self, shutdown: Shutdown) {
        let mut plan = self.config.plan();
        let begun = async {
            let own = self.own.in_force().await?;
            plan.wait_for(Option::is_some).await.ok()?;
            Some(own)
        };
        let own = tokio::select! {
            own = begun => own,
            () = shutdown.wait() => None,
        };
        let Some(own) = own else { return };
        let Credential::Certificate(identity) = &own.credential else {
            tracing::warn!("no tunnel ends here: a gateway known by its token has no certificate");
            return;
        };
        let settings = ServerSettings {
            identity: identity.clone(),
            roots: own.roots.clone(),
            gate: self.config,
            limits: Limits::default(),
            source: self.source,
            drain: self.drain,
        };
        if let Ok(address) = self.listener.local_addr() {
            tracing::info!(%address, "ending tunnels");
        }
        let server = Server::new(settings, self.metrics, shutdown);
        server.serve(self.listener).await;
        server.drained().await;
    }
}
