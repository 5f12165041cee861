//! What an operator can ask.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use diolkos_ops::{AdminRoutes, Answer};
use diolkos_route::Route;
use serde::Serialize;

use crate::control::{Control, ControlShown};
use crate::follow::{SharedStream, Stream};
use crate::{End, Gateway};

/// Routes on one page; a query narrows the rest.
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
    control: Vec<ControlShown>,
    xds: Stream,
}

#[derive(Serialize)]
struct Listener {
    name: String,
    address: String,
    protocols: Vec<String>,
}

#[derive(Serialize)]
struct RoutePage {
    name: String,
    targets: Vec<TargetPage>,
}

#[derive(Serialize)]
struct TargetPage {
    address: String,
    weight: u32,
    priority: u32,
}

pub(crate) fn routes(
    gateway: &Arc<Gateway>,
    stream: &SharedStream,
    controls: &[Arc<Control>],
) -> AdminRoutes {
    let (ready, debug, list) = (Arc::clone(gateway), Arc::clone(gateway), Arc::clone(gateway));
    let (stream, controls) = (Arc::clone(stream), controls.to_vec());
    AdminRoutes::new()
        .page("/ready", move |_| {
            if ready.is_ready() {
                Answer::text("ready")
            } else {
                Answer::unavailable("not ready: no listener, no routes yet, or draining")
            }
        })
        .metrics(gateway.metrics().registry())
        .page("/debug/diolkos.json", move |_| Answer::json(&state(&debug, &stream, &controls)))
        .page("/debug/routes", move |query| {
            let part = query.get("name").unwrap_or_default();
            let found = list.config().routes();
            let found = found.iter().filter(|route| route.name().as_str().contains(part));
            Answer::json(&found.take(ROUTES_SHOWN_MAX).map(|route| page(route)).collect::<Vec<_>>())
        })
}

fn state(gateway: &Gateway, stream: &SharedStream, controls: &[Arc<Control>]) -> State {
    let metrics = gateway.metrics();
    let counted = |end: End| (end.label(), metrics.ends(end));
    let plan = gateway.config().plan().borrow().clone();
    State {
        ready: gateway.is_ready(),
        routes: gateway.config().route_count(),
        pending: gateway.pending(),
        active: metrics.active.get(),
        refused: End::refusals().map(counted).filter(|(_, count)| *count > 0).collect(),
        ended: End::ENDINGS.into_iter().map(counted).filter(|(_, count)| *count > 0).collect(),
        listener: plan.map(|plan| Listener {
            name: plan.name,
            address: plan.address.to_string(),
            protocols: plan.protocols,
        }),
        control: controls.iter().map(|control| control.shown()).collect(),
        xds: stream.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    }
}

fn page(route: &Route) -> RoutePage {
    let target = |target: &diolkos_route::Target| TargetPage {
        address: target.address.to_string(),
        weight: target.weight,
        priority: target.priority,
    };
    RoutePage {
        name: route.name().as_str().to_owned(),
        targets: route.targets().iter().map(target).collect(),
    }
}
