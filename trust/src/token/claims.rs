//! What a token says, claim by claim.

use std::time::{Duration, SystemTime};

use super::TOKEN_SKEW;
use super::fault::{Quoted, QuotedList, TokenFault};
use super::json::{Json, Map};

/// Whom a token speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub namespace: String,
    pub service_account: String,
    /// The pod that the token was made for, and with which it ends, if there is one.
    pub pod: Option<String>,
}

pub(super) fn text<'a>(map: &'a Map, claim: &'static str) -> Result<&'a str, TokenFault> {
    text_at(map, claim, claim)
}

fn text_at<'a>(map: &'a Map, key: &str, claim: &'static str) -> Result<&'a str, TokenFault> {
    match map.get(key) {
        Some(Json::Text(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(TokenFault::Malformed { claim, expected: "a text" }),
        None => Err(TokenFault::Missing { claim }),
    }
}

pub(super) fn check_audience(claims: &Map, accepted: &[&str]) -> Result<(), TokenFault> {
    let malformed = || TokenFault::Malformed { claim: "aud", expected: "a list of texts" };
    let said: Vec<String> = match claims.get("aud") {
        None => return Err(TokenFault::Missing { claim: "aud" }),
        Some(Json::Text(one)) => vec![one.clone()],
        Some(Json::List(several)) => several
            .iter()
            .map(|one| match one {
                Json::Text(text) => Ok(text.clone()),
                _ => Err(malformed()),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(malformed()),
    };
    if said.iter().any(|audience| accepted.contains(&audience.as_str())) {
        return Ok(());
    }
    let expected = QuotedList(accepted.iter().map(ToString::to_string).collect());
    Err(TokenFault::Audience { said: QuotedList(said), expected })
}

/// When it ends.
pub(super) fn check_times(claims: &Map, now: SystemTime) -> Result<SystemTime, TokenFault> {
    let expires = time(claims, "exp")?.ok_or(TokenFault::Missing { claim: "exp" })?;
    // At the moment itself it is over (RFC 7519, 4.1.4).
    if let Ok(ago) = now.duration_since(expires) {
        return Err(TokenFault::Expired { ago });
    }
    for claim in ["nbf", "iat"] {
        if let Some(begins) = time(claims, claim)?
            && let Ok(wait) = begins.duration_since(now)
            && wait > TOKEN_SKEW
        {
            return Err(TokenFault::NotYetValid { claim, wait });
        }
    }
    Ok(expires)
}

fn time(claims: &Map, claim: &'static str) -> Result<Option<SystemTime>, TokenFault> {
    let malformed = TokenFault::Malformed { claim, expected: "a time in whole seconds" };
    match claims.get(claim) {
        None => Ok(None),
        Some(Json::Whole(seconds)) => {
            let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(*seconds));
            time.map(Some).ok_or(malformed)
        }
        Some(_) => Err(malformed),
    }
}

pub(super) fn subject(claims: &Map) -> Result<Subject, TokenFault> {
    let said = text(claims, "sub")?;
    let (namespace, service_account) = said
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .filter(|(namespace, account)| is_label(namespace) && is_subdomain(account))
        .ok_or_else(|| TokenFault::Subject { said: Quoted::of(said) })?;

    let kubernetes = map(claims, "kubernetes.io", "kubernetes.io")?;
    let account = map(kubernetes, "serviceaccount", "kubernetes.io.serviceaccount")?;
    let agrees = |map, key, claim, expected: &str| match text_at(map, key, claim)? {
        said if said == expected => Ok(()),
        said => {
            let (said, expected) = (Quoted::of(said), Quoted::of(expected));
            Err(TokenFault::Disagrees { claim, said, expected })
        }
    };
    agrees(kubernetes, "namespace", "kubernetes.io.namespace", namespace)?;
    agrees(account, "name", "kubernetes.io.serviceaccount.name", service_account)?;
    let pod = match kubernetes.contains_key("pod") {
        true => {
            let pod = map(kubernetes, "pod", "kubernetes.io.pod")?;
            Some(text_at(pod, "name", "kubernetes.io.pod.name")?.to_owned())
        }
        false => None,
    };
    let (namespace, service_account) = (namespace.to_owned(), service_account.to_owned());
    Ok(Subject { namespace, service_account, pod })
}

fn map<'a>(inside: &'a Map, key: &str, claim: &'static str) -> Result<&'a Map, TokenFault> {
    match inside.get(key) {
        Some(Json::Map(map)) => Ok(map),
        Some(_) => Err(TokenFault::Malformed { claim, expected: "an object" }),
        None => Err(TokenFault::Missing { claim }),
    }
}

/// As Kubernetes names namespaces.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// As Kubernetes names service accounts.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}
