//! Connections to gateways of other networks, and whose tunnels go through which.
//!
//! Whoever needs a tunnel takes a place on a link first, also on one that only comes to be: so
//! those who come together share one attempt, and no link is promised to more than it can carry.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use diolkos_hbone::{Carrying, Outer, Tunnel};
use diolkos_ops::metrics::Gauged;
use diolkos_tls::{Expect, Identity, Roots};
use diolkos_trust::SpiffeId;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::EgressMetrics;
use super::fault::{Failure, Fault};
use super::link::{Link, Missed, Place};
use crate::limit::EGRESS_UNACKNOWLEDGED;
use crate::settings::EgressLimits;
use crate::{EgressSettings, Limits};

/// Another connection is worth its handshake once the others have this part of their tunnels.
const SHARED_FROM: usize = 8;

#[derive(Debug)]
pub(super) struct Pool {
    limits: EgressLimits,
    dialing: Limits,
    source: Option<IpAddr>,
    /// Whom gateways of other networks may be; none: whoever has our own id.
    expected: Vec<SpiffeId>,
    own: OnceLock<(Identity, Roots)>,
    metrics: EgressMetrics,
    sites: Mutex<Sites>,
}

#[derive(Debug, Default)]
struct Sites {
    connections: usize,
    by_address: BTreeMap<SocketAddr, Site>,
}

/// One gateway.
#[derive(Debug, Default)]
struct Site {
    /// Those that may take new tunnels.
    links: Vec<Arc<Link>>,
    /// Those that were left and live on as well.
    connections: usize,
}

/// A gateway that there are connections to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) gateway: SocketAddr,
    pub(super) connections: usize,
    /// Of those that take new ones.
    pub(super) tunnels: usize,
}

impl Pool {
    pub(super) fn new(
        settings: &EgressSettings,
        source: Option<IpAddr>,
        dialing: Limits,
        metrics: EgressMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            limits: settings.limits,
            dialing,
            source,
            expected: settings.gateways.clone(),
            own: OnceLock::new(),
            metrics,
            sites: Mutex::default(),
        })
    }

    pub(super) fn enters(&self, identity: Identity, roots: Roots) {
        // Who was there first counts; both follow what is renewed.
        let _ = self.own.set((identity, roots));
    }

    /// A tunnel, and its place. A connection that ends before the answer is one that was about to
    /// end: then once more, by another.
    pub(super) async fn open(
        self: &Arc<Self>,
        gateway: SocketAddr,
        authority: &str,
    ) -> Result<(Tunnel, Place), Failure> {
        let began = Instant::now();
        let deadline = began + self.limits.open;
        let mut since = None;
        loop {
            let place = self.reserve(gateway, since)?;
            match place.open(authority, deadline).await {
                Ok(opened) => return Ok(opened),
                Err(Missed::Again(cause)) if since.is_none() => {
                    tracing::debug!(%gateway, %cause, "once more, by another connection");
                    since = Some(began);
                }
                Err(Missed::Again(failure) | Missed::Failed(failure)) => return Err(failure),
            }
        }
    }

    pub(super) fn standing(&self) -> Vec<Standing> {
        let sites = self.sites();
        let standing = |(gateway, site): (&SocketAddr, &Site)| Standing {
            gateway: *gateway,
            connections: site.connections,
            tunnels: site.links.iter().map(|link| link.tunnels()).sum(),
        };
        sites.by_address.iter().map(standing).collect()
    }

    /// With `since`, on no connection that is older.
    fn reserve(
        self: &Arc<Self>,
        gateway: SocketAddr,
        since: Option<Instant>,
    ) -> Result<Place, Failure> {
        let own = self.own.get();
        let (identity, _) = own.ok_or_else(|| Failure::new(Fault::Tls, "no certificate yet"))?;
        let max = self.limits.tunnels_per_connection_max;
        let mut sites = self.sites();
        let connections = sites.connections;
        let site = sites.by_address.entry(gateway).or_default();
        site.links.retain(|link| {
            let takes = link.takes(identity);
            if !takes {
                link.leave();
            }
            takes
        });
        let has_room = site.connections < self.limits.connections_per_gateway_max
            && connections < self.limits.connections_max;
        let links = site.links.iter().filter(|link| since.is_none_or(|at| link.began >= at));
        let emptiest = links.min_by_key(|link| link.tunnels());
        let shares = has_room
            && site.connections < self.limits.connections_sharing
            && emptiest.is_some_and(|link| link.tunnels() >= max.div_ceil(SHARED_FROM));
        if let Some(place) = emptiest.filter(|_| !shares).and_then(|link| link.reserve(max)) {
            return Ok(place);
        }
        let link = Link::new(identity);
        let Some(place) = link.reserve(max).filter(|_| has_room) else {
            if site.connections == 0 {
                sites.by_address.remove(&gateway);
            }
            return Err(Failure::new(Fault::Full, "as many connections as there may be"));
        };
        site.links.push(Arc::clone(&link));
        site.connections += 1;
        sites.connections += 1;
        drop(sites);
        let counted = Counted { pool: Arc::clone(self), gateway, link };
        tokio::spawn(counted.live());
        Ok(place)
    }

    async fn connect(&self, gateway: SocketAddr) -> Result<(Outer, Carrying), Failure> {
        let deadline = Instant::now() + self.limits.open;
        let Some((identity, roots)) = self.own.get() else {
            return Err(Failure::new(Fault::Tls, "no certificate yet"));
        };
        let dialed = timeout(self.dialing.connect, self.dial(gateway)).await;
        let stream = dialed.map_err(|_| Failure::late())?;
        let stream = stream.map_err(|cause| Failure::new(Fault::Connect, cause.to_string()))?;
        let expect = match self.expected.is_empty() {
            true => Expect::Ids(vec![identity.spiffe_id()]),
            false => Expect::Ids(self.expected.clone()),
        };
        let probes = Some(self.limits.probes);
        let beginning = Outer::begin(stream, identity, roots, expect, probes);
        let begun = timeout_at(deadline, beginning).await;
        Ok(begun.map_err(|_| Failure::late())??)
    }

    async fn dial(&self, gateway: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if gateway.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = self.source.filter(|source| source.is_ipv4() == gateway.is_ipv4()) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        socket.set_nodelay(true)?;
        let probes = TcpKeepalive::new()
            .with_time(self.dialing.keepalive)
            .with_interval(self.dialing.keepalive);
        let options = SockRef::from(&socket);
        options.set_tcp_keepalive(&probes)?;
        options.set_tcp_user_timeout(Some(EGRESS_UNACKNOWLEDGED))?;
        socket.connect(gateway).await
    }

    fn sites(&self) -> MutexGuard<'_, Sites> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection among those there are; no more when it is dropped.
