//! Empties tables before rows alone are loaded into them: once in a migration, all together.

use pghaul_stage::{Plan, Result, TableId};
use pghaul_wire::Client;

use crate::copy::qualified;
use crate::existing::{Loaded, QUIET};
use crate::ledger::Ledger;
use crate::session::failed;

/// The step's name in the ledger.
const STEP: &str = "truncate";

/// Partitioned tables with a foreign key all of whose partitions are among `$1`. PostgreSQL empties
/// what a table is referred to by only together with it, and this is what refers.
const WHOLE: &str = "WITH RECURSIVE tree (root, oid) AS (
        SELECT c.oid, c.oid FROM pg_catalog.pg_class AS c WHERE c.relkind = 'p' AND EXISTS (
            SELECT FROM pg_catalog.pg_constraint AS k
            WHERE k.conrelid = c.oid AND k.contype = 'f')
        UNION ALL
        SELECT t.root, i.inhrelid FROM tree AS t
        JOIN pg_catalog.pg_inherits AS i ON i.inhparent = t.oid
    ), whole (oid) AS (
        SELECT t.root FROM tree AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.oid
        GROUP BY t.root
        HAVING pg_catalog.bool_and(c.relkind = 'p' OR c.oid = ANY ($1::oid[]))
           AND pg_catalog.bool_or(c.relkind <> 'p')
    )";

/// The tables that are not among those to empty, and refer to one of them.
pub(crate) async fn references(client: &Client, loaded: &Loaded) -> Result<Vec<String>> {
    let sql = format!(
        "{WHOLE}, gone (oid) AS (
             SELECT pg_catalog.unnest($1::oid[]) UNION SELECT oid FROM whole
         )
         SELECT DISTINCT cn.nspname::text, c.relname::text, rn.nspname::text, r.relname::text
         FROM pg_catalog.pg_constraint AS k
         JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
         JOIN pg_catalog.pg_namespace AS cn ON cn.oid = c.relnamespace
         JOIN pg_catalog.pg_class AS r ON r.oid = k.confrelid
         JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
         WHERE k.contype = 'f' AND k.confrelid IN (SELECT oid FROM gone)
           AND k.conrelid NOT IN (SELECT oid FROM gone)
         ORDER BY 1, 2, 3, 4"
    );
    let own: Vec<u32> = loaded.own.values().copied().collect();
    let rows = client.query(&sql, &[&own]).await.map_err(failed)?;
    let name = |row: &tokio_postgres::Row, at: usize| {
        TableId::new(row.get::<_, &str>(at), row.get::<_, &str>(at + 1))
    };
    let named = rows
        .iter()
        .map(|row| format!("table {} refers to {}", name(row, 0), name(row, 2)));
    Ok(named.collect())
}

/// Empties the tables of a plan, unless this migration has done so. What it did commits together
/// with the record of it, so that no later run takes away rows that an earlier one has brought.
pub(crate) async fn run(ledger: &Ledger, plan: &Plan) -> Result<()> {
    if ledger.steps().await?.contains(STEP) {
        return Ok(());
    }
    let client = ledger.session().await?;
    let loaded = Loaded::find(&client, plan).await?;
    let own: Vec<u32> = loaded.own.values().copied().collect();
    let sql = format!(
        "{WHOLE} SELECT n.nspname::text, c.relname::text
         FROM whole JOIN pg_catalog.pg_class AS c ON c.oid = whole.oid
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace ORDER BY 1, 2"
    );
    let whole = client.query(&sql, &[&own]).await.map_err(failed)?;
    // Rows of children are theirs; a partitioned table has none of its own and knows no ONLY.
    let parents = whole
        .iter()
        .map(|row| qualified(&TableId::new(row.get::<_, &str>(0), row.get::<_, &str>(1))));
    let leaves = loaded
        .own
        .keys()
        .map(|table| format!("ONLY {}", qualified(table)));
    let tables: Vec<String> = parents.chain(leaves).collect();
    let truncate = if tables.is_empty() {
        String::new()
    } else {
        format!("TRUNCATE {};", tables.join(", "))
    };
    // Triggers on TRUNCATE rest, too.
    let script = format!(
        "{QUIET}; BEGIN; SET LOCAL lock_timeout = '60s'; {truncate} {}; COMMIT",
        ledger.steps_sql([STEP])
    );
    client.batch_execute(&script).await.map_err(|error| {
        let error = failed(error);
        match error.code() {
            Some("55P03") => error.remedy("end the sessions that use the tables"),
            _ => error,
        }
    })
}
