//! Constraints that were checked for a child, but not for its parent, which no dump can say.

use pghaul_stage::{ChildConstraint, Result, TableId};
use pghaul_wire::{Chosen, Client};

use super::tables::{FROM, copied};
use crate::session::{field, rows};

/// Those of selected tables. A child's is its parent's by name, one for `NOT NULL` (PostgreSQL 18)
/// by column, and a foreign key by its parent's identifier (from PostgreSQL 11 on).
///
/// Where another parent's `NOT NULL` for the same column was checked, the child has that one's from
/// the start, under that one's name, which need not be the source's.
pub(super) async fn of_children(
    client: &Client,
    version: u32,
    chosen: &Chosen,
) -> Result<Vec<ChildConstraint>> {
    let parent_of = if version >= 110_000 {
        "OR k.contype = 'f' AND p.oid = k.conparentid"
    } else {
        ""
    };
    let column = |key: &str| {
        format!(
            "(SELECT a.attname FROM pg_catalog.pg_attribute a \
               WHERE a.attrelid = {key}.conrelid AND a.attnum = {key}.conkey[1])"
        )
    };
    let sql = format!(
        "SELECT n.nspname, c.relname, k.conname \
           FROM {FROM} JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid \
          WHERE ({} OR {}) AND k.contype IN ('c', 'f', 'n') AND k.convalidated \
            AND EXISTS (SELECT FROM pg_catalog.pg_inherits i \
                          JOIN pg_catalog.pg_constraint p ON p.conrelid = i.inhparent \
                         WHERE i.inhrelid = c.oid AND p.contype = k.contype \
                           AND NOT p.convalidated \
                           AND (k.contype = 'c' AND p.conname = k.conname AND NOT p.connoinherit \
                             OR k.contype = 'n' AND NOT p.connoinherit AND {of_parent} = {own} \
                             {parent_of})) \
            AND NOT (k.contype = 'n' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i \
                          JOIN pg_catalog.pg_constraint p ON p.conrelid = i.inhparent \
                         WHERE i.inhrelid = c.oid AND p.contype = 'n' AND p.convalidated \
                           AND NOT p.connoinherit AND {of_parent} = {own})) \
          ORDER BY n.nspname, c.relname, k.conname",
        copied('r', chosen),
        copied('p', chosen),
        of_parent = column("p"),
        own = column("k"),
    );
    rows(client, "the constraints", &sql)
        .await?
        .iter()
        .map(|row| {
            Ok(ChildConstraint {
                table: TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?),
                name: field(row, 2)?,
            })
        })
        .collect()
}
