//! Who owns what an archive entry creates.

use pghaul_wire::quote::{ident, literal};

use crate::archive::Entry;

/// Kinds whose objects are named by schema and tag.
const NAMED: [&str; 19] = [
    "COLLATION",
    "CONVERSION",
    "DOMAIN",
    "EVENT TRIGGER",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "MATERIALIZED VIEW",
    "PROCEDURAL LANGUAGE",
    "PUBLICATION",
    "SCHEMA",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "SUBSCRIPTION",
    "TABLE",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TYPE",
    "VIEW",
];

/// Kinds whose objects need arguments or an access method to be named, which the statement
/// that drops them has.
const DECORATED: [&str; 6] = [
    "AGGREGATE",
    "FUNCTION",
    "OPERATOR",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "PROCEDURE",
];

/// The versions in which a multirange type does not follow its range type to a new owner.
const OWN_MULTIRANGES: std::ops::Range<u32> = 140_000..170_000;

/// The statement that makes the entry's owner the owner of its object, for a server of this
/// version; `None` for objects without an owner of their own.
pub(crate) fn alter(entry: &Entry, version: u32) -> Option<String> {
    if entry.owner.is_empty() || entry.drop.is_empty() {
        return None;
    }
    let desc = entry.desc.as_str();
    let object = if NAMED.contains(&desc) {
        let schema = match entry.schema.as_str() {
            "" => String::new(),
            schema => format!("{}.", ident(schema)),
        };
        format!("{desc} {schema}{}", ident(&entry.tag))
    } else if DECORATED.contains(&desc) {
        let object = entry.drop.strip_prefix("DROP ")?;
        object.trim_end_matches(['\n', ';']).to_owned()
    } else {
        return None;
    };
    let owner = ident(&entry.owner);
    let mut statement = format!("ALTER {object} OWNER TO {owner};");
    if let Some(multirange) = multirange(entry).filter(|_| OWN_MULTIRANGES.contains(&version)) {
        statement += &format!("\nALTER TYPE {multirange} OWNER TO {owner};");
    }
    Some(statement)
}

/// The statement, if this role is a superuser when it is run.
pub(crate) fn if_superuser(statement: &str, role: &str) -> String {
    let role = literal(role);
    let body = format!(
        "BEGIN IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = {role}) \
         THEN {statement} END IF; END"
    );
    format!("DO {};", literal(&body))
}

/// The multirange type that a range type is created with, as its definition names it.
fn multirange(entry: &Entry) -> Option<&str> {
    if entry.desc != "TYPE" {
        return None;
    }
    let (_, rest) = entry
        .definition
        .split_once("\n    multirange_type_name = ")?;
    let end = [",\n    ", "\n);"].iter().filter_map(|end| rest.find(end));
    rest.get(..end.min()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(desc: &str, schema: &str, tag: &str, drop: &str) -> Entry {
        Entry {
            desc: desc.into(),
            schema: schema.into(),
            tag: tag.into(),
            drop: drop.into(),
            owner: "o\"x".into(),
            ..Entry::default()
        }
    }

    #[test]
    fn names_come_from_tag_or_drop_statement() {
        assert_eq!(
            alter(
                &entry("TABLE", "s", "a b", "DROP TABLE s.\"a b\";\n"),
                150_000
            )
            .unwrap(),
            r#"ALTER TABLE "s"."a b" OWNER TO "o""x";"#
        );
        assert_eq!(
            alter(&entry("SCHEMA", "", "s", "DROP SCHEMA s;\n"), 150_000).unwrap(),
            r#"ALTER SCHEMA "s" OWNER TO "o""x";"#
        );
        assert_eq!(
            alter(
                &entry(
                    "FUNCTION",
                    "s",
                    "f(integer)",
                    "DROP FUNCTION s.f(x integer);\n"
                ),
                150_000
            )
            .unwrap(),
            r#"ALTER FUNCTION s.f(x integer) OWNER TO "o""x";"#
        );
    }

    #[test]
    fn what_cannot_be_dropped_alone_has_no_owner() {
        for entry in [
            entry("TYPE", "s", "shell", ""),
            entry("INDEX", "s", "i", "DROP INDEX s.i;\n"),
        ] {
            assert_eq!(alter(&entry, 150_000), None);
        }
    }

    #[test]
    fn a_range_type_takes_its_multirange_along_where_the_server_does_not() {
        for options in ["", ",\n    collation = pg_catalog.\"C\""] {
            let entry = Entry {
                definition: format!(
                    "CREATE TYPE s.r AS RANGE (\n    subtype = text,\n    \
                     multirange_type_name = s.\"m, r\"{options}\n);\n"
                ),
                ..entry("TYPE", "s", "r", "DROP TYPE s.r;\n")
            };
            let range = r#"ALTER TYPE "s"."r" OWNER TO "o""x";"#;
            let both = format!("{range}\nALTER TYPE s.\"m, r\" OWNER TO \"o\"\"x\";");
            for (version, expected) in [
                (130_000, range),
                (140_000, &both),
                (169_999, &both),
                (170_000, range),
            ] {
                assert_eq!(alter(&entry, version).unwrap(), expected);
            }
        }
    }
}
