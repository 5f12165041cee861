//! The pages of a primary.

use std::sync::{Arc, Mutex, PoisonError};

use diolkos_ops::metrics::Registry;
use diolkos_ops::{AdminRoutes, Answer, Query, Shutdown};
use diolkos_topology::ClusterId;
use serde::Serialize;

use crate::core::{Ledger, LedgerEntry, Question, Readiness, Shown};
use crate::owner::Owner;

#[derive(Serialize)]
struct Page {
    #[serde(flatten)]
    shown: Box<Shown>,
    /// Clients that were refused.
    denials: Vec<LedgerEntry>,
}

pub(crate) fn routes(
    owner: &Owner,
    own: ClusterId,
    ready: Readiness,
    registry: Arc<Registry>,
    denials: Arc<Mutex<Ledger>>,
) -> AdminRoutes {
    let [clusters, page, explain] = [owner.clone(), owner.clone(), owner.clone()];
    AdminRoutes::new()
        .page("/healthz", |_: &Query| Answer::text("alive"))
        .page("/ready", move |_: &Query| match ready.get() {
            Ok(()) => Answer::text("ready"),
            Err(waited_for) => Answer::unavailable(format!("waiting for {waited_for}")),
        })
        .metrics(registry)
        .asking("/debug/clusterz", move |_| {
            let owner = clusters.clone();
            async move { json(owner.clusterz().await) }
        })
        .asking("/debug/diolkos.json", move |_| {
            let (owner, denials) = (page.clone(), denials.clone());
            async move {
                let shown = owner.shown().await;
                let denials = denials.lock().unwrap_or_else(PoisonError::into_inner).entries();
                json(shown.map(|shown| Page { shown, denials }))
            }
        })
        .asking("/debug/explain", move |query| {
            let (owner, own) = (explain.clone(), own.clone());
            async move {
                let question = match Question::parse(&query, &own) {
                    Ok(question) => question,
                    Err(reason) => return Answer::bad_request(reason),
                };
                let as_json = match query.get("output").unwrap_or("text") {
                    "text" => false,
                    "json" => true,
                    other => {
                        let reason = format!("output {other:?} is none of text, json");
                        return Answer::bad_request(reason);
                    }
                };
                match owner.explain(question).await {
                    Ok(Ok(explained)) if as_json => Answer::json(&explained.shown()),
                    Ok(Ok(explained)) => Answer::text(explained.lines().join("\n") + "\n"),
                    Ok(Err(unknown)) => Answer::not_found(unknown),
                    Err(status) => Answer::unavailable(status.message()),
                }
            }
        })
}

/// Whoever asks these may be anybody: whose facts are waited for, the admin endpoint says.
pub(crate) fn health(ready: Readiness, registry: Arc<Registry>, ending: Shutdown) -> AdminRoutes {
    AdminRoutes::health(registry, move || std::future::ready(takes_clients(&ready, &ending)))
}

fn takes_clients(ready: &Readiness, ending: &Shutdown) -> Result<(), String> {
    match ready.get() {
        _ if ending.has_begun() => Err("draining".into()),
        Ok(()) => Ok(()),
        Err(_) => Err("waiting for the first facts; /ready on loopback says whose".into()),
    }
}

fn json<T: Serialize>(answer: Result<T, tonic::Status>) -> Answer {
    match answer {
        Ok(value) => Answer::json(&value),
        Err(status) => Answer::unavailable(status.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_takes_clients_once_it_is_ready_and_until_it_ends() {
        let (trigger, ending) = Shutdown::new();
        let ready = Readiness::new();
        let told = takes_clients(&ready, &ending).unwrap_err();
        assert!(told.starts_with("waiting for the first facts"), "{told}");
        ready.set(Ok(()));
        assert_eq!(takes_clients(&ready, &ending), Ok(()));
        trigger.fire();
        assert_eq!(takes_clients(&ready, &ending), Err("draining".into()));
    }
}
