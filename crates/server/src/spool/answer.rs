//! Answers in S3's words.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quick_xml::escape::escape;

/// Why a request is not carried out.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The token is nobody's, or no longer valid.
    Unknown,
    /// The token is not for this.
    Forbidden(&'static str),
    /// Another agent has the seat.
    Fenced,
    /// There is no such object.
    NoSuchKey,
    /// No spool has objects of this name.
    NoSuchName,
    /// It is there already.
    Exists,
    /// It is not the one that was asked for.
    NotThatOne,
    /// Beyond the end of the object.
    Range(u64),
    /// The quota is used up.
    NoRoom,
    /// The length is not said.
    NoLength,
    /// Larger than anything a spool has.
    TooLarge,
    /// What arrived is not what was announced.
    Damaged(&'static str),
    /// It cannot be understood.
    Malformed(&'static str),
    /// A part of the protocol that spools do not use.
    NotImplemented,
    /// Nothing came for too long.
    Slow,
    /// The server cannot look up who that is.
    Unavailable,
    /// The store behind failed.
    Store(object_store::Error),
}

impl Refusal {
    /// The status, S3's code, and a sentence.
    fn parts(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Refusal::Unknown => (
                StatusCode::UNAUTHORIZED,
                "InvalidToken",
                "The token is not valid, or not any more.",
            ),
            Refusal::Forbidden(why) => (StatusCode::FORBIDDEN, "AccessDenied", why),
            Refusal::Fenced => (
                StatusCode::CONFLICT,
                "Fenced",
                "Another agent has taken over the work of this one.",
            ),
            Refusal::NoSuchKey => (
                StatusCode::NOT_FOUND,
                "NoSuchKey",
                "There is no such object.",
            ),
            Refusal::NoSuchName => (
                StatusCode::BAD_REQUEST,
                "InvalidObjectName",
                "No spool has objects of this name.",
            ),
            Refusal::Exists => (
                StatusCode::PRECONDITION_FAILED,
                "PreconditionFailed",
                "The object is there already.",
            ),
            Refusal::NotThatOne => (
                StatusCode::PRECONDITION_FAILED,
                "PreconditionFailed",
                "The object is another one.",
            ),
            Refusal::Range(_) => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "InvalidRange",
                "The range is not in the object.",
            ),
            Refusal::NoRoom => (
                StatusCode::INSUFFICIENT_STORAGE,
                "QuotaExceeded",
                "The spool has no room left.",
            ),
            Refusal::NoLength => (
                StatusCode::LENGTH_REQUIRED,
                "MissingContentLength",
                "The length must be said.",
            ),
            Refusal::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "EntityTooLarge",
                "The object is larger than any of a spool.",
            ),
            Refusal::Damaged(what) => (StatusCode::BAD_REQUEST, "BadDigest", what),
            Refusal::Malformed(what) => (StatusCode::BAD_REQUEST, "InvalidRequest", what),
            Refusal::NotImplemented => (
                StatusCode::NOT_IMPLEMENTED,
                "NotImplemented",
                "Spools do not use this.",
            ),
            Refusal::Slow => (
                StatusCode::REQUEST_TIMEOUT,
                "RequestTimeout",
                "Nothing arrived for too long.",
            ),
            Refusal::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "The server has a problem.",
            ),
            Refusal::Store(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "The store behind failed.",
            ),
        }
    }

    /// The code and the sentence, for an answer about several objects.
    pub(super) fn said(&self) -> (&'static str, &'static str) {
        let (_, code, message) = self.parts();
        (code, message)
    }
}

impl From<object_store::Error> for Refusal {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as Cause;
        match error {
            Cause::NotFound { .. } => Refusal::NoSuchKey,
            Cause::AlreadyExists { .. } | Cause::Precondition { .. } => Refusal::Exists,
            error => Refusal::Store(error),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // The store's own words may name its address, so the log has them and the guest not.
        if let Refusal::Store(error) = &self {
            tracing::warn!(%error, "the store of the spools failed");
        }
        let (status, code, message) = self.parts();
        let body = format!(
            "<Error><Code>{}</Code><Message>{}</Message></Error>",
            escape(code),
            escape(message)
        );
        let mut response = (status, xml(&body)).into_response();
        if let Refusal::Range(size) = self
            && let Ok(range) = HeaderValue::try_from(format!("bytes */{size}"))
        {
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        response
    }
}

/// A document.
pub(super) fn xml(root: &str) -> impl IntoResponse + use<> {
    let kind = [(header::CONTENT_TYPE, "application/xml")];
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{root}");
    (kind, body)
}
