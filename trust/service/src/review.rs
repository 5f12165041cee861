//! What an API server says of a token, and who asks it.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;

/// A future that can cross threads, as the traits of this crate return it.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Audiences that a token for the CA may have: ours, and that of Istio's own agents.
pub const AUDIENCES: &[&str] = &["diolkos-ca", "istio-ca"];

/// A bearer token; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The status of a TokenReview, field by field. Nothing of it is believed before it was checked:
/// the API server that wrote it may be another cluster's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    pub authenticated: bool,
    /// `status.error`; empty where there is none.
    pub error: String,
    pub audiences: Vec<String>,
    pub username: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A review, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewed {
    /// The cluster whose API server was asked, by the name the mesh knows it by.
    pub cluster: String,
    pub review: Review,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// Nobody here can ask that cluster's API server.
    #[error("cluster {asked:?} is not one of those known here: {}", known.join(", "))]
    UnknownCluster { asked: String, known: Vec<String> },
    /// It could be asked, and did not answer.
    #[error("the API server of cluster {cluster} cannot be asked: {cause}")]
    Unavailable { cluster: String, cause: String },
}

/// Asks API servers to review tokens. One call is one TokenReview, without a retry: whoever wants a
/// certificate comes again.
pub trait Reviewer: Send + Sync + fmt::Debug {
    /// Asks the API server of `cluster`, or the primary's own where it is empty, with `audiences`
    /// as the review's.
    fn review<'a>(
        &'a self,
        cluster: &'a str,
        token: &'a Token,
        audiences: &'a [&'a str],
    ) -> Boxed<'a, Result<Reviewed, ReviewError>>;
}

/// Where no API server can be asked: every token is refused, and certificates are renewed only
/// with the certificate before.
#[derive(Clone, Copy, Debug)]
pub struct NoReviewer;

impl Reviewer for NoReviewer {
    fn review<'a>(
        &'a self,
        cluster: &'a str,
        _: &'a Token,
        _: &'a [&'a str],
    ) -> Boxed<'a, Result<Reviewed, ReviewError>> {
        let cluster = if cluster.is_empty() { "of this primary" } else { cluster };
        let error = ReviewError::Unavailable {
            cluster: cluster.to_owned(),
            cause: "this primary reads files and knows no API server; run it with --source \
                    kubernetes"
                .to_owned(),
        };
        Box::pin(std::future::ready(Err(error)))
    }
}

/// Which identities a cluster may hold, whatever its API server says.
pub trait Grants: Send + Sync {
    /// # Errors
    /// Why not: the sentence goes to the one who asked and into the log.
    fn may_hold(&self, cluster: &str, namespace: &str, service_account: &str)
    -> Result<(), String>;
}

impl<F> Grants for F
where
    F: Fn(&str, &str, &str) -> Result<(), String> + Send + Sync,
{
    fn may_hold(
        &self,
        cluster: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<(), String> {
        self(cluster, namespace, service_account)
    }
}
