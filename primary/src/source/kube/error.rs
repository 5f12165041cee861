//! Why an API server did not give what it was asked for.

use std::fmt;

use diolkos_ops::printable;
use http::StatusCode;

use super::limit;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// It does not know the credential.
    Unauthorized(String),
    /// It knows the credential, which may not do this.
    Forbidden(String),
    NotFound(String),
    Conflict(String),
    /// The point to go on from is forgotten: list again.
    Gone(String),
    /// Any other answer that is a refusal.
    Status(u16, String),
    /// No answer.
    Unreachable(String),
    /// An answer that is none of an API server.
    Malformed(String),
}

impl ApiError {
    pub(super) fn of_status(status: StatusCode, message: String) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized(message),
            StatusCode::FORBIDDEN => Self::Forbidden(message),
            StatusCode::NOT_FOUND => Self::NotFound(message),
            StatusCode::CONFLICT => Self::Conflict(message),
            StatusCode::GONE => Self::Gone(message),
            other => Self::Status(other.as_u16(), message),
        }
    }

    pub(super) fn unreadable(error: &serde_json::Error) -> Self {
        Self::Malformed(format!("the answer cannot be read: {}", short(&error.to_string())))
    }

    /// It was heard, and it said no.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Unauthorized(_) | Self::Forbidden(_) | Self::Malformed(_))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, message) = match self {
            Self::Unauthorized(message) => ("does not know the credential (401)", message),
            Self::Forbidden(message) => ("does not allow it (403)", message),
            Self::NotFound(message) => ("does not have it (404)", message),
            Self::Conflict(message) => ("says that it changed meanwhile (409)", message),
            Self::Gone(message) => ("has forgotten the point to go on from (410)", message),
            Self::Status(code, message) => return write!(f, "answers {code}: {message}"),
            Self::Unreachable(message) | Self::Malformed(message) => ("", message),
        };
        match (what.is_empty(), message.is_empty()) {
            (true, _) => f.write_str(message),
            (false, true) => f.write_str(what),
            (false, false) => write!(f, "{what}: {message}"),
        }
    }
}

impl std::error::Error for ApiError {}

/// Text of strangers: one line, no longer than anyone reads.
pub(super) fn short(text: &str) -> String {
    let mut end = text.len().min(limit::MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    printable(&text[..end]).to_string()
}
