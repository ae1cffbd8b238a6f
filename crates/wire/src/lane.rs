//! A session that runs plain statements and hands its socket to COPY.

use std::time::Duration;

use pghaul_stage::{Error, Kind, Result, Side};

use crate::{Canceller, Conninfo, CopyIn, CopyOut};

/// A thin session for bulk COPY.
#[derive(Debug)]
pub struct Lane {}

impl Lane {
    /// Connects to the first host that accepts.
    pub async fn connect(_info: &Conninfo, _side: Side) -> Result<Lane> {
        Err(unfinished())
    }
    /// The server process behind this session.
    pub fn pid(&self) -> i32 {
        0
    }
    /// Which end this session belongs to.
    pub fn side(&self) -> Side {
        Side::Source
    }
    /// The server's version as in `server_version_num`.
    pub fn server_version(&self) -> u32 {
        0
    }
    /// A setting that the server reported.
    pub fn parameter(&self, _name: &str) -> Option<&str> {
        None
    }
    /// How long a COPY may be silent.
    pub fn set_silence_limit(&mut self, _limit: Option<Duration>) {}
    /// Runs statements, discards rows, returns the command tags.
    pub async fn execute(&mut self, _sql: &str) -> Result<Vec<String>> {
        Err(unfinished())
    }
    /// Runs statements and returns their rows as text.
    pub async fn query(&mut self, _sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        Err(unfinished())
    }
    /// Starts one or several `COPY … TO STDOUT`.
    pub async fn copy_out(self, _sql: &str) -> Result<CopyOut> {
        Err(unfinished())
    }
    /// Starts one or several `COPY … FROM STDIN`.
    pub async fn copy_in(self, _sql: &str) -> Result<CopyIn> {
        Err(unfinished())
    }
    /// What cancels this session's statement from elsewhere.
    pub fn canceller(&self) -> Canceller {
        Canceller {}
    }
    /// Whether the session is idle and usable.
    pub fn is_healthy(&self) -> bool {
        false
    }
    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        false
    }
}

fn unfinished() -> Error {
    Error::new(Kind::Permanent, "not built yet")
}
