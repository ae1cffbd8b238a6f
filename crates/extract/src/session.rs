//! Sessions on the source: pinned settings, the snapshot they read under, typed answers.

use std::pin::pin;

use futures_util::TryStreamExt;
use pghaul_stage::{Error, Kind, Result, Side};
use pghaul_wire::{Client, server_error};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

/// Settings that decide how values look or whether a statement survives, and what we need them
/// to be whatever the server, the database or the role say. With the first version that knows
/// them. Compiling a catalog query takes seconds, running it takes milliseconds, so `jit` is off.
const PINNED: &[(u32, &str, &str)] = &[
    (0, "search_path", "''"),
    (0, "statement_timeout", "0"),
    (0, "lock_timeout", "0"),
    (0, "idle_in_transaction_session_timeout", "0"),
    (140_000, "idle_session_timeout", "0"),
    (170_000, "transaction_timeout", "0"),
    (0, "DateStyle", "ISO"),
    (0, "IntervalStyle", "postgres"),
    (0, "TimeZone", "'UTC'"),
    (0, "extra_float_digits", "3"),
    (0, "bytea_output", "hex"),
    (0, "xmloption", "content"),
    (0, "lc_monetary", "'C'"),
    (0, "row_security", "off"),
    (0, "synchronize_seqscans", "off"),
    (0, "standard_conforming_strings", "on"),
    (0, "quote_all_identifiers", "off"),
    (110_000, "jit", "off"),
    (0, "client_min_messages", "warning"),
];

/// The statements that open a read-only transaction with pinned settings.
///
/// The settings are local to the transaction, so they hold even behind a pooler that gives the
/// next transaction to another server process. Nothing here makes the server take a snapshot,
/// so one can still be imported or awaited.
pub(crate) fn begin(version: u32) -> String {
    let mut sql = String::from("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY, NOT DEFERRABLE;");
    for (since, name, value) in PINNED {
        if version >= *since {
            sql.push_str(" SET LOCAL ");
            sql.push_str(name);
            sql.push_str(" = ");
            sql.push_str(value);
            sql.push(';');
        }
    }
    sql
}

/// Runs one query and returns its rows; `what` completes the error's sentence.
pub(crate) async fn rows(client: &Client, what: &'static str, sql: &str) -> Result<Vec<Row>> {
    client
        .query(sql, &[])
        .await
        .map_err(|error| server_error(Side::Source, error).on(what))
}

/// Runs one query whose answer may be long, and passes its rows on one by one.
pub(crate) async fn each(
    client: &Client,
    what: &'static str,
    sql: &str,
    mut take: impl FnMut(&Row) -> Result<()>,
) -> Result<()> {
    let failed = |error| server_error(Side::Source, error).on(what);
    let rows = client.query_raw(sql, std::iter::empty::<i32>());
    let mut rows = pin!(rows.await.map_err(failed)?);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        take(&row)?;
    }
    Ok(())
}

/// Runs one query that answers with one row.
pub(crate) async fn row(client: &Client, what: &'static str, sql: &str) -> Result<Row> {
    client
        .query_one(sql, &[])
        .await
        .map_err(|error| server_error(Side::Source, error).on(what))
}

/// Runs statements that answer with nothing.
pub(crate) async fn execute(client: &Client, what: &'static str, sql: &str) -> Result<()> {
    client
        .batch_execute(sql)
        .await
        .map_err(|error| server_error(Side::Source, error).on(what))
}

/// A field of an answer, in the type that the query promises.
pub(crate) fn field<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(|error| {
        Error::new(
            Kind::Protocol,
            "a catalog query answered in an unexpected form",
        )
        .at(Side::Source)
        .because(error)
    })
}

/// A count or size, which the server keeps in a signed type.
pub(crate) fn size(row: &Row, index: usize) -> Result<u64> {
    Ok(u64::try_from(field::<i64>(row, index)?).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_sent_only_to_versions_that_know_it() {
        assert!(!begin(100_023).contains("idle_session_timeout"));
        assert!(begin(140_000).contains("idle_session_timeout"));
        assert!(!begin(160_004).contains("transaction_timeout"));
        assert!(begin(170_000).contains("transaction_timeout"));
        assert!(begin(100_000).contains("SET LOCAL row_security = off;"));
    }
}
