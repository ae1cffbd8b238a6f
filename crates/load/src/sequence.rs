//! Sequences' values.

use pghaul_stage::{Omission, SequenceValue};
use pghaul_wire::quote::{ident, literal};

use crate::entry::Unit;
use crate::instead::Instead;

/// How many sequences share a statement.
const CHUNK: usize = 500;

/// Sets every sequence to the source's value; each run of a migration does, because the source
/// may have moved on since the last one.
pub(crate) fn units(values: &[SequenceValue], epoch: i64) -> impl Iterator<Item = Unit> {
    let unit = move |(number, values)| unit(values, format!("sequences {number} of run {epoch}"));
    values.chunks(CHUNK).enumerate().map(unit)
}

fn unit(values: &[SequenceValue], step: String) -> Unit {
    let mut sql = String::from("SELECT pg_catalog.count(pg_catalog.setval(s, v, c)) FROM (VALUES");
    for (at, value) in values.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let name = format!("{}.{}", ident(&value.id.schema), ident(&value.id.name));
        sql += &format!(
            "{comma}\n({}::pg_catalog.regclass, {}::bigint, {})",
            literal(&name),
            literal(&value.last_value.to_string()),
            value.is_called
        );
    }
    sql += ") AS v (s, v, c)";
    let permitted = format!("{sql} WHERE pg_catalog.has_sequence_privilege(s, 'UPDATE');");
    sql += ";";
    Unit {
        instead: vec![Instead {
            sql: permitted,
            after: Some("42501"),
            omission: Some(Omission::new(
                "values of sequences that belong to others",
                "the loading role may not set them",
            )),
        }],
        step,
        subject: "sequences".to_owned(),
        sql,
        ..Unit::default()
    }
}

#[cfg(test)]
mod tests {
    use pghaul_stage::TableId;

    use super::*;

    #[test]
    fn names_are_quoted_twice() {
        let value = SequenceValue {
            id: TableId::new("s", "it's \"x\""),
            last_value: i64::MIN,
            is_called: false,
        };
        let unit = units(&[value], 1).next().unwrap();
        assert!(
            unit.sql.contains(
                r#"('"s"."it''s ""x"""'::pg_catalog.regclass, '-9223372036854775808'::bigint, false)"#
            ),
            "{}",
            unit.sql
        );
    }
}
