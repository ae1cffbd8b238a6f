//! Tables whose rows an extension has marked as its users' (`pg_extension_config_dump`).

use std::collections::{BTreeMap, BTreeSet};

use pghaul_stage::{Part, PartId, Range, Result, Shape, Side, Slice, Work};
use pghaul_wire::{Client, server_error};

use crate::Config;
use crate::catalog::Inventory;
use crate::plan::impossible;
use crate::portable::Versions;
use crate::session::field;

/// The part with all of them, in the order of their foreign keys; `None` if there are none.
pub(crate) async fn part(
    client: &Client,
    inventory: &Inventory,
    config: &Config,
    versions: Versions,
    id: PartId,
) -> Result<Option<Part>> {
    let tables = inventory.catalog.tables.iter().zip(&inventory.facts);
    let mut slices = BTreeMap::new();
    let (mut rows, mut bytes) = (0, 0);
    for (table, facts) in tables {
        let selected = facts.configuration.as_ref().filter(|_| facts.selected);
        let Some(condition) = selected else {
            continue;
        };
        let encoding = inventory
            .types
            .encoding(&facts.types, config.copy_format, versions)
            .map_err(|(index, why)| impossible(table, index, &why))?;
        let slice = Slice {
            table: table.id.clone(),
            range: Range::Condition(condition.clone()),
            encoding,
            shape: Shape::Whole,
        };
        slices.insert(table.oid, slice);
        rows += table.rows;
        bytes += table.heap.saturating_add(table.toast);
    }
    if slices.is_empty() {
        return Ok(None);
    }
    let order = order(
        slices.keys().copied().collect(),
        &keys(client, &slices).await?,
    );
    let slices = order.iter().filter_map(|oid| slices.remove(oid)).collect();
    Ok(Some(Part {
        id,
        work: Work::Rows(slices),
        rows,
        bytes,
    }))
}

/// Which of these tables refers to which.
async fn keys(client: &Client, tables: &BTreeMap<u32, Slice>) -> Result<Vec<(u32, u32)>> {
    let sql = "SELECT DISTINCT conrelid, confrelid FROM pg_catalog.pg_constraint \
        WHERE contype = 'f' AND conrelid = ANY ($1) AND confrelid = ANY ($1) \
          AND conrelid <> confrelid";
    let tables: Vec<u32> = tables.keys().copied().collect();
    client
        .query(sql, &[&tables])
        .await
        .map_err(|error| server_error(Side::Source, error).on("the keys of extensions' tables"))?
        .iter()
        .map(|row| Ok((field(row, 0)?, field(row, 1)?)))
        .collect()
}

/// Those that others refer to first; those in a circle in any order at the end.
fn order(mut left: BTreeSet<u32>, keys: &[(u32, u32)]) -> Vec<u32> {
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |table: &u32| {
            keys.iter()
                .any(|(from, to)| from == table && left.contains(to))
        };
        let mut free: Vec<u32> = left.iter().copied().filter(|table| !waits(table)).collect();
        if free.is_empty() {
            free.extend(&left);
        }
        left.retain(|table| !free.contains(table));
        order.append(&mut free);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn tables_come_after_those_that_they_refer_to() {
        let keys = [(1, 2), (2, 3), (5, 1), (7, 8), (8, 7)];
        assert_eq!(
            order([1, 2, 3, 4, 5, 7, 8].into(), &keys),
            [3, 4, 2, 1, 5, 7, 8]
        );
    }
}
