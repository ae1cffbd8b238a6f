//! What goes on at the source that a copy would wait for, or would miss.

use pghaul_stage::{Check, Finding, Result, Side, TableId};
use pghaul_wire::{Chosen, Client};

use crate::catalog::tables::{FROM, copied};
use crate::session::{field, rows};

pub(super) async fn check(client: &Client, chosen: &Chosen) -> Result<Vec<Finding>> {
    Ok(vec![
        long_transactions(client).await?,
        prepared_transactions(client).await?,
        locked_tables(client, chosen).await?,
    ])
}

/// What a transaction has written that ends after the snapshot is not carried over. Ten minutes
/// is longer than what an application does, and so long that nobody waits for it by chance.
async fn long_transactions(client: &Client) -> Result<Finding> {
    let sql = "SELECT a.pid, a.usename::text, pg_catalog.date_trunc('second', \
                      pg_catalog.clock_timestamp() - a.xact_start)::text \
                 FROM pg_catalog.pg_stat_activity a \
                WHERE a.datname = pg_catalog.current_database() \
                  AND a.pid <> pg_catalog.pg_backend_pid() \
                  AND a.xact_start < pg_catalog.clock_timestamp() - interval '10 minutes' \
                ORDER BY a.xact_start";
    let mut objects = Vec::new();
    for row in &rows(client, "the activity", sql).await? {
        let user: Option<&str> = field(row, 1)?;
        objects.push(format!(
            "server process {} of {:?} since {}",
            field::<i32>(row, 0)?,
            user.unwrap_or_default(),
            field::<&str>(row, 2)?
        ));
    }
    if objects.is_empty() {
        return Ok(Finding::succeeded(
            Check::LongTransactions,
            Side::Source,
            "no transaction that this role can see is older than ten minutes",
        ));
    }
    Ok(Finding::warning(
        Check::LongTransactions,
        Side::Source,
        format!("{} transactions are open for long: what they write and commit later is not carried over", objects.len()),
        "let these sessions end, or end them, before the migration",
    )
    .on(objects))
}

async fn prepared_transactions(client: &Client) -> Result<Finding> {
    let sql = "SELECT p.gid, p.owner::text FROM pg_catalog.pg_prepared_xacts p \
                WHERE p.database = pg_catalog.current_database() ORDER BY p.prepared";
    let mut objects = Vec::new();
    for row in &rows(client, "the prepared transactions", sql).await? {
        let (gid, owner): (&str, &str) = (field(row, 0)?, field(row, 1)?);
        objects.push(format!("{gid:?} of {owner:?}"));
    }
    if objects.is_empty() {
        return Ok(Finding::succeeded(
            Check::PreparedTransactions,
            Side::Source,
            "there are none",
        ));
    }
    Ok(Finding::warning(
        Check::PreparedTransactions,
        Side::Source,
        "prepared transactions wait for their end, and are not carried over",
        "finish them with COMMIT PREPARED or ROLLBACK PREPARED before the migration",
    )
    .on(objects))
}

async fn locked_tables(client: &Client, chosen: &Chosen) -> Result<Finding> {
    let sql = format!(
        "SELECT n.nspname, c.relname, l.pid FROM {FROM} \
           JOIN pg_catalog.pg_locks l ON l.relation = c.oid AND l.locktype = 'relation' \
          WHERE ({} OR {}) AND l.granted AND l.mode = 'AccessExclusiveLock' \
            AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d \
                               WHERE d.datname = pg_catalog.current_database()) \
          ORDER BY 1, 2",
        copied('r', chosen),
        copied('p', chosen)
    );
    let mut objects = Vec::new();
    for row in &rows(client, "the locked tables", &sql).await? {
        let table = TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?);
        // A prepared transaction has no process.
        objects.push(match field::<Option<i32>>(row, 2)? {
            Some(pid) => format!("table {table} by server process {pid}"),
            None => format!("table {table} by a prepared transaction"),
        });
    }
    if objects.is_empty() {
        return Ok(Finding::succeeded(
            Check::LockedTables,
            Side::Source,
            "no table is locked against reading",
        ));
    }
    Ok(Finding::warning(
        Check::LockedTables,
        Side::Source,
        "tables are locked exclusively: the migration waits a minute for them, then fails",
        "let the sessions that hold these locks finish, or end them",
    )
    .on(objects))
}
