//! Who may be a consumer of what, as the primary said it: which CA signs for which cluster, and
//! the exports that name their consumers. It counts where a tunnel shows who calls.
//!
//! What is said wrongly, or not yet, is for nobody.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use diolkos_hbone::{Admission, Destination, Gate, Refused};
use diolkos_route::{ClientHello, Decision, HostName, Refusal, Route, Target, sni};
use diolkos_tls::{ClusterIssuers, IssuerKey, Peer};
use diolkos_xds::ResourceType;
use diolkos_xds::callers::{Callers, Named, read_consumers};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use prost::Message;

use crate::Config;
use crate::resource;

/// One of Istio's, which every listener of ours accepts: as a sidecar asks on 15443.
const MESH_ALPN: &str = "istio";

#[derive(Debug, Default)]
pub(crate) struct Exports(RwLock<Said>);

#[derive(Debug, Default)]
struct Said {
    /// `None`: nothing was said, as by a primary that is not ours.
    callers: Option<Arc<ClusterIssuers<Arc<str>>>>,
    restricted: HashMap<HostName, Arc<Restricted>>,
}

/// A route some of whose exporters name their consumers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Restricted {
    consumers: BTreeMap<String, BTreeSet<String>>,
    /// Whose endpoint each target is.
    exporters: BTreeMap<SocketAddr, String>,
}

impl Exports {
    /// Takes what one resource says of callers. Called before the routes learn of it: nobody gets
    /// through in between.
    pub(crate) fn take(&self, kind: ResourceType, name: &str, body: &[u8]) -> Result<(), String> {
        match kind {
            ResourceType::Cluster => self.cluster(name, body),
            ResourceType::Endpoint => self.endpoints(name, body),
            ResourceType::Listener => self.listener(body),
            ResourceType::Route => Ok(()),
        }
    }

    pub(crate) fn remove(&self, kind: ResourceType, name: &str) {
        if kind == ResourceType::Cluster
            && let Ok(route) = HostName::new(name.as_bytes())
        {
            self.write(|said| drop(said.restricted.remove(&route)));
        }
    }

    fn listener(&self, body: &[u8]) -> Result<(), String> {
        let listener = Listener::decode(body).map_err(|error| error.to_string())?;
        let callers = Callers::read(listener.metadata.as_ref())?;
        let callers = callers.map(|callers| issuers(&callers)).transpose()?;
        self.write(|said| said.callers = callers.map(Arc::new));
        Ok(())
    }

    fn cluster(&self, name: &str, body: &[u8]) -> Result<(), String> {
        let route = HostName::new(name.as_bytes()).map_err(|refusal| refusal.to_string())?;
        let cluster = Cluster::decode(body).map_err(|error| error.to_string())?;
        let read = read_consumers(cluster.metadata.as_ref());
        let consumers = match &read {
            Ok(None) => {
                self.write(|said| drop(said.restricted.remove(&route)));
                return Ok(());
            }
            Ok(Some(exports)) => exports.iter().map(consumers_of).collect(),
            // For nobody, whoever the exporter.
            Err(_) => BTreeMap::new(),
        };
        self.write(|said| {
            let known = said.restricted.get(&route);
            // Their endpoints follow; until then those that are known count on.
            let exporters = known.map(|known| known.exporters.clone()).unwrap_or_default();
            said.restricted.insert(route, Arc::new(Restricted { consumers, exporters }));
        });
        read.map(drop)
    }

    fn endpoints(&self, name: &str, body: &[u8]) -> Result<(), String> {
        let route = HostName::new(name.as_bytes()).map_err(|refusal| refusal.to_string())?;
        let Some(known) = self.read(|said| said.restricted.get(&route).cloned()) else {
            return Ok(());
        };
        let exporters = exporters(body)?;
        let consumers = known.consumers.clone();
        let restricted = Arc::new(Restricted { consumers, exporters });
        self.write(|said| drop(said.restricted.insert(route, restricted)));
        Ok(())
    }

