//! The east-west gateway: carries connections by the name in their ClientHello, without ending
//! their TLS.
//!
//! ```text
//!  primary ──ADS──> follow ──> Config (routes, one listener)
//!                                 │ decide
//!  client ──> admit ──> hello ────┴──> dial ──> relay <──> target
//!              │ RST      │ close        │ next target, at most three
//! ```
//!
//! - What is decided, and on which bytes, is in `diolkos-route`; here are sockets, time and counts.
//! - Nothing is dialed before a name, exactly as it stands, is found in the table.
//! - What the primary said last holds until it says otherwise; without one the gateway goes on.
//! - Every connection ends in one line of the access log and one count, with an [`End`].
//! - The byte path is [`engine`]'s alone, with an event loop for each core; tokio does all else.
//! - Tunnels (HBONE) end here as well, where that is asked for: by the same routes, for callers
//!   whose cluster their certificate proves.
//! - The same gateway may be the way out of its network, by tunnels of its own: [`Egress`].

mod access;
mod admin;
mod config;
mod control;
mod egress;
mod end;
mod engine;
mod exports;
mod files;
mod follow;
mod gateway;
pub mod limit;
mod metrics;
mod out;
mod own;
pub mod resource;
mod settings;
mod shared;
mod standing;
mod tunnels;
mod unknown;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use diolkos_ops::metrics::Registry;
use diolkos_ops::{Drain, Shutdown, listen, serve_admin};
use diolkos_trust_client::PrimaryName;
use diolkos_xds_client::{Backoff, ClientSettings, NodeClaims};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use config::{Applied, Config, ControlPlane, Named};
pub use control::{Control, ControlPort};
pub use egress::{Egress, EgressMetrics, Fault};
pub use end::End;
pub use follow::Stream;
pub use gateway::Gateway;
pub use metrics::{Direction, Metrics};
pub use own::OwnIdentity;
pub use settings::{BytePath, EgressLimits, EgressSettings, GatewaySettings, Limits, Moves};
pub use standing::NotInForce;

use follow::Followed;
use out::Out;
use own::{InForce, Own};
use resource::ListenerPlan;
use shared::Shared;
use tunnels::Tunnels;

/// Before an address that could not be listened on is tried again.
const BIND_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("cannot listen on {address}: {cause}; is another gateway running there?")]
    Listen { address: SocketAddr, cause: io::Error },
    #[error("cannot serve the admin endpoint on {address}: {cause}")]
    Admin { address: SocketAddr, cause: io::Error },
    #[error("cannot answer health on {address}: {cause}")]
    Health { address: SocketAddr, cause: io::Error },
    #[error("cannot start an event loop: {0}; raise the limits on open files and threads")]
    Engine(io::Error),
}

