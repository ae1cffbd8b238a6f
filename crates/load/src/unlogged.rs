//! Unlogged tables lose their rows when the server crashes, but not the record that the rows
//! were there. A marker that is unlogged itself tells: both are lost at the same moment.

use pghaul_stage::{Error, Kind, Result, Side, TableId};
use pghaul_wire::Client;

use crate::session::failed;

/// Creates the marker.
pub(crate) const CREATE: &str = "CREATE UNLOGGED TABLE IF NOT EXISTS pghaul.marker ();";

/// Sets the marker, unless it stands.
pub(crate) const SET: &str =
    "INSERT INTO pghaul.marker SELECT WHERE NOT EXISTS (SELECT FROM pghaul.marker)";

/// The unlogged tables, if a crash has emptied them since the marker was set.
pub(crate) async fn lost(client: &Client) -> Result<Vec<TableId>> {
    let query = "SELECT n.nspname, c.relname
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relpersistence = 'u' AND c.relkind = 'r' AND n.nspname <> 'pghaul'
          AND NOT EXISTS (SELECT FROM pghaul.marker)";
    let rows = client.query(query, &[]).await.map_err(failed)?;
    let table =
        |row: &tokio_postgres::Row| TableId::new(row.get::<_, &str>(0), row.get::<_, &str>(1));
    Ok(rows.iter().map(table).collect())
}

/// Fails if a crash has emptied an unlogged table.
pub(crate) async fn check(client: &Client) -> Result<()> {
    let tables = lost(client).await?;
    let Some(first) = tables.first() else {
        return Ok(());
    };
    Err(Error::new(
        Kind::Permanent,
        "the server crashed during the migration, which emptied every unlogged table",
    )
    .at(Side::Target)
    .on(format!("table {first}"))
    .remedy("run again with --resume, which copies the unlogged tables again"))
}
