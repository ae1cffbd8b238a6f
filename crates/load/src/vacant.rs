//! Checks that tables about to be loaded hold nothing: COPY would append to what is there.

use std::collections::BTreeSet;

use pghaul_stage::{Error, Kind, Plan, Range, Result, Side, TableId};

use crate::copy::qualified;
use crate::ledger::Ledger;
use crate::session::failed;

/// How many tables one statement looks into; each one takes a lock until it ends.
const TABLES: usize = 500;

/// Which of these tables have a block: others have no row, and looking into them would cost the
/// server more than creating them did.
const WITH_BLOCKS: &str = "SELECT wanted.at
    FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))
         WITH ORDINALITY AS wanted (schema, name, at)
    JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name
    WHERE pg_catalog.pg_relation_size(c.oid) > 0
    ORDER BY wanted.at";

/// Fails if a table of which no part is durable has a row.
pub(crate) async fn check(ledger: &Ledger, plan: &Plan) -> Result<()> {
    let durable = ledger.durable().await?;
    let (done, open): (Vec<_>, Vec<_>) = plan
        .parts
        .iter()
        .partition(|part| durable.contains_key(&part.id));
    let tables = |parts: &[&'_ pghaul_stage::Part]| -> BTreeSet<TableId> {
        parts
            .iter()
            .flat_map(|part| part.slices())
            // Extensions may have filled theirs.
            .filter(|slice| !matches!(slice.range, Range::Condition(_)))
            .map(|slice| slice.table.clone())
            .collect()
    };
    let (done, open) = (tables(&done), tables(&open));
    let tables: Vec<&TableId> = open.difference(&done).collect();
    let client = ledger.session().await?;
    let names = |part: fn(&TableId) -> &str| -> Vec<&str> {
        tables.iter().map(|table| part(table)).collect()
    };
    let (schemas, names) = (names(|table| &table.schema), names(|table| &table.name));
    let rows = client.query(WITH_BLOCKS, &[&schemas, &names]).await;
    let suspects: Vec<&TableId> = rows
        .map_err(failed)?
        .iter()
        .filter_map(|row| usize::try_from(row.get::<_, i64>(0)).ok()?.checked_sub(1))
        .filter_map(|at| tables.get(at).copied())
        .collect();
    for chunk in suspects.chunks(TABLES) {
        let parts: Vec<String> = chunk
            .iter()
            .enumerate()
            .map(|(at, table)| {
                let table = qualified(table);
                format!("SELECT {at} WHERE EXISTS (SELECT FROM ONLY {table})")
            })
            .collect();
        let query = parts.join(" UNION ALL ");
        let row = client
            .query_opt(&format!("{query} LIMIT 1"), &[])
            .await
            .map_err(failed)?;
        let Some(row) = row else { continue };
        let found = usize::try_from(row.get::<_, i32>(0))
            .ok()
            .and_then(|at| chunk.get(at));
        let subject = found.map_or_else(String::new, |table| format!("table {table}"));
        return Err(
            Error::new(Kind::Permanent, "the table is not empty before its copy")
                .at(Side::Target)
                .on(subject)
                .remedy("find out what fills it, or start over with --overwrite"),
        );
    }
    Ok(())
}
