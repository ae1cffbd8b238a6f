//! What is done in place of a statement that the server refuses.

use pghaul_stage::{Omission, TableId};
use pghaul_wire::quote::literal;

use crate::archive::Entry;

/// "Violates a foreign key": rows have no counterpart.
const ORPHANS: &str = "23503";

/// A second choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Instead {
    /// The statements; empty to leave it out.
    pub(crate) sql: String,
    /// The error code after which it is done; `None` is any.
    pub(crate) after: Option<&'static str>,
    /// What the target then lacks, if it lacks anything.
    pub(crate) omission: Option<Omission>,
}

/// The second choices of an entry, in order; most have none.
pub(crate) fn of(entry: &Entry, version: Option<&str>) -> Vec<Instead> {
    match (entry.desc.as_str(), version) {
        ("EXTENSION", Some(version)) => vec![any_version(&entry.tag, &entry.definition, version)],
        ("FK CONSTRAINT", _) => unchecked(entry),
        _ => Vec::new(),
    }
}

/// The statement that creates an extension in this version.
pub(crate) fn pinned(definition: &str, version: &str) -> String {
    match definition.trim_end().strip_suffix(';') {
        Some(statement) => format!("{statement} VERSION {};\n", literal(version)),
        None => definition.to_owned(),
    }
}

/// An extension in the version that the target has by default.
pub(crate) fn any_version(name: &str, definition: &str, version: &str) -> Instead {
    Instead {
        sql: definition.to_owned(),
        after: None,
        omission: Some(other_version(name, version)),
    }
}

/// What is told of an extension whose version the target does not offer.
pub(crate) fn other_version(name: &str, version: &str) -> Omission {
    Omission::new(
        format!("version {version:?} of extension {name:?}"),
        "the target does not offer it; the extension has the target's default version",
    )
}

/// A foreign key that rows of the source break, because they came in while it was not checked: it
/// is kept for what comes, and rows are left as they are. Partitioned tables cannot have such a
/// key before PostgreSQL 18, so there it is left out.
fn unchecked(entry: &Entry) -> Vec<Instead> {
    let Some(statement) = entry.definition.trim_end().strip_suffix(';') else {
        return Vec::new();
    };
    let name = TableId::new(&*entry.schema, &*entry.tag).to_string();
    let validate = validation(statement).unwrap_or_default();
    let kept = Omission::new(
        format!("validity of foreign key {name}"),
        "rows of the source break it; it is NOT VALID on the target, and checks what comes",
    );
    let lost = Omission::new(
        format!("foreign key {name}"),
        "rows of the source break it, and a partitioned table has none that is NOT VALID",
    );
    vec![
        Instead {
            sql: format!("{statement} NOT VALID;\n"),
            after: Some(ORPHANS),
            omission: Some(kept.remedy(validate)),
        },
        Instead {
            sql: String::new(),
            after: Some(ORPHANS),
            omission: Some(lost.remedy(statement)),
        },
    ]
}

/// The statement that checks a foreign key's rows once they are repaired.
fn validation(statement: &str) -> Option<String> {
    let (table, rest) = statement.split_once("\n    ADD CONSTRAINT ")?;
    let (name, _) = rest.split_once(" FOREIGN KEY (")?;
    // The name ends there, unless these words are part of it.
    (name.matches('"').count() % 2 == 0)
        .then(|| format!("{} VALIDATE CONSTRAINT {name}", table.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_foreign_key_is_kept_unchecked() {
        let entry = Entry {
            desc: "FK CONSTRAINT".into(),
            schema: "s".into(),
            tag: "t k".into(),
            definition:
                "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES s.u(a);\n"
                    .into(),
            ..Entry::default()
        };
        let choices = of(&entry, None);
        assert_eq!(
            choices[0].sql,
            "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES s.u(a) NOT VALID;\n"
        );
        let remedy = choices[0]
            .omission
            .as_ref()
            .and_then(|one| one.remedy.as_deref());
        assert_eq!(remedy, Some("ALTER TABLE ONLY s.t VALIDATE CONSTRAINT k;"));
        assert_eq!(choices[1].sql, "");
    }

    #[test]
    fn a_version_follows_the_rest_of_the_statement() {
        assert_eq!(
            pinned("CREATE EXTENSION IF NOT EXISTS x WITH SCHEMA s;\n", "1'0"),
            "CREATE EXTENSION IF NOT EXISTS x WITH SCHEMA s VERSION '1''0';\n"
        );
    }
}