struct Counted {
    pool: Arc<Pool>,
    gateway: SocketAddr,
    link: Arc<Link>,
}

impl Counted {
    async fn live(self) {
        let (pool, gateway) = (&self.pool, self.gateway);
        let (outer, mut carrying) = match pool.connect(gateway).await {
            Ok(connected) => connected,
            Err(failure) => {
                tracing::debug!(%gateway, cause = %failure, "no connection to a gateway");
                self.unlist();
                return self.link.failed(failure);
            }
        };
        let _connected = Gauged::new(&pool.metrics.connections);
        tracing::debug!(%gateway, "a connection to a gateway");
        self.link.up(outer);
        let ended = loop {
            tokio::select! {
                ended = &mut carrying => break Some(ended),
                () = self.link.idle(pool.limits.idle_connection) => {
                    if self.leave_idle() {
                        break None;
                    }
                }
            }
        };
        self.unlist();
        self.link.leave();
        let ended = match ended {
            Some(ended) => ended,
            None => carrying.await,
        };
        if let Err(cause) = ended {
            tracing::info!(%gateway, cause, "a connection to a gateway broke");
        }
    }

    /// Under the lock by which places are taken: nobody is promised one that goes.
    fn leave_idle(&self) -> bool {
        let mut sites = self.pool.sites();
        let idle = self.link.tunnels() == 0;
        if idle && let Some(site) = sites.by_address.get_mut(&self.gateway) {
            site.links.retain(|link| !Arc::ptr_eq(link, &self.link));
        }
        idle
    }

    fn unlist(&self) {
        if let Some(site) = self.pool.sites().by_address.get_mut(&self.gateway) {
            site.links.retain(|link| !Arc::ptr_eq(link, &self.link));
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.unlist();
        let mut sites = self.pool.sites();
        sites.connections -= 1;
        let Some(site) = sites.by_address.get_mut(&self.gateway) else { return };
        site.connections -= 1;
        if site.connections == 0 {
            sites.by_address.remove(&self.gateway);
        }
    }
}
