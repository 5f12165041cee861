//! Whose token is it? Asked of the API server of the cluster that the token is said to be from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diolkos_topology::ClusterId;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus};
use kube::core::Request as Ask;
use kube::core::params::PostParams;
use serde_json::json;
use tokio::sync::Semaphore;

use super::client::ApiClient;
use super::error::ApiError;
use super::limit;

/// The client of each cluster whose credential works, or is tried.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients(Arc<Mutex<BTreeMap<ClusterId, Desk>>>);

#[derive(Clone, Debug)]
struct Desk {
    client: ApiClient,
    turns: Arc<Semaphore>,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterId, Desk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, cluster: &ClusterId, client: ApiClient) {
        let mut all = self.lock();
        let turns = all.get(cluster).map(|desk| desk.turns.clone());
        let turns = turns.unwrap_or_else(|| Arc::new(Semaphore::new(limit::REVIEWS_MAX)));
        all.insert(cluster.clone(), Desk { client, turns });
    }

    pub(super) fn remove(&self, cluster: &ClusterId) {
        self.lock().remove(cluster);
    }
}

/// Reviews tokens; clones ask the same API servers. Until a source is given one it knows none.
#[derive(Clone, Debug, Default)]
pub struct Reviewer(pub(super) Clients);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    #[error("cluster {0} is not registered here")]
    UnknownCluster(ClusterId),
    #[error("the question is refused: {0}")]
    Refused(String),
    #[error("the API server of cluster {cluster} cannot be asked: it {cause}")]
    Unavailable { cluster: ClusterId, cause: ApiError },
}

pub(super) const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

impl Reviewer {
    /// Whose API servers can be asked.
    pub fn clusters(&self) -> Vec<ClusterId> {
        self.0.lock().keys().cloned().collect()
    }

    /// What the cluster's API server says of the token, unchecked: it may be anybody's.
    ///
    /// # Errors
    /// When it cannot be asked, or its answer says nothing.
    pub async fn review(
        &self,
        cluster: &ClusterId,
        token: &str,
        audiences: &[&str],
    ) -> Result<TokenReviewStatus, ReviewError> {
        if token.is_empty() || token.len() > limit::TOKEN_BYTES_MAX {
            return Err(ReviewError::Refused(format!("the token has {} bytes", token.len())));
        }
        // An API server that is asked for none answers for its own.
        if audiences.is_empty() {
            return Err(ReviewError::Refused("for no audience".into()));
        }
        let desk = self.0.lock().get(cluster).cloned();
        let desk = desk.ok_or_else(|| ReviewError::UnknownCluster(cluster.clone()))?;
        let unavailable = |cause| ReviewError::Unavailable { cluster: cluster.clone(), cause };
        let turn = tokio::time::timeout(desk.client.pace().answer_max, desk.turns.acquire()).await;
        let _turn =
            turn.map_err(|_| unavailable(ApiError::Unreachable("too many reviews".into())))?;
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "metadata": {}, "spec": {"token": token, "audiences": audiences},
        });
        let asked = Ask::new(PATH).create(&PostParams::default(), body.to_string().into_bytes());
        let asked = asked.map_err(|_| unavailable(ApiError::Malformed("no request".into())))?;
        let answer: TokenReview = desk.client.call(asked).await.map_err(unavailable)?;
        answer.status.ok_or_else(|| unavailable(ApiError::Malformed("no status".into())))
    }
}
