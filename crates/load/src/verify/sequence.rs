//! Compares where sequences stand.

use std::collections::BTreeMap;

use pghaul_stage::{Result, TableId};
use pghaul_wire::{Chosen, quote};

use super::extension_table::holds_users_rows;
use super::report::{Difference, Report};
use super::snapshot::{Session, boolean, number, text};

/// Sequences per query; each is a relation to lock.
const PER_QUERY: usize = 200;

/// The value of every sequence and whether it was handed out.
pub(super) type Values = BTreeMap<TableId, (i64, bool)>;

/// Those of one side.
pub(super) async fn read(session: &mut Session<'_>, chosen: &Chosen) -> Result<Values> {
    let rows = session
        .read(&format!(
            "SELECT n.nspname, c.relname
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relkind = 'S' AND c.relpersistence <> 't'
                AND n.nspname NOT IN ('pghaul', 'information_schema') AND n.nspname !~ '^pg_'
                AND {} AND {} AND {}",
            holds_users_rows(chosen),
            chosen.sequences("c"),
            chosen.rows("c")
        ))
        .await?;
    let names = rows
        .iter()
        .map(|row| Ok(TableId::new(text(row, 0)?, text(row, 1)?)))
        .collect::<Result<Vec<_>>>()?;
    drop(rows);
    let mut values = BTreeMap::new();
    for names in names.chunks(PER_QUERY) {
        let queries: Vec<String> = names
            .iter()
            .enumerate()
            .map(|(i, name)| {
                format!(
                    "SELECT {i}, last_value, is_called FROM {}.{}",
                    quote::ident(&name.schema),
                    quote::ident(&name.name)
                )
            })
            .collect();
        for row in &session.read(&queries.join(" UNION ALL ")).await? {
            let place: usize = number(row, 0)?;
            if let Some(name) = names.get(place) {
                values.insert(name.clone(), (number(row, 1)?, boolean(row, 2)?));
            }
        }
    }
    Ok(values)
}

/// Reports the sequences that stand elsewhere. Those that only one side has are reported as
/// objects, if objects are compared; otherwise those that the target lacks are reported here.
pub(super) fn compare(source: &Values, target: &Values, has_schema: bool, report: &mut Report) {
    for (sequence, ours) in source {
        match target.get(sequence) {
            Some(theirs) if theirs != ours => report.differ(Difference::Sequence {
                sequence: sequence.clone(),
                source: *ours,
                target: *theirs,
            }),
            None if !has_schema => report.differ(Difference::Unchecked {
                of: format!("sequence {sequence}"),
                reason: "the target does not have it".to_owned(),
            }),
            _ => {}
        }
    }
}
