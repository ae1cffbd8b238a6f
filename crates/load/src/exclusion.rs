//! Exclusion constraints and temporal keys of partitioned tables, which PostgreSQL 17 and 18 create
//! but cannot attach.
//!
//! pg_dump gives every partition its own constraint and attaches its index to the parent's, which
//! the server refuses for them. Added to the whole tree at once, the partitions'
//! constraints come attached, under names of the server's choice, which are then set right.
//!
//! Source: PostgreSQL's manual, ALTER TABLE, `ADD table_constraint`, and ALTER INDEX, `ATTACH
//! PARTITION`.

use std::collections::{HashMap, HashSet};

use pghaul_stage::Result;
use pghaul_wire::quote::literal;

use crate::archive::{Archive, Entry};
use crate::statement;

/// Makes the entries of such constraints ones that the server accepts.
///
/// # Errors
///
/// As [`Archive::change`].
pub(crate) fn unite(archive: &mut Archive) -> Result<()> {
    let constraints: HashMap<i32, Exclusion> = archive
        .entries()
        .filter(|entry| entry.desc == "CONSTRAINT")
        .filter_map(|entry| Some((entry.id, Exclusion::parse(&entry)?)))
        .collect();
    if constraints.is_empty() {
        return Ok(());
    }
    let parent = |entry: &Entry| {
        let on = entry.dependencies.iter();
        on.filter_map(|id| constraints.get(id)).next()
    };
    let mut parents: HashSet<String> = HashSet::new();
    let mut children: HashMap<String, String> = HashMap::new();
    for entry in archive.entries() {
        if let (Some(own), Some(parent)) = (constraints.get(&entry.id), parent(&entry)) {
            parents.insert(parent.index.clone());
            children.insert(own.index.clone(), own.renamed(parent));
        }
    }
    archive.change(|entry| {
        if let Some(own) = constraints.get(&entry.id) {
            if let Some(rename) = children.get(&own.index) {
                let pieces = statement::split(&entry.definition);
                let rest = pieces.get(1..).unwrap_or_default().concat();
                entry.definition = format!("{rename}{rest}");
                // It is no longer made with its table's indexes, but after its parent's.
                entry.oid = 0;
            } else if parents.contains(&own.index) {
                entry.definition = entry.definition.replacen(ONLY, "ALTER TABLE ", 1);
            }
        } else if entry.desc == "INDEX ATTACH" {
            let child = entry.definition.split_once(ATTACH);
            let child = child.and_then(|(_, child)| child.trim_end().strip_suffix(';'));
            if child.is_some_and(|child| children.contains_key(child)) {
                entry.definition.clear();
            }
        }
    })
}

/// How the statement begins that adds a constraint.
const ONLY: &str = "ALTER TABLE ONLY ";

/// What stands between the parent's index and the partition's.
const ATTACH: &str = " ATTACH PARTITION ";

/// What follows the name of an exclusion constraint.
const EXCLUDE: &str = " EXCLUDE USING ";

/// What follows the name of a key.
const KEYS: [&str; 2] = [" PRIMARY KEY (", " UNIQUE ("];

/// What the last column of a key over time has.
const TEMPORAL: &str = " WITHOUT OVERLAPS)";

/// Such a constraint, by names as they stand in statements.
struct Exclusion {
    /// The table.
    table: String,
    /// The constraint.
    name: String,
    /// Its index, with its schema.
    index: String,
}

impl Exclusion {
    /// Reads the entry of a constraint; `None` if it is of another kind.
    fn parse(entry: &Entry) -> Option<Exclusion> {
        let text = entry.definition.trim_start().strip_prefix(ONLY)?;
        let (table, text) = text.split_once("\n    ADD CONSTRAINT ")?;
        let (name, rest) = text.split_at(outside_quotes(text, ' ')?);
        let is_key_over_time =
            KEYS.iter().any(|key| rest.starts_with(key)) && rest.contains(TEMPORAL);
        if !rest.starts_with(EXCLUDE) && !is_key_over_time {
            return None;
        }
        // The table's schema, which is the index's too, ends at the first dot.
        let dot = outside_quotes(table, '.')?;
        Some(Exclusion {
            table: table.to_owned(),
            name: name.to_owned(),
            index: format!("{}.{name}", table.get(..dot)?),
        })
    }

