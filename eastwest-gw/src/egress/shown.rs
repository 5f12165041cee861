//! What there is of the way out, for whoever asks.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use serde::Serialize;

use super::{Egress, Fault};
use crate::NotInForce;
use crate::follow::Stream;

#[derive(Debug, Serialize)]
pub(crate) struct EgressShown {
    routes: usize,
    tunnels: i64,
    opened: u64,
    failures: BTreeMap<&'static str, u64>,
    gateways: Vec<GatewayShown>,
    not_in_force: Vec<NotInForce>,
    /// By what it was told whom to let out.
    listener: Option<String>,
    xds: Stream,
}

#[derive(Debug, Serialize)]
struct GatewayShown {
    address: String,
    connections: usize,
    tunnels: usize,
}

impl EgressShown {
    pub(crate) fn of(egress: &Egress) -> Self {
        let metrics = &egress.metrics;
        let failures = Fault::ALL.map(|fault| (fault.label(), metrics.failures(fault)));
        let gateways = egress.pool.standing().into_iter().map(|standing| GatewayShown {
            address: standing.gateway.to_string(),
            connections: standing.connections,
            tunnels: standing.tunnels,
        });
        Self {
            routes: egress.config.route_count(),
            tunnels: metrics.tunnels.get(),
            opened: metrics.opened.get(),
            failures: failures.into_iter().filter(|(_, count)| *count > 0).collect(),
            gateways: gateways.collect(),
            not_in_force: egress.config.not_in_force(),
            listener: egress.config.plan().borrow().as_ref().map(|plan| plan.name.clone()),
            xds: egress.stream.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