    fn read<T>(&self, of: impl FnOnce(&Said) -> T) -> T {
        of(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

fn issuers(callers: &Callers) -> Result<ClusterIssuers<Arc<str>>, String> {
    let key = |text: &String| {
        IssuerKey::parse(text).ok_or_else(|| format!("{text:?} is not the key of a CA"))
    };
    let mut read = ClusterIssuers {
        own: callers.own.iter().map(key).collect::<Result<_, _>>()?,
        ..ClusterIssuers::default()
    };
    for Named { cluster, texts } in &callers.clusters {
        let cluster: Arc<str> = cluster.as_str().into();
        for text in texts {
            read.clusters.insert(key(text)?, Arc::clone(&cluster));
        }
        read.declared.insert(cluster);
    }
    Ok(read)
}

fn consumers_of(export: &Named) -> (String, BTreeSet<String>) {
    (export.cluster.clone(), export.texts.iter().cloned().collect())
}

/// By Istio's `istio.workload`, whose fifth part is the cluster.
fn exporters(body: &[u8]) -> Result<BTreeMap<SocketAddr, String>, String> {
    let assignment = ClusterLoadAssignment::decode(body).map_err(|error| error.to_string())?;
    let mut exporters = BTreeMap::new();
    for endpoint in assignment.endpoints.iter().flat_map(|locality| &locality.lb_endpoints) {
        if let Some(workload) = resource::workload(endpoint)
            && let Some(cluster) = workload.split(';').nth(4).filter(|name| !name.is_empty())
        {
            exporters.insert(resource::endpoint_address(endpoint)?, cluster.to_owned());
        }
    }
    Ok(exporters)
}

/// The routes of 15443, for those whose identity is seen.
impl Gate for Config {
    fn admit(&self, caller: &Peer, to: &Destination) -> Admission {
        let callers = self.exports().read(|said| said.callers.clone());
        let known = callers.as_ref().map(|callers| callers.caller_of(caller));
        let cluster =
            known.as_ref().and_then(|known| known.as_ref().ok()).map(|one| Arc::clone(one));
        let route = match known {
            Some(Err(_)) => Err(Refused::Stranger),
            _ => self.route_for(cluster.as_deref(), to),
        };
        Admission { cluster, route }
    }
}

impl Config {
    /// `cluster` is the caller's, where it is proven.
    fn route_for(&self, cluster: Option<&str>, to: &Destination) -> Result<Arc<Route>, Refused> {
        let name = sni::encode(to.port(), "", to.host().as_str());
        let name = HostName::new(name.as_bytes()).map_err(|_| Refused::UnknownService)?;
        let restricted = self.exports().read(|said| said.restricted.get(&name).cloned());
        let alpn = std::iter::once(MESH_ALPN).collect();
        let decision = self.decide(&ClientHello { sni: Some(name), alpn });
        let Some(restricted) = restricted else {
            return match decision {
                Decision::Splice(route) => Ok(route),
                Decision::Refuse(Refusal::NoEndpoints) => Err(Refused::NoEndpoints),
                Decision::Refuse(_) => Err(Refused::UnknownService),
            };
        };
        match decision {
            Decision::Splice(route) => restricted.for_cluster(cluster, &route),
            Decision::Refuse(Refusal::NoEndpoints) if restricted.names(cluster) => {
                Err(Refused::NoEndpoints)
            }
            // Whether it has endpoints is none of the others' business.
            Decision::Refuse(Refusal::NoEndpoints) => Err(Refused::NotExported),
            Decision::Refuse(_) => Err(Refused::UnknownService),
        }
    }
}

impl Restricted {
    /// The targets of exports that are for the cluster, its own among them.
    fn for_cluster(
        &self,
        cluster: Option<&str>,
        route: &Arc<Route>,
    ) -> Result<Arc<Route>, Refused> {
        let mut targets = route.targets().to_vec();
        targets.retain(|target| self.is_for(cluster, target));
        match targets.len() {
            0 => Err(Refused::NotExported),
            all if all == route.targets().len() => Ok(Arc::clone(route)),
            _ => Ok(Arc::new(Route::new(route.name().clone(), targets))),
        }
    }

    fn is_for(&self, cluster: Option<&str>, target: &Target) -> bool {
        let Some(exporter) = self.exporters.get(&target.address) else { return false };
        match self.consumers.get(exporter) {
            // Of an export that names nobody; but if no export could be read, none is for anybody.
            None => !self.consumers.is_empty(),
            Some(consumers) => {
                cluster.is_some_and(|name| name == exporter || consumers.contains(name))
            }
        }
    }

    fn names(&self, cluster: Option<&str>) -> bool {
        cluster.is_some_and(|name| {
            self.consumers.iter().any(|(exporter, all)| exporter == name || all.contains(name))
        })
    }
}
