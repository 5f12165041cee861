//! What a page says.

use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;

use crate::metrics;

/// A status, a content type and a body.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: Bytes,
}

impl Answer {
    #[must_use]
    pub fn text(body: impl Into<String>) -> Self {
        Self::plain(StatusCode::OK, body)
    }

    /// `value` as JSON; one that cannot be written as JSON (a map with keys that are no text) is
    /// answered 500, with the reason.
    #[must_use]
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self {
                status: StatusCode::OK,
                content_type: "application/json",
                body: Bytes::from(body),
            },
            Err(cause) => Self::plain(StatusCode::INTERNAL_SERVER_ERROR, cause.to_string()),
        }
    }

    /// 400: the question cannot be understood; `reason` says what is missing or wrong.
    #[must_use]
    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self::plain(StatusCode::BAD_REQUEST, reason)
    }

    /// 404: a well-formed question about something that is not there.
    #[must_use]
    pub fn not_found(reason: impl Into<String>) -> Self {
        Self::plain(StatusCode::NOT_FOUND, reason)
    }

    /// 503: not now, as `/ready` says before a role is ready and while it drains.
    #[must_use]
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::plain(StatusCode::SERVICE_UNAVAILABLE, reason)
    }

    pub(super) fn plain(status: StatusCode, body: impl Into<String>) -> Self {
        let mut body = body.into();
        if !body.ends_with('\n') {
            body.push('\n');
        }
        Self { status, content_type: "text/plain; charset=utf-8", body: Bytes::from(body) }
    }

    pub(super) fn metrics(registry: &metrics::Registry) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: metrics::CONTENT_TYPE,
            body: Bytes::from(registry.text()),
        }
    }
}
