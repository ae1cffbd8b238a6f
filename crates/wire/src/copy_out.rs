//! COPY out of a server, its bytes forwarded without a look at the rows.

use bytes::Bytes;
use pghaul_stage::{Error, Kind, Result};

use crate::Lane;

/// A piece of COPY, or its end.
#[derive(Debug, Clone)]
pub enum CopyEvent {
    /// Bytes of the stream.
    Data {
        /// The pure COPY stream, cut anywhere.
        bytes: Bytes,
        /// How many rows ended within this piece.
        rows: u64,
    },
    /// One COPY statement is complete.
    Done {
        /// The rows that the server counted.
        rows: u64,
    },
}

/// A running COPY out.
#[derive(Debug)]
pub struct CopyOut {}

impl CopyOut {
    /// The next piece; `None` when every statement is complete.
    pub async fn next(&mut self) -> Result<Option<CopyEvent>> {
        Err(Error::new(Kind::Permanent, "not built yet"))
    }
    /// The session, after the end.
    pub fn into_lane(self) -> Result<Lane> {
        Err(Error::new(Kind::Permanent, "not built yet"))
    }
}
