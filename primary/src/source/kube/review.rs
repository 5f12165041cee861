//! Whose token is it? Asked of the API server of the cluster that the token is said to be from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diolkos_topology::ClusterId;
use k8s_openapi::api::authentication::v1::TokenReview;
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

/// Reviews tokens; cheap to copy.
#[derive(Clone, Debug)]
pub struct Reviewer(pub(super) Clients);

/// Who a token is, by its cluster's word. Whether that cluster may say so is for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewed {
    pub namespace: String,
    pub service_account: String,
    /// Those asked for that the token is for. Never empty.
    pub audiences: Vec<String>,
    /// The pod that the token is bound to.
    pub pod: Option<String>,
    pub pod_uid: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    #[error("cluster {0} is not registered here")]
    UnknownCluster(ClusterId),
    #[error("the token is refused: {0}")]
    Refused(String),
    #[error("the API server of cluster {cluster} cannot be asked: it {cause}")]
    Unavailable { cluster: ClusterId, cause: ApiError },
}

pub(super) const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

impl Reviewer {
    /// Asks whether the token is good for one of the audiences, of which at least one is needed.
    ///
    /// # Errors
    /// When it is not, or when nobody can say.
    pub async fn review(
        &self,
        cluster: &ClusterId,
        token: &str,
        audiences: &[&str],
    ) -> Result<Reviewed, ReviewError> {
        if token.is_empty() || token.len() > limit::TOKEN_BYTES_MAX {
            return Err(ReviewError::Refused(format!("it has {} bytes", token.len())));
        }
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
        reviewed(answer, audiences)
    }
}

fn reviewed(answer: TokenReview, audiences: &[&str]) -> Result<Reviewed, ReviewError> {
    let refused = |why: &str| Err(ReviewError::Refused(super::error::short(why)));
    let Some(status) = answer.status else { return refused("no status in the review") };
    if status.authenticated != Some(true) {
        return refused(status.error.as_deref().unwrap_or("not authenticated"));
    }
    // A server that does not know audiences answers none, and has checked none.
    let granted: Vec<String> = status.audiences.unwrap_or_default();
    let granted: Vec<String> =
        granted.into_iter().filter(|one| audiences.contains(&one.as_str())).collect();
    if granted.is_empty() {
        return refused("it is for another audience");
    }
    let Some(user) = status.user else { return refused("it belongs to nobody") };
    let name = user.username.unwrap_or_default();
    let parts: Vec<&str> = name.split(':').collect();
    let [system, kind, namespace, account] = parts[..] else {
        return refused("it is not a service account's");
    };
    if (system, kind) != ("system", "serviceaccount") || namespace.is_empty() || account.is_empty()
    {
        return refused("it is not a service account's");
    }
    let extra = user.extra.unwrap_or_default();
    let first = |key: &str| extra.get(key).and_then(|values| values.first()).cloned();
    Ok(Reviewed {
        namespace: namespace.to_owned(),
        service_account: account.to_owned(),
        audiences: granted,
        pod: first("authentication.kubernetes.io/pod-name"),
        pod_uid: first("authentication.kubernetes.io/pod-uid"),
    })
}
