//! Undoes what is durable of some tables, so that another snapshot can bring them again.

use std::collections::BTreeSet;

use pghaul_stage::{Catalog, Error, Kind, Part, Plan, Range, Result, Side, TableId, Work};
use tokio_postgres::Transaction;

use crate::copy::qualified;
use crate::ledger::Ledger;
use crate::session::failed;
use crate::unlogged;

/// Empties `tables`, those that a crash has emptied, those that share a part with them, and all
/// large objects if asked; removes these parts' records; and stores plan and catalog. All of it
/// in one transaction.
pub(crate) async fn forget(
    ledger: &Ledger,
    tables: &[TableId],
    large_objects: bool,
    plan: &Plan,
    catalog: &Catalog,
) -> Result<()> {
    let mut client = ledger.session().await?;
    let lost = unlogged::lost(&client).await?;
    let tables: Vec<TableId> = tables.iter().chain(&lost).cloned().collect();
    let (parts, tables) = affected(&plan.parts, &tables, large_objects);
    // What users added to extensions' tables replaces what is there anyway.
    let slices = parts.iter().flat_map(|part| part.slices());
    let extensions: BTreeSet<&TableId> = slices
        .filter(|slice| matches!(slice.range, Range::Condition(_)))
        .map(|slice| &slice.table)
        .collect();
    let own = tables
        .into_iter()
        .filter(|table| !extensions.contains(table));
    let tables: BTreeSet<TableId> = own.collect();
    let transaction = client.transaction().await.map_err(failed)?;
    let names: Vec<String> = tables.iter().map(qualified).collect();
    // What refers to an unlogged table is unlogged, too, and was emptied together with it.
    let full = tables.iter().filter(|table| !lost.contains(table));
    refuse_references(&transaction, &full.map(qualified).collect::<Vec<_>>()).await?;
    transaction
        .batch_execute(unlogged::SET)
        .await
        .map_err(failed)?;
    if !names.is_empty() {
        let list: Vec<String> = names.iter().map(|name| format!("ONLY {name}")).collect();
        let truncate = format!("TRUNCATE {}", list.join(", "));
        transaction.batch_execute(&truncate).await.map_err(failed)?;
    }
    if large_objects {
        let unlink = "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata";
        transaction.batch_execute(unlink).await.map_err(failed)?;
    }
    let ids: Vec<String> = parts.iter().map(|part| part.id.to_string()).collect();
    let migration = ledger.migration();
    let delete = format!(
        "DELETE FROM pghaul.progress WHERE migration = '{migration}'
         AND part = ANY ('{{{}}}'::int4[])",
        ids.join(",")
    );
    transaction.batch_execute(&delete).await.map_err(failed)?;
    // Their statistics are out of date with the rows; all other steps follow a table's last part.
    let steps: Vec<String> = names.iter().map(|name| format!("analyze {name}")).collect();
    let delete =
        format!("DELETE FROM pghaul.step WHERE migration = '{migration}' AND step = ANY ($1)");
    transaction
        .execute(&delete, &[&steps])
        .await
        .map_err(failed)?;
    ledger.replace(&transaction, plan, catalog).await?;
    transaction
        .batch_execute(&ledger.fence_sql())
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// The parts that hold one of the tables, the tables of these parts, their other parts, and so
/// on until nothing is added.
fn affected<'a>(
    parts: &'a [Part],
    tables: &[TableId],
    large_objects: bool,
) -> (Vec<&'a Part>, BTreeSet<TableId>) {
    let mut tables: BTreeSet<TableId> = tables.iter().cloned().collect();
    loop {
        let before = tables.len();
        let touched: Vec<&Part> = parts
            .iter()
            .filter(|part| match &part.work {
                Work::LargeObjects { .. } => large_objects,
                _ => part
                    .slices()
                    .iter()
                    .any(|slice| tables.contains(&slice.table)),
            })
            .collect();
        for slice in touched.iter().flat_map(|part| part.slices()) {
            tables.insert(slice.table.clone());
        }
        if tables.len() == before {
            return (touched, tables);
        }
    }
}

async fn refuse_references(transaction: &Transaction<'_>, tables: &[String]) -> Result<()> {
    let row = transaction
        .query_opt(
            "WITH t AS (SELECT pg_catalog.to_regclass(name) AS oid FROM unnest($1::text[]) AS name)
             SELECT conname::text, conrelid::pg_catalog.regclass::text
             FROM pg_catalog.pg_constraint
             WHERE contype = 'f'
               AND (conrelid IN (SELECT oid FROM t) OR confrelid IN (SELECT oid FROM t))
             ORDER BY 2, 1 LIMIT 1",
            &[&tables],
        )
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(()) };
    let (constraint, table): (String, String) = (row.get(0), row.get(1));
    Err(Error::new(
        Kind::Permanent,
        format!("foreign key {constraint:?} already stands, so its tables cannot be copied again"),
    )
    .at(Side::Target)
    .on(format!("table {table}"))
    .remedy("start over with --overwrite"))
}

#[cfg(test)]
mod tests {
    use pghaul_stage::{Encoding, PartId, Shape, Slice};

    use super::*;

    fn part(id: u32, tables: &[&str]) -> Part {
        let slices = tables
            .iter()
            .map(|name| Slice {
                table: TableId::new("s", *name),
                range: Range::All,
                encoding: Encoding::Binary,
                shape: Shape::Whole,
            })
            .collect();
        Part {
            id: PartId(id),
            work: Work::Rows(slices),
            rows: 0,
            bytes: 0,
        }
    }

    #[test]
    fn tables_that_share_a_part_go_together() {
        let objects = Work::LargeObjects {
            from: None,
            to: None,
        };
        let parts = [
            part(1, &["big"]),
            part(2, &["big"]),
            part(3, &["a", "b"]),
            part(4, &["c"]),
            Part {
                id: PartId(5),
                work: objects,
                rows: 0,
                bytes: 0,
            },
        ];
        let of = |tables: &[&str], objects| {
            let tables: Vec<TableId> = tables.iter().map(|name| TableId::new("s", *name)).collect();
            let (parts, tables) = affected(&parts, &tables, objects);
            let ids: Vec<u32> = parts.iter().map(|part| part.id.0).collect();
            let names: Vec<String> = tables
                .into_iter()
                .map(|table| table.name.to_string())
                .collect();
            (ids, names)
        };
        assert_eq!(of(&["b"], false), (vec![3], vec!["a".into(), "b".into()]));
        assert_eq!(of(&["big"], false), (vec![1, 2], vec!["big".into()]));
        assert_eq!(of(&[], true), (vec![5], vec![]));
        assert_eq!(of(&[], false), (vec![], vec![]));
    }
}
