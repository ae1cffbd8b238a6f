//! Checks of a connection, the same on both sides: reachable, encrypted, let in, how far away.

use std::time::{Duration, Instant};

use pghaul_stage::{Check, Error, Finding, Result, Side, Verdict};

use crate::{Client, Unconnected, server_error};

/// How often the round trip is measured; the median does not care about a slow one.
const ROUND_TRIPS: usize = 5;

/// From here on, what takes many round trips (thousands of statements of a schema) becomes slow.
const FAR: Duration = Duration::from_millis(100);

/// What a failed connection says of the steps on the way to a session.
pub fn unreachable(side: Side, Unconnected { error, step }: &Unconnected) -> Vec<Finding> {
    let remedy = error
        .hint()
        .unwrap_or("check the connection string, and that the server runs")
        .to_owned();
    let mut findings = Vec::new();
    if *step != Check::Reachable {
        findings.push(reachable(side));
    }
    let failed = Finding::failed(*step, side, reason(error), remedy);
    findings.push(failed.on(error.subject()));
    findings
}

/// The message with the innermost cause, which names what the operating system said.
fn reason(error: &Error) -> String {
    let mut innermost = None;
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        innermost = Some(inner);
        cause = inner.source();
    }
    match innermost {
        Some(innermost) => format!("{} ({innermost})", error.message()),
        None => error.message().to_owned(),
    }
}

/// What an open session says of itself and of the way to it.
///
/// # Errors
///
/// Those of a session that breaks.
pub async fn connected(client: &Client) -> Result<Vec<Finding>> {
    let side = client.side();
    Ok(vec![
        reachable(side),
        encryption(client).await?,
        Finding::succeeded(Check::Login, side, "the role is let in"),
        round_trip(client).await?,
    ])
}

fn reachable(side: Side) -> Finding {
    Finding::succeeded(Check::Reachable, side, "the server answers")
}

async fn encryption(client: &Client) -> Result<Finding> {
    let side = client.side();
    let row = client
        .query_one(
            "SELECT s.ssl, pg_catalog.inet_client_addr() IS NULL, \
                    coalesce(pg_catalog.inet_client_addr() = pg_catalog.inet_server_addr(), false) \
               FROM (SELECT pg_catalog.pg_backend_pid() AS pid) me \
               LEFT JOIN pg_catalog.pg_stat_ssl s ON s.pid = me.pid",
            &[],
        )
        .await
        .map_err(|error| server_error(side, error))?;
    let (tls, socket, same_host): (Option<bool>, bool, bool) = (row.get(0), row.get(1), row.get(2));
    let fine = |message: &str| Finding::succeeded(Check::Encryption, side, message);
    Ok(match tls {
        Some(true) => fine("the connection is encrypted"),
        _ if socket => fine("the connection is a Unix socket of this host"),
        _ if same_host => fine("the connection does not leave this host"),
        _ => Finding::warning(
            Check::Encryption,
            side,
            "rows and password hashes travel over the network in the clear",
            "turn ssl on at the server, and use sslmode=verify-full",
        ),
    })
}

async fn round_trip(client: &Client) -> Result<Finding> {
    let side = client.side();
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        // An empty statement: nothing but the way there and back.
        let sent = client.batch_execute("").await;
        sent.map_err(|error| server_error(side, error))?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let median = times.get(ROUND_TRIPS / 2).copied().unwrap_or_default();
    Ok(distance(side, median))
}

fn distance(side: Side, median: Duration) -> Finding {
    let time = format!(
        "{:.1} ms, the median of {ROUND_TRIPS}",
        median.as_secs_f64() * 1e3
    );
    if median < FAR {
        return Finding::succeeded(Check::RoundTrip, side, time);
    }
    Finding::warning(
        Check::RoundTrip,
        side,
        time,
        "run pghaul on a host near the target: rows are streamed, but the schema's statements \
         wait for each other",
    )
}

/// How many connections a migration opens at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// To the whole server, which several databases may share.
    pub server: u32,
    /// To one database.
    pub database: u32,
}

