//! A remote secret from a cluster that answers: a token of its reader, and the document around it.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use diolkos_deploy::RemoteSecret;
use diolkos_facts::remote::AllowedRanges;
use diolkos_topology::Namespace;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::{Client, ResourceExt as _};

use crate::api;
use crate::exit::Usage;

/// Who owns the fields that are set from here.
const OWNER: &str = "diolkos";

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) namespace: Namespace,
    pub(crate) account: String,
    /// As long as is asked for; the API server may give less.
    pub(crate) lifetime: Duration,
}

/// A remote secret that works, and until when.
pub(crate) struct Made {
    pub(crate) secret: RemoteSecret,
    pub(crate) ends: Time,
}

/// All but the token is in `draft`. What a primary would refuse is refused before any token is made.
pub(crate) async fn make(
    client: &Client,
    reader: &Reader,
    draft: RemoteSecret,
    allowed: &AllowedRanges,
) -> anyhow::Result<Made> {
    let stand_in = RemoteSecret { token: "token".into(), ..draft.clone() };
    stand_in.check(allowed).map_err(Usage::of)?;
    let (token, ends) = token(client, reader).await?;
    let secret = RemoteSecret { token, ..draft };
    // What an API server says is not known to be a token before it was read as one.
    secret.check(allowed)?;
    Ok(Made { secret, ends })
}

async fn token(client: &Client, reader: &Reader) -> anyhow::Result<(String, Time)> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), reader.namespace.as_str());
    let wanted = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(i64::try_from(reader.lifetime.as_secs())?),
            // No audiences: those of the API server itself.
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let what = format!("a token of {reader}");
    let parameters = PostParams::default();
    let asked = accounts.create_token_request(&reader.account, &parameters, &wanted);
    let given = match api::answer(&what, asked).await {
        Err(error) if api::is_missing(&error) => {
            return Err(anyhow!(
                "{what}: there is no such service account; give --create-reader, or --reader-account \
                 and --reader-namespace"
            ));
        }
        other => other?,
    };
    let given = given.status.unwrap_or_default();
    let token = given.token.with_context(|| format!("{what}: the API server gave none"))?;
    let ends = given.expiration_timestamp;
    Ok((token, ends.with_context(|| format!("{what}: the API server says no end of it"))?))
}

/// The account and its rights, as they should be. Its namespace has to be there.
pub(crate) async fn create_reader(client: &Client, reader: &Reader) -> anyhow::Result<()> {
    for object in diolkos_deploy::reader(&reader.namespace, &reader.account) {
        let object: DynamicObject = serde_json::from_value(object)?;
        let types = object.types.clone().unwrap_or_default();
        let kind = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
        let name = object.name_any();
        let what = format!("{} {name}", types.kind);
        let objects: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
            None => Api::all_with(client.clone(), &kind),
        };
        let (parameters, object) = (PatchParams::apply(OWNER), Patch::Apply(&object));
        match api::answer(&what, objects.patch(&name, &parameters, &object)).await {
            Err(error) if api::is_missing(&error) => {
                let namespace = &reader.namespace;
                return Err(anyhow!(
                    "{what}: there is no namespace {namespace}; apply what `diolkos manifest` \
                     prints first, or give --reader-namespace"
                ));
            }
            other => drop(other?),
        }
    }
    Ok(())
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service account {}/{}", self.namespace, self.account)
    }
}
