//! Whether a server is of the kind that `target_session_attrs` wants.

use pghaul_stage::{Error, Kind, Result};

use crate::conninfo::SessionAttrs;
use crate::session::Session;

/// Checks a fresh session.
pub(crate) async fn check(session: &mut Session, wanted: SessionAttrs) -> Result<()> {
    let (fits, problem) = match wanted {
        SessionAttrs::Any | SessionAttrs::PreferStandby => return Ok(()),
        SessionAttrs::ReadWrite => (!is_read_only(session).await?, "the session is read-only"),
        SessionAttrs::ReadOnly => (is_read_only(session).await?, "the session is not read-only"),
        SessionAttrs::Primary => (!is_standby(session).await?, "the server is a standby"),
        SessionAttrs::Standby => (is_standby(session).await?, "the server is not a standby"),
    };
    if fits {
        return Ok(());
    }
    Err(Error::new(Kind::Permanent, problem)
        .remedy("check the hosts of the connection string, and target_session_attrs"))
}

async fn is_standby(session: &mut Session) -> Result<bool> {
    // Reported since PostgreSQL 14.
    match session.parameters.get("in_hot_standby") {
        Some(value) => Ok(value == "on"),
        None => holds(session, "SELECT pg_catalog.pg_is_in_recovery()", "t").await,
    }
}

async fn is_read_only(session: &mut Session) -> Result<bool> {
    if session
        .parameters
        .get("default_transaction_read_only")
        .is_some_and(|value| value == "on")
    {
        return Ok(true);
    }
    match session.parameters.get("in_hot_standby") {
        Some(value) => Ok(value == "on"),
        None => holds(session, "SHOW transaction_read_only", "on").await,
    }
}

async fn holds(session: &mut Session, sql: &str, wanted: &str) -> Result<bool> {
    let answer = session.simple_query(sql, true).await?;
    let value = answer.rows.first().and_then(|row| row.first());
    Ok(value.and_then(Option::as_deref) == Some(wanted))
}
