//! A server is asked for a sign of life, and which one it is, and how far its versions are.
//!
//! A watch that is silent may have nothing to say or may have been forgotten; and a server that
//! was restored from a backup goes back to versions that watches have passed already, and says
//! nothing until it comes by them again.

use std::sync::Arc;

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
    pub(super) rewound: bool,
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
        let seen = sight.feeds.values().map(|feed| feed.version()).max().unwrap_or(0);
        let asked = client.call::<Namespaces>(get(PATH));
        let limit = client.pace().probe.max(client.pace().connect_max);
        let probed = match tokio::time::timeout(limit, asked).await {
            Err(_) => Err(ApiError::Unreachable("no sign of life".into())),
            Ok(answer) => answer,
        };
        let probed = match probed {
            Err(error) => Probed { error: Some(error), uid: None, rewound: false },
            Ok(found) => {
                let version = found.metadata.resource_version;
                let version = version.and_then(|text| text.parse::<u64>().ok());
                Probed {
                    error: None,
                    // A cluster without it is one, too; that it has none is its mark.
                    uid: Some(
                        found
                            .items
                            .into_iter()
                            .next()
                            .and_then(|one| one.metadata.uid)
                            .unwrap_or_default(),
                    ),
                    rewound: version.is_some_and(|version| version < seen),
                }
            }
        };
        if probes.send(probed).await.is_err() {
            return;
        }
    }
}
