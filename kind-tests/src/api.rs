//! One cluster's API server, as its administrator.

mod apply;
mod exec;
mod wait;
mod wire;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Request;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::core::{ApiResource, GroupVersionKind};

pub use exec::{Ran, Streams};
use wire_client::client;

use crate::limit::REQUEST_WITHIN;

mod wire_client {
    use super::wire::Wire;

    /// A client of the API server at `address`, host and port.
    pub(crate) fn client(address: &str, ca: &str, token: &str) -> anyhow::Result<kube::Client> {
        Ok(kube::Client::new(Wire::new(address, ca, token)?, "default"))
    }
}

/// A cluster as it runs: what is done with it, beside starting and stopping it.
#[derive(Debug)]
pub struct Cluster {
    pub name: String,
    client: ClientBox,
    /// PEM of the API server's CA.
    ca: String,
    /// What the API server calls each kind, asked once.
    kinds: Mutex<BTreeMap<String, (ApiResource, bool)>>,
}

/// `kube::Client` has no `Debug`.
struct ClientBox(Client);

impl std::fmt::Debug for ClientBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Cluster {
    /// # Errors
    /// When `ca` holds no certificate or `address` is none.
    pub fn new(name: &str, address: &str, ca: &str, token: &str) -> anyhow::Result<Self> {
        let client = ClientBox(client(address, ca, token)?);
        Ok(Self { name: name.to_owned(), client, ca: ca.to_owned(), kinds: Mutex::default() })
    }

    /// By which the API server is known, in PEM.
    #[must_use]
    pub fn roots(&self) -> &str {
        &self.ca
    }

    /// A token of a service account, for the API server itself.
    ///
    /// # Errors
    /// When there is no such account, or the API server signs none for it.
    pub async fn token(
        &self,
        namespace: &str,
        account: &str,
        life: Duration,
    ) -> anyhow::Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let spec = TokenRequestSpec {
            expiration_seconds: Some(i64::try_from(life.as_secs())?),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let parameters = PostParams::default();
        let asked = accounts.create_token_request(account, &parameters, &request);
        let answer = in_time(asked).await.with_context(|| {
            format!("{}: no token of service account {namespace}/{account}", self.name)
        })?;
        let token = answer.status.and_then(|status| status.token);
        token.context("the API server answered without a token")
    }

    /// For what is not here.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.0.clone()
    }

    /// Whether the API server says that it is ready.
    pub(crate) async fn is_ready(&self) -> anyhow::Result<()> {
        let request = Request::get("/readyz").body(Vec::new())?;
        let text = in_time(self.client.0.request_text(request)).await?;
        if text.trim() == "ok" { Ok(()) } else { bail!("/readyz says {}", text.trim()) }
    }

    /// How the API server calls a kind, and whether its objects are in namespaces.
    async fn kind(&self, api_version: &str, kind: &str) -> anyhow::Result<(ApiResource, bool)> {
        let key = format!("{api_version}/{kind}");
        let known = self.kinds.lock().expect("nobody panics with it").get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let wanted = GroupVersionKind::gvk(group, version, kind);
        let (resource, capabilities) =
            in_time(kube::discovery::pinned_kind(&self.client.0, &wanted))
                .await
                .with_context(|| format!("{}: {kind} of {api_version}", self.name))?;
        let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
        let found = (resource, namespaced);
        self.kinds.lock().expect("nobody panics with it").insert(key, found.clone());
        Ok(found)
    }
}

/// `asked`, unless it takes too long.
pub(crate) async fn in_time<T>(asked: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
    match tokio::time::timeout(REQUEST_WITHIN, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => bail!("no answer within {REQUEST_WITHIN:?}"),
    }
}
