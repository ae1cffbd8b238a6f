//! Which tables of both sides are compared with one another.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pghaul_stage::TableId;

use super::{Relation, Table};
use crate::verify::report::{Difference, Report};

/// Puts the tables of both sides together by name; those without a partner are in the report
/// already, as objects.
pub(in crate::verify) fn pair(
    source: Cow<'_, BTreeMap<TableId, Table>>,
    mut target: BTreeMap<TableId, Table>,
    has_schema: bool,
    report: &mut Report,
) -> Vec<Relation> {
    let source: Box<dyn Iterator<Item = (TableId, Table)>> = match source {
        Cow::Owned(tables) => Box::new(tables.into_iter()),
        Cow::Borrowed(tables) => {
            Box::new(tables.iter().map(|(id, table)| (id.clone(), table.clone())))
        }
    };
    let mut relations = Vec::new();
    for (id, ours) in source {
        let Some(theirs) = target.remove(&id) else {
            let reason = if ours.of_extension {
                Some(
                    "no extension of the target has it for users' rows, or the role may not read it",
                )
            } else {
                (!has_schema).then_some("the target does not have it")
            };
            if let Some(reason) = reason {
                report.differ(Difference::Unchecked {
                    of: format!("table {id}"),
                    reason: reason.to_owned(),
                });
            }
            report.add_unread(id);
            continue;
        };
        let names = |table: &Table| {
            let mut names: Vec<_> = table.columns.iter().map(|c| c.name.clone()).collect();
            names.sort();
            names
        };
        let (here, there) = (names(&ours), names(&theirs));
        // Rows alone were loaded by name, and the target may have more columns.
        let comparable = here == there
            || !has_schema && here.iter().all(|name| there.binary_search(name).is_ok());
        if !comparable {
            report.differ(Difference::Unchecked {
                of: format!("table {id}"),
                reason: "its columns differ".to_owned(),
            });
            report.add_unread(id);
            continue;
        }
        // What was recorded is no source of SQL, so the target's word must be the same.
        if ours.recorded.is_some() && ours.condition != theirs.condition {
            report.differ(Difference::Unchecked {
                of: format!("table {id}"),
                reason: "its extension takes other rows for users'".to_owned(),
            });
            report.add_unread(id);
            continue;
        }
        relations.push(Relation {
            recorded: ours.recorded.clone(),
            sizes: [ours.size, theirs.size],
            ..Relation::alone(&id, &ours)
        });
    }
    for id in target.into_keys().filter(|_| has_schema) {
        report.add_unread(id);
    }
    relations
}
