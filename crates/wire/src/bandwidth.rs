//! How many bytes a second pass between this host and a server, by rows that are made up.

use std::time::Duration;

use bytes::Bytes;
use pghaul_stage::{Error, Kind, Result, Side};
use tokio::time::{Instant, timeout};

use crate::{Conninfo, CopyEvent, Lane};

/// A made-up row: long enough that bytes count and rows do not.
const ROW: usize = 1000;

/// What one measurement writes into the target's temporary table at most.
const WRITTEN: u64 = 128 << 20;

/// How long beyond its time a measurement may take before it is given up.
const GRACE: Duration = Duration::from_secs(10);

/// Bytes, and the time that they took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throughput {
    /// Payload bytes of COPY.
    pub bytes: u64,
    /// From the first byte to the last.
    pub elapsed: Duration,
}

impl Throughput {
    /// Bytes a second.
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64().max(1e-6)
    }
}

/// Reads rows that the server makes up, for so long.
///
/// # Errors
///
/// Those of a connection, and kind transient where the server does not answer in time.
pub async fn receive(info: &Conninfo, side: Side, limit: Duration) -> Result<Throughput> {
    let lane = Lane::connect(info, side).await?;
    // In a list of results a series is made row by row; after FROM it would be stored first.
    let sql = format!(
        "SET statement_timeout = 0; COPY (SELECT pg_catalog.repeat('x', {}) \
           FROM (SELECT pg_catalog.generate_series(1, 2000000000)) AS rows) TO STDOUT",
        ROW - 1
    );
    let measuring = async {
        let mut copy = lane.copy_out(&sql).await?;
        let mut bytes = 0;
        // What the first piece took is the statement's beginning.
        copy.next().await?;
        let began = Instant::now();
        while began.elapsed() < limit {
            match copy.next().await? {
                Some(CopyEvent::Data { bytes: piece, .. }) => bytes += piece.len() as u64,
                Some(CopyEvent::Done { .. }) => {}
                None => break,
            }
        }
        // Dropped before its end, it asks the server to cancel the statement.
        Ok(Throughput {
            bytes,
            elapsed: began.elapsed(),
        })
    };
    within(limit, side, measuring).await
}

/// Writes made-up rows into a temporary table, for so long, in a transaction that is rolled back.
///
/// # Errors
///
/// Those of a connection; what the server says where the role may not have temporary tables, or
/// the server takes no writes; kind transient where it does not answer in time.
pub async fn send(info: &Conninfo, side: Side, limit: Duration) -> Result<Throughput> {
    const PIECE: usize = 64;
    let mut lane = Lane::connect(info, side).await?;
    let row = [vec![b'x'; ROW - 1], vec![b'\n']].concat();
    let piece = Bytes::from(row.repeat(PIECE));
    let measuring = async {
        lane.execute(
            "BEGIN READ WRITE; SET LOCAL statement_timeout = 0; \
             CREATE TEMPORARY TABLE pghaul_bandwidth (row text) ON COMMIT DROP",
        )
        .await?;
        let mut copy = lane
            .copy_in("COPY pg_temp.pghaul_bandwidth FROM STDIN; ROLLBACK")
            .await?;
        let began = Instant::now();
        let mut bytes = 0;
        while began.elapsed() < limit && bytes < WRITTEN {
            bytes += piece.len() as u64;
            copy.send(piece.clone()).await?;
        }
        copy.done().await?;
        copy.finish().await?;
        Ok(Throughput {
            bytes,
            elapsed: began.elapsed(),
        })
    };
    within(limit, side, measuring).await
}

async fn within<T>(
    limit: Duration,
    side: Side,
    measuring: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout(limit + GRACE, measuring).await.unwrap_or_else(|_| {
        Err(Error::new(
            Kind::Transient,
            "the server did not answer while the bandwidth was measured",
        )
        .at(side))
    })
}
