//! Indexes, and which of them a constraint can adopt.

use std::collections::HashMap;
use std::sync::Arc;

use pghaul_stage::{Index, Omission, Result, TableId, Tables};
use pghaul_wire::{Chosen, Client};

use super::tables::{FROM, copied};
use crate::session::{each, field, rows, size};

/// A constraint can adopt a btree index over plain columns in default order; what else
/// `ADD CONSTRAINT … USING INDEX` asks for (default operator classes and collations) every
/// constraint's index has already.
///
/// Source: PostgreSQL's manual, ALTER TABLE.
const SEPARABLE: &str = "coalesce(am.amname = 'btree' AND con.contype IN ('p', 'u') \
    AND i.indexprs IS NULL AND i.indpred IS NULL AND NOT 0 <> ANY (i.indoption::int2[]), false)";

/// Bytes of rows from which on it helps to build several indexes of a table at once.
const LARGE: u64 = 512 << 10;

/// Every valid index of large tables. Definitions and sizes cost the server much, and of small
/// tables there may be a hundred thousand.
pub(crate) async fn read(
    client: &Client,
    chosen: &Chosen,
    tables: &Tables,
) -> Result<Vec<Arc<Index>>> {
    let large = tables.iter().filter(|table| table.heap >= LARGE);
    let large: HashMap<u32, &TableId> = large.map(|table| (table.oid, &table.id)).collect();
    let oids: Vec<String> = large.keys().map(u32::to_string).collect();
    let sql = format!(
        "SELECT i.indexrelid, ic.relname, c.oid, \
                CASE WHEN s.separable THEN pg_catalog.pg_get_indexdef(i.indexrelid) ELSE '' END, \
                con.oid, con.contype::text, s.separable, \
                coalesce(pg_catalog.pg_relation_size(i.indexrelid), 0) \
           FROM {FROM} \
           JOIN pg_catalog.pg_index i ON i.indrelid = c.oid \
           JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
           JOIN pg_catalog.pg_am am ON am.oid = ic.relam \
           LEFT JOIN pg_catalog.pg_constraint con \
                  ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid \
                 AND con.contype IN ('p', 'u', 'x') \
          CROSS JOIN LATERAL (SELECT {SEPARABLE}) s (separable) \
          WHERE {} AND i.indisvalid AND i.indisready \
            AND c.oid = ANY ('{{{}}}'::pg_catalog.oid[]) \
          ORDER BY n.nspname, c.relname, ic.relname",
        copied('r', chosen),
        oids.join(",")
    );
    let mut indexes = Vec::new();
    each(client, "the catalog of indexes", &sql, |row| {
        let Some(&table) = large.get(&field::<u32>(row, 2)?) else {
            return Ok(());
        };
        indexes.push(Arc::new(Index {
            oid: field(row, 0)?,
            name: field::<&str>(row, 1)?.into(),
            table: table.clone(),
            definition: field::<&str>(row, 3)?.into(),
            constraint: field(row, 4)?,
            constraint_type: field::<Option<&str>>(row, 5)?.and_then(|t| t.chars().next()),
            separable: field(row, 6)?,
            bytes: size(row, 7)?,
        }));
        Ok(())
    })
    .await?;
    indexes.shrink_to_fit();
    Ok(indexes)
}

/// The indexes that are not usable: `CREATE INDEX CONCURRENTLY` and its like leave them behind when
/// they fail, and pg_dump leaves them out. Those of partitioned tables are usable in parts, and
/// come along.
pub(super) async fn unusable(client: &Client, chosen: &Chosen) -> Result<Vec<Omission>> {
    let sql = format!(
        "SELECT n.nspname, ic.relname, c.relname, pg_catalog.pg_get_indexdef(i.indexrelid) \
           FROM {FROM} \
           JOIN pg_catalog.pg_index i ON i.indrelid = c.oid \
           JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
          WHERE ({} OR {}) AND NOT (i.indisvalid AND i.indisready) \
          ORDER BY n.nspname, ic.relname",
        copied('r', chosen),
        copied('m', chosen)
    );
    rows(client, "the catalog of indexes", &sql)
        .await?
        .iter()
        .map(|row| {
            let index = TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?);
            let table = TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 2)?);
            let omission = Omission::new(
                format!("index {index}"),
                format!("it is invalid on the source: building it on table {table} has failed"),
            );
            Ok(omission.remedy(field::<&str>(row, 3)?))
        })
        .collect()
}
