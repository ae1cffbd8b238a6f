//! Planner statistics: the source's, or collected anew.

use pghaul_stage::{Step, TableId};
use pghaul_wire::quote::ident;

use crate::entry::{EVALUATED, Unit};
use crate::instead::Instead;

/// Whose statistics are collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The table's and those of the partitions it has.
    Tree,
    /// The table's alone. PostgreSQL 18 knows this.
    Alone,
}

/// Stores the statistics of one table that the source has, or else collects them.
pub(crate) fn unit(table: &TableId, carried: Option<String>, scope: Scope) -> Unit {
    let (schema, name) = (ident(&table.schema), ident(&table.name));
    let only = match scope {
        Scope::Tree => "",
        Scope::Alone => "ONLY ",
    };
    let analyze = format!("ANALYZE {only}{schema}.{name};");
    let unit = Unit {
        step: format!("analyze {schema}.{name}"),
        subject: format!("statistics of {table}"),
        instead: carried
            .iter()
            .map(|_| Instead {
                sql: analyze.clone(),
                ..Instead::default()
            })
            .collect(),
        sql: carried.unwrap_or(analyze),
        // The source may have failed with its expressions all the same.
        tolerated: EVALUATED,
        ..Unit::default()
    };
    unit.reported(Step::Analyze, &table.to_string(), table)
}
