//! How fast rows of the source can be read: a little of its largest table, and sizes to compare it
//! with.

use std::time::Duration;

use pghaul_stage::{Result, Selection, Side, TableId};
use pghaul_wire::bandwidth::Throughput;
use pghaul_wire::{Chosen, Client, Conninfo, CopyEvent, Lane, quote, search_path};
use tokio::time::Instant;

use crate::catalog::tables::{FROM, copied};
use crate::probe;
use crate::session::{begin, execute, field, row, rows, size};

/// How long a sample waits for a lock: no longer than anybody would notice.
const LOCK_WAIT: &str = "SET LOCAL lock_timeout = 1000;";

/// Sizes of what is selected, and what reading the largest table of it showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Bytes on disk of tables without their indexes, as the server last counted them.
    pub tables: u64,
    /// Bytes on disk of their indexes.
    pub indexes: u64,
    /// What was read; `None` if no table can be read now.
    pub read: Option<Read>,
}

/// Some rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// Of which.
    pub table: TableId,
    /// As COPY sends it in text.
    pub throughput: Throughput,
    /// How much of the table that was, from 0 to 1.
    pub share: f64,
    /// The table's bytes on disk.
    pub size: u64,
}

/// Reads the largest selected table over one connection, for so long.
///
/// # Errors
///
/// Those of a connection, and kind input for a pattern that matches nothing.
pub async fn sample(info: &Conninfo, selection: &Selection, limit: Duration) -> Result<Sample> {
    let info = info.with_application_name("pghaul");
    let client = Client::connect(&info, Side::Source).await?;
    let server = probe::ask(&client).await?;
    let path = search_path(&client).await?;
    let what = "the sizes of tables";
    execute(&client, what, &begin(server.version)).await?;
    let chosen = Chosen::resolve(&client, selection, &path, false).await?;
    // Pages as the server last counted them: asking for the files' sizes would lock every table.
    let condition = format!("{} AND {}", copied('r', &chosen), chosen.rows("c"));
    let block = "pg_catalog.current_setting('block_size')::int8";
    let sizes = format!(
        "SELECT coalesce(sum((c.relpages::int8 + coalesce(t.relpages, 0)) * {block}), 0)::int8, \
                coalesce(sum(i.pages * {block}), 0)::int8 \
           FROM {FROM} LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid \
           LEFT JOIN (SELECT i.indrelid, sum(ic.relpages)::int8 AS pages \
                        FROM pg_catalog.pg_index i \
                        JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
                       GROUP BY i.indrelid) i ON i.indrelid = c.oid \
          WHERE {condition}"
    );
    let sizes = row(&client, what, &sizes).await?;
    let (tables, indexes) = (size(&sizes, 0)?, size(&sizes, 1)?);
    let largest = format!(
        "SELECT n.nspname::text, c.relname::text, c.reltuples::float8, \
                (c.relpages::int8 + coalesce(t.relpages, 0)) * {block} \
           FROM {FROM} LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid \
          WHERE {condition} AND NOT c.relrowsecurity \
            AND pg_catalog.has_table_privilege(c.oid, 'SELECT') \
            AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
          ORDER BY 4 DESC, c.oid LIMIT 1"
    );
    let largest = rows(&client, what, &largest).await?;
    execute(&client, what, "COMMIT").await?;
    let read = match largest.first() {
        Some(largest) => {
            let table = TableId::new(field::<&str>(largest, 0)?, field::<&str>(largest, 1)?);
            let (expected, bytes): (f64, u64) = (field(largest, 2)?, size(largest, 3)?);
            let lane = Lane::connect(&info, Side::Source).await?;
            match read(lane, server.version, &table, limit).await {
                Ok(taken) => Some(taken.of(table, expected, bytes)),
                Err(error) if refuses(error.code()) => None,
                Err(error) => return Err(error.on(format!("table {table}"))),
            }
        }
        None => None,
    };
    Ok(Sample {
        tables,
        indexes,
        read,
    })
}

/// Whether the table cannot be read now, which other checks tell.
fn refuses(code: Option<&str>) -> bool {
    // lock_not_available, insufficient_privilege
    matches!(code, Some("55P03" | "42501"))
}

/// What came until the time was over.
struct Taken {
    throughput: Throughput,
    rows: u64,
    complete: bool,
}

impl Taken {
    fn of(self, table: TableId, expected: f64, size: u64) -> Read {
        let share = if self.complete {
            1.0
        } else {
            (self.rows as f64 / expected.max(1.0)).min(1.0)
        };
        Read {
            table,
            throughput: self.throughput,
            share,
            size,
        }
    }
}

async fn read(lane: Lane, version: u32, table: &TableId, limit: Duration) -> Result<Taken> {
    let sql = format!(
        "{} {LOCK_WAIT} COPY {}.{} TO STDOUT; COMMIT",
        begin(version),
        quote::ident(&table.schema),
        quote::ident(&table.name),
    );
    let mut copy = lane.copy_out(&sql).await?;
    let (mut bytes, mut rows, mut complete) = (0, 0, false);
    let began = Instant::now();
    let deadline = began + limit;
    // A piece that does not come in time is not waited for; dropping the COPY cancels it.
    while let Ok(event) = tokio::time::timeout_at(deadline, copy.next()).await {
        match event? {
            Some(CopyEvent::Data {
                bytes: piece,
                rows: ended,
            }) => {
                bytes += piece.len() as u64;
                rows += ended;
            }
            Some(CopyEvent::Done { .. }) => complete = true,
            None => break,
        }
    }
    Ok(Taken {
        throughput: Throughput {
            bytes,
            elapsed: began.elapsed(),
        },
        rows,
        complete,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_that_of_the_expected_rows_unless_all_came() {
        let taken = |rows, complete| {
            let throughput = Throughput {
                bytes: 1,
                elapsed: Duration::from_secs(1),
            };
            let taken = Taken {
                throughput,
                rows,
                complete,
            };
            taken.of(TableId::new("s", "t"), 200.0, 1).share
        };
        assert_eq!(taken(50, false), 0.25);
        assert_eq!(taken(50, true), 1.0);
        assert_eq!(taken(500, false), 1.0);
    }
}
