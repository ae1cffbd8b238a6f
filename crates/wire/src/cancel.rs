//! Asks a server to stop what another connection is doing.

use pghaul_stage::{Error, Kind, Result};

/// Cancels the running statement of one session over a connection of its own.
///
/// Source: PostgreSQL's manual, section 55.2.8.
#[derive(Debug, Clone)]
pub struct Canceller {}

impl Canceller {
    /// Sends the request; the session answers with its own error, if it was busy at all.
    pub async fn cancel(&self) -> Result<()> {
        Err(Error::new(Kind::Permanent, "not built yet"))
    }
}
