//! Whose token is it? Asked of the API server of the cluster that the token is said to be from.

use std::collections::{BTreeMap, BTreeSet};
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
pub(super) struct Clients {
    desks: Arc<Mutex<BTreeMap<ClusterId, Desk>>>,
    /// Of clusters that are not the mesh's alone: the namespaces that are.
    own: Arc<Mutex<BTreeMap<ClusterId, BTreeSet<String>>>>,
}

#[derive(Clone, Debug)]
struct Desk {
    client: ApiClient,
    turns: Arc<Semaphore>,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterId, Desk>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, cluster: &ClusterId, client: ApiClient) {
        let mut all = self.lock();
        let turns = all.get(cluster).map(|desk| desk.turns.clone());
        let turns = turns.unwrap_or_else(|| Arc::new(Semaphore::new(limit::REVIEWS_MAX)));
        all.insert(cluster.clone(), Desk { client, turns });
    }

    pub(super) fn remove(&self, cluster: &ClusterId) {
        self.lock().remove(cluster);
        self.own().remove(cluster);
    }

    fn own(&self) -> MutexGuard<'_, BTreeMap<ClusterId, BTreeSet<String>>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: the whole cluster is of the mesh.
    pub(super) fn narrow(&self, cluster: &ClusterId, own: Option<&BTreeSet<String>>) {
        match own {
            Some(own) => drop(self.own().insert(cluster.clone(), own.clone())),
            None => drop(self.own().remove(cluster)),
        }
    }

    /// Whether whoever has this name is of the mesh, as API servers write names.
    fn check(&self, cluster: &ClusterId, user: &str) -> Result<(), ReviewError> {
        let all = self.own();
        let Some(own) = all.get(cluster) else { return Ok(()) };
        let account = user.strip_prefix("system:serviceaccount:");
        match account.and_then(|account| account.split(':').next()) {
            Some(namespace) if !own.contains(namespace) => {
                Err(ReviewError::Elsewhere(namespace.to_owned(), cluster.clone()))
            }
            _ => Ok(()),
        }
    }
}

/// Reviews tokens; clones ask the same API servers. Until a source is given one it knows none.
#[derive(Clone, Debug, Default)]
pub struct Reviewer(pub(super) Clients);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    #[error("cluster {0} is not registered here")]
    UnknownCluster(ClusterId),
    #[error(
        "namespace {0} of cluster {1} is of another mesh; its label istio.io/rev says of which"
    )]
    Elsewhere(String, ClusterId),
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
        let status = answer.status;
        let status = status.ok_or_else(|| unavailable(ApiError::Malformed("no status".into())))?;
        let user = status.user.as_ref().and_then(|user| user.username.as_deref());
        self.0.check(cluster, user.unwrap_or_default())?;
        Ok(status)
    }
}
