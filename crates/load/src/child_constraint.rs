//! Constraints that were checked for a child, but not for its parent: the parent's statement makes
//! the child's, too, and leaves it unchecked.

use pghaul_stage::{ChildConstraint, Omission};
use pghaul_wire::quote::ident;

use crate::entry::Unit;
use crate::instead::Instead;

/// The units that check them, for when rows and constraints stand.
pub(crate) fn units(constraints: &[ChildConstraint]) -> impl Iterator<Item = Unit> {
    constraints.iter().map(|ChildConstraint { table, name }| {
        let subject = format!("constraint {name:?} of table {table}");
        let sql = format!(
            "ALTER TABLE {}.{} VALIDATE CONSTRAINT {};",
            ident(&table.schema),
            ident(&table.name),
            ident(name)
        );
        let omission = Omission::new(
            format!("validity of {subject}"),
            "the target could not check it",
        );
        Unit {
            step: format!("validate {subject}"),
            subject,
            instead: vec![Instead {
                omission: Some(omission.remedy(sql.as_str())),
                ..Instead::default()
            }],
            sql,
            ..Unit::default()
        }
    })
}
