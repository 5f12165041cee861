//! What an operator can ask.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use diolkos_ops::{AdminRoutes, Answer};
use diolkos_route::{Dialed, Target};
use serde::Serialize;

use crate::config::Named;
use crate::control::{Control, ControlShown};
use crate::egress::EgressShown;
use crate::follow::{SharedStream, Stream};
use crate::own::{CertificateShown, Own};
use crate::resource::Entry;
use crate::tunnels::TunnelsShown;
use crate::{Config, Egress, End, Gateway, NotInForce};

/// Routes on one page; a query narrows the rest, or asks for those after one.
const ROUTES_SHOWN_MAX: usize = 10_000;

#[derive(Serialize)]
struct State {
    ready: bool,
    routes: usize,
    pending: usize,
    active: i64,
    refused: BTreeMap<&'static str, u64>,
    ended: BTreeMap<&'static str, u64>,
    listener: Option<Listener>,
    /// What the control plane said that is not in force.
    not_in_force: Vec<NotInForce>,
    control: Vec<ControlShown>,
    /// Only where tunnels end here.
    hbone: Option<TunnelsShown>,
    /// Only where there is a way out.
    egress: Option<EgressShown>,
    /// Only where it is asked for.
    certificate: Option<CertificateShown>,
    xds: Stream,
}

#[derive(Serialize)]
struct Listener {
    name: String,
    address: String,
    /// Of any name; where it is told of each, the chains say so.
    protocols: Vec<String>,
    chains: Option<usize>,
}

#[derive(Serialize)]
struct RoutePage {
    name: String,
    /// Where it is not called as the name is.
    cluster: Option<String>,
    targets: Vec<TargetPage>,
    /// Why nobody is let through.
    why: Option<String>,
}

#[derive(Serialize)]
struct TargetPage {
    address: String,
    weight: u32,
    priority: u32,
    last_dial: Option<DialPage>,
}

#[derive(Serialize)]
struct DialPage {
    connected: bool,
    at_seconds: u64,
}

/// What holds it up, without a word of the mesh.
fn ready(gateway: &Gateway, own: &Own, egress: Option<&Arc<Egress>>) -> Result<(), String> {
    match gateway.ready() {
        Err(_) if own.is_awaited() && !gateway.is_ending() => {
            Err("waiting for its certificate".into())
        }
        Ok(()) if egress.is_some_and(|egress| !egress.config().is_warm()) => {
            Err("waiting for its first routes out".into())
        }
        other => other.map_err(str::to_owned),
    }
}

pub(crate) fn health(
    gateway: &Arc<Gateway>,
    own: &Arc<Own>,
    egress: Option<&Arc<Egress>>,
) -> AdminRoutes {
    let registry = gateway.metrics().registry();
    let (gateway, own, egress) = (Arc::clone(gateway), Arc::clone(own), egress.cloned());
    let ready = move || std::future::ready(ready(&gateway, &own, egress.as_ref()));
    AdminRoutes::health(registry, ready)
}

pub(crate) fn routes(
    gateway: &Arc<Gateway>,
    own: &Arc<Own>,
    stream: &SharedStream,
    controls: &[Arc<Control>],
    tunnels: Option<diolkos_hbone::Metrics>,
    egress: Option<&Arc<Egress>>,
) -> AdminRoutes {
    let [asked, debug] = [0; 2].map(|_| Arc::clone(gateway));
    let [whose, own] = [0; 2].map(|_| Arc::clone(own));
    let [awaited, shown] = [0; 2].map(|_| egress.cloned());
    let (stream, controls) = (Arc::clone(stream), controls.to_vec());
    let pages = AdminRoutes::new()
        .page("/ready", move |_| match ready(&asked, &whose, awaited.as_ref()) {
            Ok(()) => Answer::text("ready"),
            Err(why) => {
                let fault = whose.shown().and_then(CertificateShown::fault);
                Answer::unavailable(fault.map_or(why.clone(), |fault| format!("{why}: {fault}")))
            }
        })
        .metrics(gateway.metrics().registry())
        .page("/debug/diolkos.json", move |_| {
            let hbone = tunnels.as_ref().map(TunnelsShown::of);
            let egress = shown.as_deref().map(EgressShown::of);
            let ready = ready(&debug, &own, shown.as_ref()).is_ok();
            Answer::json(&State { ready, hbone, egress, ..state(&debug, &own, &stream, &controls) })
        });
    let pages = names(pages, "/debug/routes", gateway.config());
    match egress {
        Some(egress) => names(pages, "/debug/egress", egress.config()),
        None => pages,
    }
}

fn names(pages: AdminRoutes, path: &'static str, config: &Arc<Config>) -> AdminRoutes {
    let config = Arc::clone(config);
    pages.page(path, move |query| {
        let part = query.get("name").unwrap_or_default();
        let after = query.get("after").unwrap_or_default();
        let names = config.names();
        let is_asked = |named: &&Named| {
            let name = named.name.as_str();
            name.contains(part) && name > after
        };
        let found = names.iter().filter(is_asked).take(ROUTES_SHOWN_MAX);
        Answer::json(&found.map(page).collect::<Vec<_>>())
    })
}

fn state(gateway: &Gateway, own: &Own, stream: &SharedStream, controls: &[Arc<Control>]) -> State {
    let metrics = gateway.metrics();
    let counted = |end: End| (end.label(), metrics.ends(end));
    let plan = gateway.config().plan().borrow().clone();
    State {
        ready: false,
        routes: gateway.config().route_count(),
        pending: gateway.pending(),
        active: metrics.active.get(),
        refused: End::refusals().map(counted).filter(|(_, count)| *count > 0).collect(),
        ended: End::ENDINGS.into_iter().map(counted).filter(|(_, count)| *count > 0).collect(),
        listener: plan.map(|plan| {
            let (protocols, chains) = match plan.entry {
                Entry::EveryName { protocols } => (protocols, None),
                Entry::Chains(chains) => (Vec::new(), Some(chains.len())),
            };
            Listener { name: plan.name, address: plan.address.to_string(), protocols, chains }
        }),
        not_in_force: gateway.config().not_in_force(),
        control: controls.iter().map(|control| control.shown()).collect(),
        hbone: None,
        egress: None,
        certificate: own.shown(),
        xds: stream.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    }
}

fn page(named: &Named) -> RoutePage {
    let target = |(target, dialed): (&Target, Option<Dialed>)| TargetPage {
        address: target.address.to_string(),
        weight: target.weight,
        priority: target.priority,
        last_dial: dialed
            .map(|Dialed { connected, at_seconds }| DialPage { connected, at_seconds }),
    };
    let route = named.route.as_deref();
    let cluster = route.map(diolkos_route::Route::name).filter(|cluster| **cluster != named.name);
    RoutePage {
        name: named.name.to_string(),
        cluster: cluster.map(ToString::to_string),
        targets: route.into_iter().flat_map(|route| route.dials().map(target)).collect(),
        why: named.why.clone(),
    }
}
