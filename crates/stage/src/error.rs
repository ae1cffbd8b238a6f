//! The one error of every stage: what kind, where, why, and what to do about it.

use std::borrow::Cow;
use std::fmt;

/// A result whose error says which side failed, on what, and what to do.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with its subject, cause and remedy.
///
/// One opaque type serves all crates, so that a failure in a thin connection keeps its
/// classification all the way to the exit code. Build one with [`Error::new`] and the
/// chained setters; ask it questions with [`Error::kind`] and [`Error::is_transient`].
///
/// ```
/// use pghaul_stage::{Error, Kind, Side};
///
/// let error = Error::new(Kind::Transient, "the server closed the connection")
///     .at(Side::Source)
///     .on("table public.orders")
///     .sqlstate("57P01");
/// assert!(error.is_transient());
/// assert_eq!(
///     error.to_string(),
///     "source, table public.orders: the server closed the connection (SQLSTATE 57P01)"
/// );
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    side: Option<Side>,
    subject: Option<String>,
    message: Cow<'static, str>,
    sqlstate: Option<String>,
    remedy: Option<Cow<'static, str>>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// How an error is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The caller asked for something that cannot be: exit code 2.
    Input,
    /// May pass when the same part is tried again on a fresh connection.
    Transient,
    /// Will fail again in the same way.
    Permanent,
    /// Another worker owns this part or this migration now.
    Fenced,
    /// The operator asked to stop.
    Cancelled,
    /// Two things that must be the same are not: going on would be guessing.
    Identity,
    /// Source and target differ: exit code 3.
    Mismatch,
    /// A peer broke its protocol, or a sender vanished without sealing.
    Protocol,
}

/// The end of the pipeline an error came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The server being read.
    Source,
    /// The server being written.
    Target,
    /// What joins the two.
    Link,
}

impl Error {
    /// An error of this kind; the message is one lower-case clause without a full stop.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            side: None,
            subject: None,
            message: message.into(),
            sqlstate: None,
            remedy: None,
            cause: None,
        }))
    }

    /// Wrong use: a value the caller gave cannot be right.
    pub fn input(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Input, message)
    }

    /// Names the side, unless one is named already.
    #[must_use]
    pub fn at(mut self, side: Side) -> Self {
        self.0.side.get_or_insert(side);
        self
    }

    /// Names the subject (a table, a part, a file), unless a narrower one is named already.
    #[must_use]
    pub fn on(mut self, subject: impl Into<String>) -> Self {
        self.0.subject.get_or_insert_with(|| subject.into());
        self
    }

    /// Adds the server's five-character error code.
    ///
    /// Source: PostgreSQL's manual, appendix A.
    #[must_use]
    pub fn sqlstate(mut self, code: impl Into<String>) -> Self {
        self.0.sqlstate = Some(code.into());
        self
    }

    /// Adds what the reader of the error can do about it, unless that is said already.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.0.remedy.get_or_insert_with(|| remedy.into());
        self
    }

    /// Adds the underlying cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// How to treat it.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Which end it came from, if one did.
    pub fn side(&self) -> Option<Side> {
        self.0.side
    }

    /// What it is about: a table, a part, a file.
    pub fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// What happened, without side, subject and code.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The server's error code, if the server reported it.
    pub fn code(&self) -> Option<&str> {
        self.0.sqlstate.as_deref()
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }

    /// Whether trying the same part again on a fresh connection may help.
    pub fn is_transient(&self) -> bool {
        self.0.kind == Kind::Transient
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.side, &self.0.subject) {
            (Some(side), Some(subject)) => write!(f, "{side}, {subject}: ")?,
            (Some(side), None) => write!(f, "{side}: ")?,
            (None, Some(subject)) => write!(f, "{subject}: ")?,
            (None, None) => {}
        }
        f.write_str(&self.0.message)?;
        if let Some(code) = &self.0.sqlstate {
            write!(f, " (SQLSTATE {code})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("side", &self.0.side)
            .field("subject", &self.0.subject)
            .field("message", &self.0.message)
            .field("sqlstate", &self.0.sqlstate)
            .field("remedy", &self.0.remedy)
            .field("cause", &self.0.cause)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Target => "target",
            Side::Link => "link",
        })
    }
}
