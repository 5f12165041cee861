//! Streams: granted an audience and a scope, ended when what granted them no longer holds.

use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use diolkos_facts::{PodEntry, PodKey};
use diolkos_topology::{
    Audience, AudienceId, ClusterId, Event, Locality, Namespace, NetworkId, PodName, Tick,
};
use diolkos_xds::{Inbound, Protocol, Scope, ScopeId};
use envoy_types::pb::envoy::config::core::v3::Node as NodeMessage;
use tokio::sync::{oneshot, watch};
use tonic::Status;

use super::inbound::TakesIn;
use super::{Core, Moved, Now};
use crate::ads::StreamStatus;
use crate::caller::{self, Caller, Credential, Denied, Node};
use crate::cell::CatalogCell;
use crate::limit;

/// A client's first request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) credential: Credential,
    /// Istio's gRPC metadata, if it was sent.
    pub(crate) clusterid: Option<String>,
    pub(crate) node: Option<NodeMessage>,
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
}

/// A granted stream. Whoever holds it gives it back by its id.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) status: Arc<StreamStatus>,
    pub(crate) audience: Arc<CatalogCell>,
    /// Another one whenever the client's pod comes to take in something else.
    pub(crate) scope: watch::Receiver<Arc<CatalogCell>>,
    /// Told, or dropped, when the stream has to end.
    pub(crate) ended: oneshot::Receiver<Status>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Denied(Denied),
    /// As many streams as there may be.
    Full,
    NotReady(String),
}

/// As `diolkos_xds::Scope`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ScopeKey {
    audience: u32,
    namespace: Namespace,
    http_proxy: Option<SocketAddr>,
    inbound: Option<Arc<Inbound>>,
    bind: IpAddr,
    sni_port: u16,
    hbone: bool,
}

pub(super) struct Live {
    pub(super) caller: Caller,
    pub(super) audience: Audience,
    pub(super) status: Arc<StreamStatus>,
    audience_id: u32,
    pub(super) scope_id: u32,
    pub(super) scope: watch::Sender<Arc<CatalogCell>>,
    /// Of a pod whose connections are redirected.
    pub(super) takes_in: Option<TakesIn>,
    /// Taken when told to end; the stream gives itself back afterwards.
    end: Option<oneshot::Sender<Status>>,
}

impl Core {
    pub(crate) fn open(&mut self, now: Now, asked: Asked) -> Result<Opened, Refused> {
        self.waiting.ready().map_err(Refused::NotReady)?;
        if self.streams.len() >= limit::STREAMS_MAX {
            return Err(Refused::Full);
        }
        let Asked { credential, clusterid, node, protocol, address } = asked;
        let node = Node::parse(node.as_ref()).map_err(Refused::Denied)?;
        let caller = caller::check(credential, clusterid.as_deref(), node, &self.authorities)
            .map_err(Refused::Denied)?;
        let audience = self.audience_of(&caller).map_err(Refused::Denied)?;
        let takes_in = self.takes_in(&caller);

        let granted = self.audiences.take(&audience, now.instant);
        if granted.fresh {
            self.bring_up(now.tick, granted.id, &audience);
        }
        let inbound = takes_in.as_ref().map(|takes_in| takes_in.class.clone());
        let scope = ScopeKey::of(granted.id, &caller, inbound);
        let scoped = self.scopes.take(&scope, now.instant);
        if scoped.fresh
            && let Some(hub) = &mut self.hub
        {
            hub.scope_up(ScopeId(scoped.id), scope.into());
        }
        self.settle(now, now.instant);

        self.last_stream += 1;
        let status = Arc::new(StreamStatus::new(
            self.last_stream,
            &caller,
            &audience,
            protocol,
            address,
            now.system,
        ));
        let (end, ended) = oneshot::channel();
        let (scope, scope_now) = watch::channel(scoped.cell);
        let live = Live {
            caller,
            audience,
            status: status.clone(),
            audience_id: granted.id,
            scope_id: scoped.id,
            scope,
            takes_in,
            end: Some(end),
        };
        if let Some(pod) = live.pod() {
            self.streams_of.entry(pod).or_default().insert(self.last_stream);
        }
        self.streams.insert(self.last_stream, live);
        self.metrics.streams.set(self.streams.len() as i64);
        Ok(Opened { status, audience: granted.cell, scope: scope_now, ended })
    }

    pub(crate) fn close(&mut self, now: Now, id: u64) {
        let Some(live) = self.streams.remove(&id) else { return };
        if let Some(pod) = live.pod()
            && let Entry::Occupied(mut streams) = self.streams_of.entry(pod)
        {
            streams.get_mut().remove(&id);
            if streams.get().is_empty() {
                streams.remove();
            }
        }
        let ends = Tick(now.tick.0 + self.settings.linger_ms);
        self.scopes.give_back(live.scope_id, ends);
        self.audiences.give_back(live.audience_id, ends);
        self.metrics.streams.set(self.streams.len() as i64);
    }

