//! Planner statistics.

use pghaul_stage::{Step, TableId};
use pghaul_wire::quote::ident;

use crate::entry::Unit;

/// Collects the statistics of one table, and of the partitions it has.
pub(crate) fn unit(table: &TableId) -> Unit {
    let (schema, name) = (ident(&table.schema), ident(&table.name));
    let unit = Unit {
        step: format!("analyze {schema}.{name}"),
        subject: format!("statistics of {table}"),
        sql: format!("ANALYZE {schema}.{name};"),
        ..Unit::default()
    };
    unit.reported(Step::Analyze, &table.to_string(), table)
}