/// Runs until the shutdown has begun and every connection has ended or the drain is over.
///
/// # Errors
/// When an address that the settings name cannot be listened on.
pub async fn run(settings: GatewaySettings, shutdown: Shutdown) -> Result<(), GatewayError> {
    let GatewaySettings { limits, source, drain, .. } = settings;
    let bind = |address| {
        listen(address, limits.backlog).map_err(|cause| GatewayError::Listen { address, cause })
    };
    let fixed = settings.listen.map(bind).transpose()?;
    files::raise_limit(&limits, settings.egress.as_ref().map(|egress| &egress.limits));
    let controls: Vec<_> = settings.control.into_iter().map(Control::new).collect();
    let doors: Vec<_> =
        controls.iter().map(|control| bind(control.port.listen)).collect::<Result<_, _>>()?;
    let ending = settings.hbone.map(bind).transpose()?;
    let way_out = settings.egress.as_ref().map(|egress| bind(egress.listen)).transpose()?;
    let mut registry = Registry::new();
    let own = Arc::new(Own::begin(settings.identity, &mut registry));
    let ending = ending.map(|listener| (listener, diolkos_hbone::Metrics::new(&mut registry)));
    let egress = settings.egress.as_ref();
    let egress = egress.map(|egress| Egress::new(egress, source, limits, &mut registry));
    let metrics = Metrics::beside(registry);
    let draining = Drain::new(shutdown.clone(), drain);
    let shared = Shared::new(metrics, limits, source, settings.path, draining);
    let gateway = Arc::new(Gateway::start(shared).map_err(GatewayError::Engine)?);
    let stream = follow::SharedStream::default();
    let counted = ending.as_ref().map(|(_, metrics)| metrics.clone());
    // These answer to the last moment: a drain can be watched.
    let (over, answering) = Shutdown::new();
    if let Some(address) = settings.admin {
        let routes = admin::routes(&gateway, &own, &stream, &controls, counted, egress.as_ref());
        let address = serve_admin(address, routes, answering.clone())
            .await
            .map_err(|cause| GatewayError::Admin { address, cause })?;
        tracing::info!(%address, "admin endpoint");
    }
    if let Some(address) = settings.health {
        serve_admin(address, admin::health(&gateway, &own, egress.as_ref()), answering)
            .await
            .map_err(|cause| GatewayError::Health { address, cause })?;
    }
    let mut passing = JoinSet::new();
    if let Some((listener, metrics)) = ending {
        let (own, config) = (Arc::clone(&own), Arc::clone(gateway.config()));
        let tunnels = Tunnels { listener, own, config, metrics, source, drain };
        passing.spawn(tunnels.serve(shutdown.clone()));
    }
    let upstream = (settings.primary, settings.node, settings.backoff);
    if let Some((listener, egress)) = way_out.zip(egress) {
        let (gateway, own, upstream) = (Arc::clone(&gateway), Arc::clone(&own), upstream.clone());
        let out = Out { listener, egress, gateway, own, upstream, source };
        passing.spawn(out.serve(shutdown.clone()));
    }
    let (config, metrics) = (Arc::clone(gateway.config()), Followed::of(gateway.metrics()));
    let whom = settings.control_plane;
    let following = tokio::spawn(async move {
        let Some(own) = own.in_force().await else { return };
        follow::follow(asking(upstream, whom, &own, source), whom, config, metrics, stream).await;
    });
    for (listener, control) in doors.into_iter().zip(controls) {
        passing.spawn(pass_through(listener, control, Arc::clone(&gateway)));
    }
    match fixed {
        Some(listener) => gateway.serve(listener).await,
        None => serve_as_planned(&gateway, limits.backlog, &shutdown).await,
    }
    tracing::info!("draining");
    // Theirs ends by the same signal: who is in the queue is still served, and tunnels have the
    // drain time as well.
    passing.join_all().await;
    gateway.drained().await;
    following.abort();
    over.fire();
    Ok(())
}

async fn pass_through(listener: TcpListener, control: Arc<Control>, gateway: Arc<Gateway>) {
    let (address, host) = (control.port.listen, &control.port.host);
    tracing::info!(%address, %host, "passing the primary's port through");
    tokio::select! {
        () = control.follow() => {}
        () = gateway.serve_control(listener, Arc::clone(&control)) => {}
    }
}

fn asking(
    (primary, node, backoff): (PrimaryName, NodeClaims, Backoff),
    whom: ControlPlane,
    own: &InForce,
    source: Option<IpAddr>,
) -> ClientSettings {
    ClientSettings {
        server: primary.server().to_owned(),
        place: primary.place,
        credential: own.credential.clone(),
        roots: own.roots.clone(),
        node,
        source,
        backoff,
        pings: whom.pings(),
    }
}

/// Listens where the primary says, and elsewhere when it says so.
async fn serve_as_planned(gateway: &Gateway, backlog: u32, shutdown: &Shutdown) {
    let mut plans = gateway.config().plan();
    loop {
        let address = plans.borrow_and_update().as_ref().map(|plan| plan.address);
        let serve = async {
            let Some(address) = address else {
                return shutdown.wait().await;
            };
            let listener = tokio::select! {
                biased;
                () = shutdown.wait() => return,
                listener = bind_patiently(address, backlog) => listener,
            };
            // After the shutdown it returns by itself, once everyone in its queue is served.
            gateway.serve(listener).await;
        };
        tokio::select! {
            biased;
            () = serve => return,
            () = moved(&mut plans, address) => {}
        }
    }
}

/// Returns when the plan names another address than `from`, or none.
async fn moved(plans: &mut watch::Receiver<Option<ListenerPlan>>, from: Option<SocketAddr>) {
    let elsewhere = |plan: &Option<ListenerPlan>| plan.as_ref().map(|plan| plan.address) != from;
    if plans.wait_for(elsewhere).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A port may be held by a gateway that is about to end, an address may be about to come.
async fn bind_patiently(address: SocketAddr, backlog: u32) -> TcpListener {
    loop {
        match listen(address, backlog) {
            Ok(listener) => {
                tracing::info!(%address, "listening");
                return listener;
            }
            Err(cause) => {
                tracing::warn!(%address, %cause, "cannot listen, trying again");
                tokio::time::sleep(BIND_PAUSE).await;
            }
        }
    }
}