    /// The statement that gives the constraint its name after it came with its parent's.
    fn renamed(&self, parent: &Exclusion) -> String {
        let block = format!(
            "DECLARE
  made name;
BEGIN
  SELECT c.relname INTO STRICT made
    FROM pg_catalog.pg_inherits AS i
    JOIN pg_catalog.pg_index AS x ON x.indexrelid = i.inhrelid
    JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = {parent}::pg_catalog.regclass
      AND x.indrelid = {table}::pg_catalog.regclass;
  IF made <> {name} THEN
    EXECUTE pg_catalog.format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', {table}, made, {name});
  END IF;
END",
            parent = literal(&parent.index),
            table = literal(&self.table),
            name = literal(&unquoted(&self.name)),
        );
        format!("DO {};", literal(&block))
    }
}

/// Where this character first stands outside of quotes.
fn outside_quotes(text: &str, wanted: char) -> Option<usize> {
    let mut inside = false;
    text.find(|c| {
        inside ^= c == '"';
        c == wanted && !inside
    })
}

/// The name that an identifier in a statement stands for.
fn unquoted(identifier: &str) -> String {
    let inside = identifier.strip_prefix('"');
    match inside.and_then(|inside| inside.strip_suffix('"')) {
        Some(inside) => inside.replace("\"\"", "\""),
        None => identifier.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: i32, desc: &str, definition: &str, dependencies: &[i32]) -> Entry {
        Entry {
            id,
            oid: 100,
            desc: desc.into(),
            definition: definition.into(),
            dependencies: dependencies.into(),
            ..Entry::default()
        }
    }

    #[test]
    fn what_the_server_cannot_attach_is_recognised() {
        let found = |constraint: &str| {
            let text = format!("ALTER TABLE ONLY \"a.b\".t\n    ADD CONSTRAINT {constraint};\n");
            Exclusion::parse(&entry(1, "CONSTRAINT", &text, &[])).map(|found| found.index)
        };
        for (constraint, expected) in [
            ("x EXCLUDE USING gist (d WITH =)", Some("\"a.b\".x")),
            ("x PRIMARY KEY (a, d WITHOUT OVERLAPS)", Some("\"a.b\".x")),
            (
                "x UNIQUE (a, d WITHOUT OVERLAPS) DEFERRABLE",
                Some("\"a.b\".x"),
            ),
            (
                "\"x EXCLUDE USING \"\" \" UNIQUE (a, d WITHOUT OVERLAPS)",
                Some("\"a.b\".\"x EXCLUDE USING \"\" \""),
            ),
            ("\"x EXCLUDE USING \" UNIQUE (a)", None),
            ("x PRIMARY KEY (a)", None),
        ] {
            assert_eq!(found(constraint).as_deref(), expected, "{constraint}");
        }
    }

    #[test]
    fn a_tree_is_made_at_its_root() {
        let add = |table: &str, name: &str| {
            format!(
                "ALTER TABLE ONLY {table}\n    ADD CONSTRAINT {name} EXCLUDE USING gist (d WITH =);\n"
            )
        };
        let before = [
            entry(1, "CONSTRAINT", &add("\"a.b\".t", "\"the root\""), &[]),
            entry(
                2,
                "CONSTRAINT",
                &(add("\"a.b\".t1", "one") + "\nALTER TABLE x;\n"),
                &[7, 1],
            ),
            entry(
                3,
                "INDEX ATTACH",
                "ALTER INDEX \"a.b\".\"the root\" ATTACH PARTITION \"a.b\".one;\n",
                &[1, 2],
            ),
            entry(4, "CONSTRAINT", &add("\"a.b\".t1", "alone"), &[7]),
            entry(
                5,
                "INDEX ATTACH",
                "ALTER INDEX \"a.b\".i ATTACH PARTITION \"a.b\".j;\n",
                &[1],
            ),
        ];
        let mut archive = Archive::of(before.clone()).unwrap();
        unite(&mut archive).unwrap();
        let entries: Vec<Entry> = archive.entries().collect();
        assert!(
            entries[0]
                .definition
                .starts_with("ALTER TABLE \"a.b\".t\n    ADD CONSTRAINT")
        );
        assert!(
            entries[1].definition.starts_with("DO "),
            "{}",
            entries[1].definition
        );
        assert!(entries[1].definition.ends_with("\nALTER TABLE x;\n"));
        assert_eq!((entries[1].oid, entries[0].oid), (0, 100));
        assert_eq!(entries[2].definition, "");
        assert_eq!(entries[3..], before[3..]);
    }
}
