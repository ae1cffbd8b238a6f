//! Who owns what an archive entry creates.

use pghaul_wire::quote::ident;

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

/// The statement that makes the entry's owner the owner of its object; `None` for objects
/// without an owner of their own.
pub(crate) fn alter(entry: &Entry) -> Option<String> {
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
    Some(format!("ALTER {object} OWNER TO {};", ident(&entry.owner)))
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
            alter(&entry("TABLE", "s", "a b", "DROP TABLE s.\"a b\";\n")).unwrap(),
            r#"ALTER TABLE "s"."a b" OWNER TO "o""x";"#
        );
        assert_eq!(
            alter(&entry("SCHEMA", "", "s", "DROP SCHEMA s;\n")).unwrap(),
            r#"ALTER SCHEMA "s" OWNER TO "o""x";"#
        );
        assert_eq!(
            alter(&entry(
                "FUNCTION",
                "s",
                "f(integer)",
                "DROP FUNCTION s.f(x integer);\n"
            ))
            .unwrap(),
            r#"ALTER FUNCTION s.f(x integer) OWNER TO "o""x";"#
        );
    }

    #[test]
    fn what_cannot_be_dropped_alone_has_no_owner() {
        assert_eq!(alter(&entry("TYPE", "s", "shell", "")), None);
        assert_eq!(alter(&entry("INDEX", "s", "i", "DROP INDEX s.i;\n")), None);
    }
}
