//! The way out at work: told by the primary, on a stream of its own, whom it may lead where.

use std::net::IpAddr;
use std::sync::Arc;

use diolkos_ops::Shutdown;
use diolkos_trust_client::PrimaryName;
use diolkos_xds_client::{Backoff, Credential, NodeClaims};
use tokio::net::TcpListener;

use crate::own::Own;
use crate::{ControlPlane, Egress, Gateway, asking, follow};

/// By which a primary knows what such a stream is for, and on which port its clients come.
const EGRESS_PORT: &str = "EGRESS_PORT";

/// Said on the other stream.
const HBONE_PORT: &str = "HBONE_PORT";

pub(crate) struct Out {
    pub(crate) listener: TcpListener,
    pub(crate) egress: Arc<Egress>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) own: Arc<Own>,
    pub(crate) upstream: (PrimaryName, NodeClaims, Backoff),
    pub(crate) source: Option<IpAddr>,
}

impl Out {
    /// Returns when the shutdown has begun and all who were in the queue are served. Whoever comes
    /// before there is a certificate and a first word of the primary waits in the queue.
    pub(crate) async fn serve(self, shutdown: Shutdown) {
        let own = tokio::select! {
            own = self.own.in_force() => own,
            () = shutdown.wait() => None,
        };
        let Some(own) = own else { return };
        let Credential::Certificate(identity) = &own.credential else {
            tracing::warn!("no way out: a gateway known by its token has no certificate");
            return;
        };
        let egress = &self.egress;
        egress.enters(identity.clone(), own.roots.clone());
        let asking = asking(self.upstream(), ControlPlane::Primary, &own, self.source);
        let followed = egress.followed(self.gateway.metrics());
        let (config, stream) = (Arc::clone(egress.config()), Arc::clone(egress.stream()));
        let following = follow::follow(asking, ControlPlane::Primary, config, followed, stream);
        let mut plan = egress.config().plan();
        let (gateway, listener) = (self.gateway, self.listener);
        let serving = async {
            tokio::select! {
                told = plan.wait_for(Option::is_some) => if told.is_err() { return },
                () = shutdown.wait() => return,
            }
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "letting out");
            }
            gateway.serve_egress(listener, Arc::clone(egress)).await;
        };
        tokio::select! {
            () = following => {}
            () = serving => {}
        }
    }

    fn upstream(&self) -> (PrimaryName, NodeClaims, Backoff) {
        let (primary, mut node, backoff) = self.upstream.clone();
        node.extra.remove(HBONE_PORT);
        if let Ok(address) = self.listener.local_addr() {
            node.extra.insert(EGRESS_PORT.to_owned(), address.port().to_string());
        }
        (primary, node, backoff)
    }
}
