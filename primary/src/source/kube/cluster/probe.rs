//! A server is asked for a sign of life, and which one it is, and how far its versions are.
//!
//! A watch that is silent may have nothing to say or may have been forgotten; and a server that
//! was restored from a backup goes back to versions that watches have passed already, and says
//! nothing until it comes by them again.

use std::sync::Arc;

use diolkos_facts::ObjectKind;
use diolkos_watch::{Probe, Reason, Said, Verdict};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::super::client::ApiClient;
use super::super::error::ApiError;
use super::super::feed::get;
use super::super::sight::GenerationSight;

#[derive(Debug)]
pub(super) struct Probed {
    pub(super) error: Option<ApiError>,
    pub(super) uid: Option<String>,
    /// Kinds whose watches are ahead of the server.
    pub(super) rewound: Vec<ObjectKind>,
}

#[derive(Deserialize)]
struct Namespaces {
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<Namespace>,
}

#[derive(Deserialize)]
struct Namespace {
    metadata: ObjectMeta,
}

/// The one namespace that every cluster has from its beginning to its end.
const PATH: &str = "/api/v1/namespaces?fieldSelector=metadata.name%3Dkube-system&limit=1";

pub(super) async fn run(
    client: ApiClient,
    sight: Arc<GenerationSight>,
    probes: mpsc::Sender<Probed>,
) {
    let mut every = tokio::time::interval(client.pace().probe);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        // What is seen while the answer is on its way proves nothing.
        let seen: Vec<(ObjectKind, Probe)> =
            sight.feeds.iter().filter_map(|(kind, feed)| Some((*kind, feed.probe()?))).collect();
        let asked = client.call::<Namespaces>(get(PATH));
        let limit = client.pace().probe.max(client.pace().connect_max);
        let probed = match tokio::time::timeout(limit, asked).await {
            Err(_) => Err(ApiError::Unreachable("no sign of life".into())),
            Ok(answer) => answer,
        };
        let probed = match probed {
            Err(error) => Probed { error: Some(error), uid: None, rewound: Vec::new() },
            Ok(found) => {
                let version = found.metadata.resource_version.unwrap_or_default();
                let back = seen.into_iter().filter(|(kind, probe)| {
                    let said = Said::Probed { probe: *probe, version: &version };
                    let verdict = sight.feeds[kind].hear(said);
                    matches!(verdict, Verdict::Relist(Reason::Rewound { .. }))
                });
                Probed {
                    error: None,
                    rewound: back.map(|(kind, _)| kind).collect(),
                    // A cluster without it is one, too; that it has none is its mark.
                    uid: Some(
                        found
                            .items
                            .into_iter()
                            .next()
                            .and_then(|one| one.metadata.uid)
                            .unwrap_or_default(),
                    ),
                }
            }
        };
        if probes.send(probed).await.is_err() {
            return;
        }
    }
}
