//! What goes wrong, as a client reads it: RFC 9457.

use std::fmt;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use pghaul_stage::{Error, Kind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::job::Fault;

/// A refusal or a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Its type; `about:blank`, as the status says all.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What happened.
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    /// What is wrong with which key of the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
}

impl Problem {
    /// A problem with this status; the detail is one sentence without a full stop.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            remedy: None,
            errors: Vec::new(),
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The body is not what it should be.
    pub fn faults(faults: Vec<Fault>) -> Self {
        let first = faults.first().map(ToString::to_string);
        Self {
            errors: faults,
            ..Self::new(StatusCode::BAD_REQUEST, first.unwrap_or_default())
        }
    }

    /// There is nothing of this name.
    pub fn not_found(what: &str, name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is no {what} {name:?}"),
        )
    }

    /// It cannot be done in the state that things are in.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// The server cannot do it now.
    pub fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server has too much to do, or is stopping",
        )
        .remedy("try again in a moment")
    }
}

/// The detail.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl From<Error> for Problem {
    /// What the server did wrong is logged, and told in few words.
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            Kind::Input => StatusCode::BAD_REQUEST,
            Kind::Fenced => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(%error, cause = ?std::error::Error::source(&error), "a request failed");
        }
        Problem {
            remedy: error.hint().map(str::to_owned),
            ..Problem::new(status, error.to_string())
        }
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        let failed = Error::new(Kind::Permanent, "a file of the state cannot be read");
        failed.because(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        // Nothing in it can fail to become JSON.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (status, kind, body).into_response()
    }
}