/// Locks for which a server's lock table has room. PostgreSQL's `NLOCKENTS`: one share for each
/// process that may ever run and for each prepared transaction; from version 18 on, slots are
/// counted that `autovacuum_max_workers` may use.
///
/// # Errors
///
/// Those of a session that breaks.
pub async fn lock_room(client: &Client) -> Result<u64> {
    let sql = "SELECT pg_catalog.current_setting('max_locks_per_transaction')::int8 \
                    * (1 + pg_catalog.sum(s.setting::int8) FILTER (WHERE s.name !~ '^auto') \
                         + pg_catalog.max(s.setting::int8) FILTER (WHERE s.name ~ '^auto'))::int8 \
                 FROM pg_catalog.pg_settings s \
                WHERE s.name IN ('max_connections', 'max_worker_processes', 'max_wal_senders', \
                  'max_prepared_transactions', 'autovacuum_max_workers', \
                  'autovacuum_worker_slots')";
    let row = client.query_one(sql, &[]).await;
    let row = row.map_err(|error| server_error(client.side(), error))?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

/// Whether a role has the `needed` connections free, now, on this server, in this database.
///
/// # Errors
///
/// Those of a session that breaks.
pub async fn connections(client: &Client, needed: Sessions) -> Result<Finding> {
    let side = client.side();
    let row = client
        .query_one(
            "SELECT pg_catalog.current_setting('max_connections')::int8 \
                    - CASE WHEN r.rolsuper THEN 0 ELSE \
                        pg_catalog.current_setting('superuser_reserved_connections')::int8 \
                        + coalesce(pg_catalog.current_setting('reserved_connections', true)::int8, 0) \
                      END - a.sessions, \
                    CASE WHEN r.rolconnlimit >= 0 AND NOT r.rolsuper \
                         THEN r.rolconnlimit - a.role END::int8, \
                    CASE WHEN d.datconnlimit >= 0 AND NOT r.rolsuper \
                         THEN d.datconnlimit - a.database END::int8 \
               FROM pg_catalog.pg_roles r, pg_catalog.pg_database d, \
                    (SELECT count(*) AS sessions, \
                            count(*) FILTER (WHERE usename = current_user) AS role, \
                            count(*) FILTER (WHERE datname = pg_catalog.current_database()) AS database \
                       FROM pg_catalog.pg_stat_activity WHERE datid IS NOT NULL) a \
              WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database()",
            &[],
        )
        .await
        .map_err(|error| server_error(side, error))?;
    let limits = [
        (
            row.get::<_, Option<i64>>(0),
            needed.server,
            "max_connections",
        ),
        (row.get(1), needed.server, "the role's CONNECTION LIMIT"),
        (
            row.get(2),
            needed.database,
            "the database's CONNECTION LIMIT",
        ),
    ];
    Ok(room(side, &limits))
}

/// `limits` are how many more sessions each limit allows, and how many are needed there; this one
/// will be gone by then.
fn room(side: Side, limits: &[(Option<i64>, u32, &str)]) -> Finding {
    let tightest = limits
        .iter()
        .filter_map(|(free, needed, name)| Some((free.as_ref()? + 1, *needed, *name)))
        .min_by_key(|(free, needed, _)| free - i64::from(*needed));
    match tightest {
        Some((free, needed, limit)) if free < i64::from(needed) => Finding::failed(
            Check::Connections,
            side,
            format!(
                "{} connections are free, and {needed} are needed",
                free.max(0)
            ),
            format!("raise {limit}, end idle sessions, or use fewer --jobs and --index-jobs"),
        ),
        Some((free, needed, _)) => Finding::succeeded(
            Check::Connections,
            side,
            format!("{free} connections are free, {needed} are needed"),
        ),
        None => Finding::succeeded(Check::Connections, side, "the number is not limited"),
    }
}

/// Whether any of the findings is a failure.
pub fn is_failed(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.verdict() == Verdict::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_counts() {
        let limits = |a, b| {
            [
                (Some(a), 4, "max_connections"),
                (b, 4, "the role's limit"),
                (Some(50), 2, "the database's limit"),
            ]
        };
        let verdict = |limits: &[(Option<i64>, u32, &str)]| room(Side::Source, limits);
        assert_eq!(verdict(&limits(90, None)).verdict(), Verdict::Succeeded);
        assert_eq!(verdict(&limits(3, None)).verdict(), Verdict::Succeeded);
        assert_eq!(verdict(&limits(2, None)).verdict(), Verdict::Failed);
        let limited = verdict(&limits(90, Some(1)));
        assert_eq!(limited.verdict(), Verdict::Failed);
        assert!(limited.remedy().unwrap().contains("the role's limit"));
        // What is tight is what lacks most, not what is least.
        let many = [(Some(20), 40, "max_connections"), (Some(2), 3, "another")];
        assert!(verdict(&many).remedy().unwrap().contains("max_connections"));
    }

    #[test]
    fn a_far_server_is_warned_of() {
        let verdict = |millis| distance(Side::Target, Duration::from_millis(millis)).verdict();
        assert_eq!(verdict(99), Verdict::Succeeded);
        assert_eq!(verdict(100), Verdict::Warning);
    }
}
