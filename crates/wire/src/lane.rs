//! A thin session: plain statements, and COPY on the bare socket.

use std::time::Duration;

use pghaul_stage::{Result, Side};

use crate::session::Session;
use crate::{Canceller, Conninfo, CopyIn, CopyOut, startup};

/// How long a COPY may be silent unless [`Lane::set_silence_limit`] says otherwise.
const SILENCE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// A thin session for bulk COPY.
///
/// A lane belongs to one task at a time. Dropping it closes the socket.
#[derive(Debug)]
pub struct Lane {
    session: Session,
    silence: Option<Duration>,
}

impl Lane {
    /// Connects to the first host that is reachable and fits `target_session_attrs`.
    ///
    /// Every error names the host and port and what to check. `Transient` are only those that
    /// time may heal: refused, timed out, starting up, too many connections.
    pub async fn connect(info: &Conninfo, side: Side) -> Result<Lane> {
        let session = startup::connect(info, side)
            .await
            .map_err(|unconnected| unconnected.error)?;
        Ok(Lane {
            session,
            silence: Some(SILENCE_LIMIT),
        })
    }

    pub(crate) fn new(session: Session, silence: Option<Duration>) -> Lane {
        Lane { session, silence }
    }

    /// The server process behind this session.
    pub fn pid(&self) -> i32 {
        self.session.pid
    }

    /// Which end this session belongs to.
    pub fn side(&self) -> Side {
        self.session.side
    }

    /// The server's version as `server_version_num` shows it, such as 150018; 0 if unknown.
    pub fn server_version(&self) -> u32 {
        self.parameter("server_version").map_or(0, version_number)
    }

    /// A setting that the server reports, such as `client_encoding`.
    ///
    /// Source: PostgreSQL's manual, section 55.2.7.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.session.parameters.get(name).map(String::as_str)
    }

    /// How long a COPY may be silent before it fails as `Transient`; 15 minutes at first.
    pub fn set_silence_limit(&mut self, limit: Option<Duration>) {
        self.silence = limit;
    }

    /// Runs statements in one simple query, discards rows, returns the command tags.
    ///
    /// It has no deadline, because DDL may take hours; keepalive finds a dead server.
    pub async fn execute(&mut self, sql: &str) -> Result<Vec<String>> {
        Ok(self.session.simple_query(sql, false).await?.tags)
    }

    /// Runs statements in one simple query and returns all their rows as text.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        Ok(self.session.simple_query(sql, true).await?.rows)
    }

    /// Starts one or several `COPY … TO STDOUT` in one simple query; other statements may
    /// stand between them. The COPY gives the lane back at its end.
    pub async fn copy_out(mut self, sql: &str) -> Result<CopyOut> {
        self.session.send_query(sql).await?;
        Ok(CopyOut::new(self.session, self.silence))
    }

    /// Starts one or several `COPY … FROM STDIN` in one simple query; other statements may
    /// stand between them. Does not wait for the server: its refusal comes with a later call.
    pub async fn copy_in(mut self, sql: &str) -> Result<CopyIn> {
        self.session.send_query(sql).await?;
        Ok(CopyIn::new(self.session, self.silence))
    }

    /// What cancels this session's statement from elsewhere.
    pub fn canceller(&self) -> Canceller {
        self.session.canceller()
    }

    /// Whether the session is idle outside of any transaction, so that it may go back to a pool.
    pub fn is_healthy(&self) -> bool {
        self.session.is_idle()
    }

    /// Whether a transaction is open, be it failed or not.
    pub fn in_transaction(&self) -> bool {
        self.session.in_transaction()
    }
}

/// `15.18 (Debian 15.18-1)`, `9.6.24`, `18beta1` as one number.
fn version_number(text: &str) -> u32 {
    let mut parts = text
        .split(|character: char| !character.is_ascii_digit() && character != '.')
        .next()
        .unwrap_or_default()
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or_default());
    let mut part = || parts.next().unwrap_or_default().min(9999);
    let (first, second, third) = (part(), part(), part());
    if first >= 10 {
        first * 10_000 + second
    } else {
        first * 10_000 + second.min(99) * 100 + third.min(99)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, number) in [
            ("15.18 (Debian 15.18-1.pgdg120+1)", 150_018),
            ("18beta1", 180_000),
            ("9.6.24", 90_624),
            ("16devel", 160_000),
            ("", 0),
        ] {
            assert_eq!(version_number(text), number, "{text}");
        }
    }
}