    /// Ends every stream whose client is no longer where, or who, it was when granted. It comes
    /// back, keeps what it has meanwhile, and is given the difference.
    pub(super) fn end_moved(&mut self, moved: &Moved) {
        let streams: Vec<u64> = match moved {
            Moved::Anybody => self.streams.keys().copied().collect(),
            Moved::PodsOnly(pods) => {
                let streams = pods.iter().filter_map(|pod| self.streams_of.get(pod));
                streams.flatten().copied().collect()
            }
        };
        let known = streams.iter().filter_map(|id| Some((*id, self.streams.get(id)?)));
        let verdicts: Vec<(u64, Option<String>)> =
            known.map(|(id, live)| (id, self.outdated(live))).collect();
        for (id, why) in verdicts {
            let (Some(why), Some(live)) = (why, self.streams.get_mut(&id)) else { continue };
            if let Some(end) = live.end.take() {
                // A stream that is gone already needs no telling.
                let _ = end.send(Status::unavailable(why));
            }
        }
    }

    fn outdated(&self, live: &Live) -> Option<String> {
        let caller = &live.caller;
        let owner = caller.credential.owner(&self.authorities);
        if owner.as_ref() != Ok(&(caller.id.clone(), caller.cluster.clone())) {
            return Some(match caller.credential {
                Credential::Certificate(_) => {
                    format!("cluster {} has another caCertificate now", caller.cluster)
                }
                Credential::Token(_) => {
                    format!("cluster {} has another token issuer or other keys now", caller.cluster)
                }
            });
        }
        match self.audience_of(caller) {
            Err(denied) => Some(denied.to_string()),
            Ok(audience) if audience != live.audience => {
                Some(format!("was {}, is {audience} now; come again", live.audience))
            }
            Ok(_) => None,
        }
    }

    /// The pod that it says it is, if the facts know it.
    pub(super) fn pod_entry(&self, caller: &Caller) -> Option<&PodEntry> {
        pod_of(caller).and_then(|pod| self.pods.get(&caller.cluster, &pod))
    }

    /// Where it is, by the facts, and so what it is told.
    fn audience_of(&self, caller: &Caller) -> Result<Audience, Denied> {
        let pod = self.pod_entry(caller);
        caller::check_pod(caller, pod)?;
        // After a restart while its API server is away nothing is known of its pods, and of its
        // services what they were: those say where it is.
        let (on, at) = match pod {
            Some(_) => (None, None),
            None => self.place_of(caller).unzip(),
        };
        let network = pod
            .and_then(|pod| pod.network.clone())
            .or(on)
            .or_else(|| self.federation.network_of(&caller.cluster))
            .unwrap_or_else(NetworkId::unnamed);
        caller::check_network(caller, &network)?;
        let locality = pod
            .and_then(|pod| pod.node.as_ref())
            .and_then(|node| self.federation.locality_of(&caller.cluster, node))
            .or(at)
            .unwrap_or_else(Locality::unknown);
        Ok(Audience {
            kind: caller.node.kind,
            cluster: caller.cluster.clone(),
            network,
            locality,
            families: caller.node.families(),
        })
    }

    fn place_of(&self, caller: &Caller) -> Option<(NetworkId, Locality)> {
        let pod = PodName::new(&caller.node.pod).ok()?;
        let (cluster, namespace) = (&caller.cluster, &caller.namespace);
        self.federation.pod_place(cluster, namespace, &pod, &caller.node.ips)
    }

    fn bring_up(&mut self, tick: Tick, id: u32, audience: &Audience) {
        let id = AudienceId(id);
        if let Some(hub) = &mut self.hub {
            hub.audience_up(id, audience);
        }
        let event = Event::AudienceUp { id, audience: audience.clone() };
        self.federation.apply(tick, event, &mut self.effects);
    }
}

impl ScopeKey {
    fn of(audience: u32, caller: &Caller, inbound: Option<Arc<Inbound>>) -> Self {
        Self {
            audience,
            namespace: caller.namespace.clone(),
            http_proxy: caller.node.http_proxy,
            inbound,
            bind: caller.node.bind,
            sni_port: caller.node.sni_port,
            hbone: caller.node.hbone,
        }
    }
}

impl Live {
    /// As it is, but for what the pod takes in.
    pub(super) fn scope_key(&self, inbound: Option<Arc<Inbound>>) -> ScopeKey {
        ScopeKey::of(self.audience_id, &self.caller, inbound)
    }

    fn pod(&self) -> Option<(ClusterId, PodKey)> {
        pod_of(&self.caller).map(|pod| (self.caller.cluster.clone(), pod))
    }
}

/// Who it says it is, if that could be a pod.
fn pod_of(caller: &Caller) -> Option<PodKey> {
    let name = PodName::new(&caller.node.pod).ok()?;
    Some((caller.namespace.clone(), name))
}

impl From<ScopeKey> for Scope {
    fn from(key: ScopeKey) -> Self {
        let ScopeKey { audience, namespace, http_proxy, inbound, bind, sni_port, hbone } = key;
        let audience = AudienceId(audience);
        Self { audience, namespace, http_proxy, inbound, bind, sni_port, hbone }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Denied(denied) => denied.into(),
            Refused::Full => Self::resource_exhausted(format!(
                "{} streams are open, and no more are taken",
                limit::STREAMS_MAX
            )),
            Refused::NotReady(waited_for) => {
                Self::unavailable(format!("not ready, waiting for {waited_for}"))
            }
        }
    }
}
