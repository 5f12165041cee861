//! Clients: what each is, what it has, and its stream while there is one.

mod delta;
mod sotw;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use diolkos_route::{HostName, RouteTable, Target};
use diolkos_topology::{ClientKind, IpFamilies, Namespace, NetworkId};
use diolkos_xds::{Protocol, Request, ResourceType, Response, Session};

pub(crate) use self::delta::Delta;
pub(crate) use self::sotw::Sotw;
use crate::advertised::Advertised;
use crate::invariant::{Checked, Invariant, Violation, holds};
use crate::primary::{Grant, Primary};
use crate::resource::{Assignment, assignment, service_of};

pub(crate) struct Client {
    pub(crate) name: String,
    /// Index of its cluster.
    pub(crate) home: usize,
    pub(crate) node: usize,
    pub(crate) namespace: Namespace,
    pub(crate) families: IpFamilies,
    pub(crate) mind: Mind,
    pub(crate) stream: Option<Stream>,
    pub(crate) slow: bool,
    /// Networks it was on. One that moved keeps what it has until it is told better.
    pub(crate) networks: BTreeSet<NetworkId>,
}

pub(crate) enum Mind {
    Egress(Delta, RouteTable),
    Envoy(Delta),
    Gateway(Delta, RouteTable),
    Grpc(Sotw),
}

/// One stream: what is on its way in either direction, and the session at its end.
pub(crate) struct Stream {
    pub(crate) grant: Grant,
    session: Session,
    up: VecDeque<Request>,
    down: VecDeque<Vec<u8>>,
}

impl Client {
    pub(crate) fn kind(&self) -> ClientKind {
        match self.mind {
            Mind::Egress(..) => ClientKind::Egress,
            Mind::Envoy(_) => ClientKind::Sidecar,
            Mind::Gateway(..) => ClientKind::Gateway,
            Mind::Grpc(_) => ClientKind::Grpc,
        }
    }

    pub(crate) fn connect(&mut self, grant: Grant) {
        let (protocol, up) = match &mut self.mind {
            Mind::Egress(delta, _) | Mind::Envoy(delta) | Mind::Gateway(delta, _) => {
                (Protocol::Delta, delta.connect())
            }
            Mind::Grpc(sotw) => (Protocol::StateOfTheWorld, sotw.connect()),
        };
        self.networks.insert(grant.whose.network.clone());
        let session = Session::new(protocol);
        self.stream = Some(Stream { grant, session, up: up.into(), down: VecDeque::new() });
    }

    pub(crate) fn refuse_next(&mut self) {
        match &mut self.mind {
            Mind::Egress(delta, _) | Mind::Envoy(delta) | Mind::Gateway(delta, _) => {
                delta.refuse_next = true;
            }
            Mind::Grpc(sotw) => sotw.refuse_next = true,
        }
    }

    pub(crate) fn refuse_no_more(&mut self) {
        match &mut self.mind {
            Mind::Egress(delta, _) | Mind::Envoy(delta) | Mind::Gateway(delta, _) => {
                delta.refuse_next = false;
            }
            Mind::Grpc(sotw) => sotw.refuse_next = false,
        }
    }

    pub(crate) fn has_refused(&self) -> bool {
        match &self.mind {
            Mind::Egress(delta, _) | Mind::Envoy(delta) | Mind::Gateway(delta, _) => {
                delta.has_refused()
            }
            Mind::Grpc(sotw) => sotw.has_refused(),
        }
    }

    /// As the primary knows it, while there is a stream.
    pub(crate) fn network(&self) -> Option<&NetworkId> {
        self.stream.as_ref().map(|stream| &stream.grant.whose.network)
    }

    /// Whether it has taken all of what the primary has for it. Not known of gRPC clients.
    pub(crate) fn is_current(&self, primary: &Primary) -> bool {
        let Some(stream) = &self.stream else { return false };
        let Some(catalogs) = primary.catalogs(&stream.grant) else { return false };
        match &self.mind {
            Mind::Egress(delta, _) | Mind::Envoy(delta) | Mind::Gateway(delta, _) => {
                stream.up.is_empty() && stream.down.is_empty() && delta.has_all_of(catalogs)
            }
            Mind::Grpc(_) => false,
        }
    }

