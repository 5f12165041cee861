//! AdmissionReview, version 1: taken apart and answered.

use std::fmt;

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::path::InjectPath;
use crate::settings::InjectSettings;
use crate::verdict::{Verdict, decide};

/// An answer, and what to log of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// An AdmissionReview in JSON.
    pub body: Vec<u8>,
    /// `namespace/name` of the pod, as far as it has a name yet.
    pub pod: String,
    pub verdict: Verdict,
}

/// Nothing that can be answered: the request has no uid that an answer could carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    Json(String),
    Version { api_version: String, kind: String },
}

const VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// An API server cuts a warning there, with a loss of words.
const WARNING_CHARS_MAX: usize = 250;
const WARNINGS_MAX: usize = 12;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    uid: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    object: Option<Map<String, Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Kind {
    group: String,
    version: String,
    kind: String,
}

/// # Errors
/// When `body` is no AdmissionReview of version 1.
pub fn answer(
    body: &[u8],
    path: &InjectPath,
    settings: &InjectSettings,
) -> Result<Reply, Malformed> {
    let review: Review =
        serde_json::from_slice(body).map_err(|error| Malformed::Json(error.to_string()))?;
    if review.api_version != VERSION || review.kind != KIND {
        return Err(Malformed::Version { api_version: review.api_version, kind: review.kind });
    }
    let request = review.request;
    let verdict = verdict(&request, path, settings);
    Ok(Reply { body: response(&request.uid, &verdict), pod: pod(&request), verdict })
}

fn verdict(request: &Request, path: &InjectPath, settings: &InjectSettings) -> Verdict {
    let Kind { group, version, kind } = &request.kind;
    if (group.as_str(), version.as_str(), kind.as_str()) != ("", "v1", "Pod") {
        return Verdict::Skipped { reason: format!("it is a {kind}, not a Pod") };
    }
    if request.operation != "CREATE" {
        return Verdict::Skipped { reason: "it exists already".into() };
    }
    match &request.object {
        None => Verdict::Refused { reason: "the review holds no pod".into() },
        Some(pod) => decide(pod, &request.namespace, path, settings),
    }
}

fn pod(request: &Request) -> String {
    let metadata = request.object.as_ref().and_then(|pod| pod.get("metadata"));
    let text = |key| metadata.and_then(|of| of.get(key)).and_then(Value::as_str);
    let name = text("name").or_else(|| text("generateName")).unwrap_or_default();
    format!("{}/{name}", request.namespace)
}

fn response(uid: &str, verdict: &Verdict) -> Vec<u8> {
    let mut response = json!({ "uid": uid, "allowed": true });
    match verdict {
        Verdict::Injected { patch, warnings } => {
            let patch = ByteString(patch.to_string().into_bytes());
            response["patchType"] = "JSONPatch".into();
            response["patch"] = json!(patch);
            if !warnings.is_empty() {
                let warnings = warnings.iter().take(WARNINGS_MAX);
                response["warnings"] = warnings.map(|warning| cut(warning)).collect();
            }
        }
        Verdict::Skipped { .. } => {}
        Verdict::Refused { reason } => {
            response["allowed"] = false.into();
            let message = format!("diolkos cannot inject this pod: {reason}");
            response["status"] = json!({ "code": 422, "reason": "Invalid", "message": message });
        }
    }
    json!({ "apiVersion": VERSION, "kind": KIND, "response": response }).to_string().into_bytes()
}

fn cut(warning: &str) -> Value {
    warning.chars().take(WARNING_CHARS_MAX).collect::<String>().into()
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(cause) => write!(f, "the body is no AdmissionReview in JSON: {cause}"),
            Self::Version { api_version, kind } => write!(
                f,
                "the body is {kind:?} of {api_version:?}; set admissionReviewVersions: [v1] in the \
                 webhook configuration, so that it is an AdmissionReview of {VERSION}"
            ),
        }
    }
}

impl std::error::Error for Malformed {}
