//! For whom the CA signs: API servers say who holds a token, the primary what their cluster may.

use std::sync::Arc;

use diolkos_primary::source::kube;
use diolkos_primary::{PrimarySettings, SourceSettings};
use diolkos_topology::ClusterId;
use diolkos_trust::{SpiffeId, TrustDomain};
use diolkos_trust_service::{
    Boxed, Grants, NoReviewer, Review, ReviewError, Reviewed, Reviewer, Token,
};
use k8s_openapi::api::authentication::v1::TokenReviewStatus;

pub(super) fn reviewer(settings: &PrimarySettings) -> Arc<dyn Reviewer> {
    match &settings.source {
        SourceSettings::Files => Arc::new(NoReviewer),
        SourceSettings::Kubernetes(kube) => {
            let (own, servers) = (settings.cluster.clone(), kube.reviewer.clone());
            Arc::new(Servers { own, servers })
        }
    }
}

pub(super) fn grants(settings: &PrimarySettings, trust_domain: TrustDomain) -> Arc<dyn Grants> {
    let registered = settings.registered.clone();
    Arc::new(move |cluster: &str, namespace: &str, account: &str| {
        let id = SpiffeId::workload(&trust_domain, namespace, account);
        registered.may_hold(cluster, &id.map_err(|error| error.to_string())?)
    })
}

/// The API servers of the clusters that the primary reads.
#[derive(Debug)]
struct Servers {
    own: String,
    servers: kube::Reviewer,
}

impl Reviewer for Servers {
    fn review<'a>(
        &'a self,
        cluster: &'a str,
        token: &'a Token,
        audiences: &'a [&'a str],
    ) -> Boxed<'a, Result<Reviewed, ReviewError>> {
        Box::pin(async move {
            let name = if cluster.is_empty() { &self.own } else { cluster };
            let cluster = ClusterId::new(name).map_err(|_| self.unknown(name))?;
            let status = self.servers.review(&cluster, token.as_str(), audiences).await;
            let status = status.map_err(|error| self.error(name, error))?;
            Ok(Reviewed { cluster: cluster.to_string(), review: review(status) })
        })
    }
}

impl Servers {
    fn unknown(&self, asked: &str) -> ReviewError {
        let known = self.servers.clusters().iter().map(ClusterId::to_string).collect();
        ReviewError::UnknownCluster { asked: asked.to_owned(), known }
    }

    fn error(&self, cluster: &str, error: kube::ReviewError) -> ReviewError {
        let cause = match error {
            kube::ReviewError::UnknownCluster(_) => return self.unknown(cluster),
            kube::ReviewError::Refused(cause) => cause,
            elsewhere @ kube::ReviewError::Elsewhere(..) => elsewhere.to_string(),
            kube::ReviewError::Unavailable { cause, .. } => format!("it {cause}"),
        };
        ReviewError::Unavailable { cluster: cluster.to_owned(), cause }
    }
}

fn review(status: TokenReviewStatus) -> Review {
    let user = status.user.unwrap_or_default();
    Review {
        authenticated: status.authenticated.unwrap_or_default(),
        error: status.error.unwrap_or_default(),
        audiences: status.audiences.unwrap_or_default(),
        username: user.username.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
    }
}