    /// The server's turn: what changed, and an answer to the oldest request.
    pub(crate) fn serve(&mut self, primary: &Primary) -> Checked<bool> {
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let Some(catalogs) = primary.catalogs(&stream.grant) else { return Ok(false) };
        let mut responses = stream.session.advance(catalogs);
        let request = stream.up.pop_front();
        let moved = request.is_some() || !responses.is_empty();
        if let Some(request) = request {
            let refused = refuses(&request);
            let answer = stream.session.request(request, catalogs).map_err(|refusal| {
                Violation::new(Invariant::RequestsAreTaken, format!("{}: {refusal}", self.name))
            })?;
            responses.extend(answer);
            let reason = stream.session.nacks().last().map(|nack| nack.reason.as_str());
            holds(!refused || reason == Some("not today"), Invariant::NackSurfaces, || {
                format!("{}: the reason is {reason:?}", self.name)
            })?;
        }
        stream.down.extend(responses.iter().map(|response: &Response| response.encode().concat()));
        // Responses that wait, of four types.
        holds(stream.down.len() <= 4, Invariant::OneResponsePerType, || {
            format!("{}: {} responses wait", self.name, stream.down.len())
        })?;
        Ok(moved)
    }

    /// The client's turn: it takes the oldest response.
    pub(crate) fn read(&mut self, ever: &Advertised) -> Checked<bool> {
        let Some(bytes) = self.stream.as_mut().and_then(|stream| stream.down.pop_front()) else {
            return Ok(false);
        };
        let named = |mut violation: Violation| {
            violation.why = format!("{}: {}", self.name, violation.why);
            violation
        };
        let requests = match &mut self.mind {
            Mind::Envoy(delta) => delta.receive(&bytes).map_err(named)?.requests,
            Mind::Egress(delta, table) | Mind::Gateway(delta, table) => {
                let received = delta.receive(&bytes).map_err(named)?;
                for (kind, name, body) in &received.taken {
                    route(table, *kind, name, body.as_deref());
                }
                received.requests
            }
            Mind::Grpc(sotw) => sotw.receive(&bytes).map_err(named)?.0,
        };
        if let Some(stream) = &mut self.stream {
            stream.up.extend(requests);
        }
        self.check(ever)?;
        Ok(true)
    }

    /// What it would dial, by cluster name.
    pub(crate) fn uses(&self) -> BTreeMap<String, Rc<Assignment>> {
        match &self.mind {
            Mind::Egress(delta, _) | Mind::Envoy(delta) | Mind::Gateway(delta, _) => {
                delta.assignments().map(|(name, all)| (name.to_owned(), all.clone())).collect()
            }
            Mind::Grpc(sotw) => {
                let read = |body| Rc::new(assignment(body).unwrap_or_default());
                sotw.assignments().map(|(name, body)| (name.to_owned(), read(body))).collect()
            }
        }
    }

    fn check(&self, ever: &Advertised) -> Checked {
        for (name, endpoints) in self.uses() {
            let Some((service, _)) = service_of(&name) else {
                let why = format!("{}: cluster {name} is of no service", self.name);
                return Err(Violation::new(Invariant::NothingUnadvertised, why));
            };
            let (direct, by_gateway) = match self.mind {
                Mind::Egress(..) => (false, true),
                Mind::Envoy(_) => (true, true),
                Mind::Gateway(..) | Mind::Grpc(_) => (true, false),
            };
            for address in endpoints.keys() {
                let known = (direct && ever.is_endpoint(&service, *address))
                    || (by_gateway && ever.is_gateway(*address));
                holds(known, Invariant::NothingUnadvertised, || {
                    format!("{} is served {address} for {name}", self.name)
                })?;
            }
        }
        let Mind::Gateway(_, table) = &self.mind else { return Ok(()) };
        for route in table.sorted() {
            let name = route.name().as_str();
            let service = service_of(name).map(|(service, _)| service);
            let targets = route.targets().iter().map(|target| Some(target.address));
            for target in targets.chain([None]) {
                let fits = service.as_ref().is_some_and(|service| {
                    self.networks.iter().any(|on| ever.is_routable(on, service, target))
                });
                holds(fits, Invariant::GatewayKeepsToItsNetwork, || {
                    format!("{} on {:?}: {name} to {target:?}", self.name, self.networks)
                })?;
            }
        }
        Ok(())
    }
}

fn refuses(request: &Request) -> bool {
    match request {
        Request::Delta(request) => request.error_detail.is_some(),
        Request::Sotw(request) => request.error_detail.is_some(),
    }
}

/// As our gateway reads clusters and their endpoints.
fn route(table: &mut RouteTable, kind: ResourceType, name: &str, body: Option<&[u8]>) {
    let Ok(host) = HostName::new(name.as_bytes()) else { return };
    match (kind, body) {
        (ResourceType::Cluster, Some(_)) => {
            table.upsert_cluster(host);
        }
        (ResourceType::Cluster, None) => {
            table.remove_cluster(&host);
        }
        (ResourceType::Endpoint, Some(body)) => {
            let all = assignment(body).unwrap_or_default();
            let targets = all.into_iter().map(|(address, seen)| Target {
                address,
                weight: seen.weight,
                priority: seen.priority,
            });
            table.upsert_endpoints(&host, targets.collect());
        }
        _ => {}
    }
}
