//! COPY into a server, with an ear for its errors while sending.

use bytes::Bytes;
use pghaul_stage::{Error, Kind, Result};

use crate::Lane;

/// A running COPY in.
#[derive(Debug)]
pub struct CopyIn {}

impl CopyIn {
    /// Sends bytes of the current statement's stream, cut anywhere.
    pub async fn send(&mut self, _bytes: Bytes) -> Result<()> {
        Err(Error::new(Kind::Permanent, "not built yet"))
    }
    /// Ends the current statement's stream, without waiting for the server.
    pub async fn done(&mut self) -> Result<()> {
        Err(Error::new(Kind::Permanent, "not built yet"))
    }
    /// Waits for the server; returns the session and the rows of each statement.
    pub async fn finish(self) -> Result<(Lane, Vec<u64>)> {
        Err(Error::new(Kind::Permanent, "not built yet"))
    }
    /// Makes the server fail the COPY, and waits until it has.
    pub async fn fail(self, _reason: &str) -> Result<Lane> {
        Err(Error::new(Kind::Permanent, "not built yet"))
    }
}
