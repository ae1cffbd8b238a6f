//! The way between this host and a runtime server that keeps the spool: how far it is, and how many
//! bytes a second pass in the direction in which rows go.

use std::time::{Duration, Instant};

use pghaul_spool::Connection;
use pghaul_stage::{Check, Error, Finding, Kind, Result, Side};
use pghaul_wire::bandwidth::Throughput;

use super::measure::hop;
use crate::spool::Place;

/// How often the round trip is measured.
const ROUND_TRIPS: usize = 5;

/// Bytes of one piece; the server takes and gives no more at once.
const PIECE: usize = 1 << 20;

/// How long the server may take with one.
const PATIENCE: Duration = Duration::from_secs(20);

/// The findings; none if the spool is in another place.
pub(super) async fn check(place: &Place, side: Side, time: Duration) -> Result<Vec<Finding>> {
    let Some(relay) = place.relay()? else {
        return Ok(Vec::new());
    };
    let connection = relay.connect(&place.admission.access()?)?;
    let distance = round_trip(&connection).await;
    let measured = bandwidth(&connection, side, time).await;
    let measured = measured.map_err(|error| error.to_string());
    let way = format!(" between the {side}'s agent and the runtime server");
    Ok(vec![
        Finding::succeeded(
            Check::RoundTrip,
            Side::Link,
            match distance {
                Ok(median) => format!(
                    "{:.1} ms between the {side}'s agent and the runtime server, the median of \
                     {ROUND_TRIPS}",
                    median.as_secs_f64() * 1e3
                ),
                Err(error) => format!("cannot be measured: {error}"),
            },
        ),
        hop(Side::Link, &way, &measured),
    ])
}

async fn round_trip(connection: &Connection) -> Result<Duration> {
    // The first one makes the connection.
    exchange(connection, 0, 0).await?;
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        exchange(connection, 0, 0).await?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(ROUND_TRIPS / 2).copied().unwrap_or_default())
}

/// Rows go from the source to the server, and from there to the target.
async fn bandwidth(connection: &Connection, side: Side, time: Duration) -> Result<Throughput> {
    let (there, back) = match side {
        Side::Source => (PIECE, 0),
        _ => (0, PIECE),
    };
    let (began, mut bytes) = (Instant::now(), 0);
    while began.elapsed() < time {
        exchange(connection, there, back).await?;
        bytes += PIECE as u64;
    }
    Ok(Throughput {
        bytes,
        elapsed: began.elapsed(),
    })
}

/// Sends so many bytes, and gets so many.
async fn exchange(connection: &Connection, there: usize, back: usize) -> Result<()> {
    let failed = |error: reqwest::Error| {
        Error::new(Kind::Transient, "the runtime server cannot be reached")
            .at(Side::Link)
            .because(error.without_url())
    };
    let url = connection.url(&format!("api/v1/agents/probe?answer={back}"));
    let call = connection.client().post(url).timeout(PATIENCE);
    let call = call.header("content-type", "application/octet-stream");
    let answer = call.body(vec![0; there]).send().await.map_err(failed)?;
    let status = answer.status();
    if !status.is_success() {
        let refused = format!("the runtime server answers {}", status.as_u16());
        return Err(Error::new(Kind::Permanent, refused).at(Side::Link));
    }
    answer.bytes().await.map_err(failed).map(drop)
}
