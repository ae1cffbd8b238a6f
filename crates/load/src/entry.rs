//! When an archive entry is restored, and the statements it stands for.

use pghaul_stage::{Step, TableId};
use pghaul_wire::quote::ident;

use crate::archive::{Archive, Entry, Section};
use crate::compression;
use crate::dialect;
use crate::grant::Grants;
use crate::instead::{self, Instead};
use crate::owner;
use crate::present::Present;
use crate::secret;
use crate::statement;

/// When an entry is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Never: it is rows, or belongs to the database as a whole, and others see to it.
    Elsewhere,
    /// Before the rows.
    PreData,
    /// An index.
    Index,
    /// A primary key, a unique or an exclusion constraint.
    Constraint,
    /// A statistics object, which must stand before its table is analyzed.
    Statistics,
    /// A foreign key.
    ForeignKey,
    /// Anything else after the rows.
    PostData,
    /// Privileges: after all objects, because they may take away the right to make one.
    Privileges,
    /// The rows of a materialized view: after the privileges that its query needs.
    Refresh,
    /// What would interfere with everything before.
    Last,
}

/// Every entry of an archive, with its phase.
pub(crate) fn phases(archive: &Archive) -> impl Iterator<Item = (Entry, Phase)> {
    let mut section = Section::PreData;
    archive.entries().map(move |entry| {
        if entry.section != Section::None {
            section = entry.section;
        }
        let phase = phase(&entry, section);
        (entry, phase)
    })
}

/// Whether what an entry describes is a database or a large object, which others see to.
pub(crate) fn is_elsewhere(entry: &Entry) -> bool {
    let mut kinds = ["DATABASE ", "LARGE OBJECT"].into_iter();
    kinds.any(|kind| entry.tag.starts_with(kind))
}

fn phase(entry: &Entry, section: Section) -> Phase {
    match entry.desc.as_str() {
        "ENCODING" | "STDSTRINGS" | "SEARCHPATH" | "DATABASE" | "DATABASE PROPERTIES" => {
            Phase::Elsewhere
        }
        "TABLE DATA" | "SEQUENCE SET" | "BLOB" | "BLOBS" | "BLOB METADATA" | "BLOB COMMENTS"
        | "STATISTICS DATA" => Phase::Elsewhere,
        "ACL" | "COMMENT" | "SECURITY LABEL" if is_elsewhere(entry) => Phase::Elsewhere,
        "ACL" | "DEFAULT ACL" => Phase::Privileges,
        // Created without connecting, it needs nothing of the rest; and its password, which is
        // not stored, is at hand as long as rows are to be copied.
        "SUBSCRIPTION" => Phase::PreData,
        "MATERIALIZED VIEW DATA" => Phase::Refresh,
        "EVENT TRIGGER" => Phase::Last,
        "COMMENT" | "SECURITY LABEL" if entry.tag.starts_with("EVENT TRIGGER ") => Phase::Last,
        _ if section != Section::PostData => Phase::PreData,
        "INDEX" => Phase::Index,
        "CONSTRAINT" => Phase::Constraint,
        "STATISTICS" => Phase::Statistics,
        "FK CONSTRAINT" => Phase::ForeignKey,
        _ => Phase::PostData,
    }
}

/// What commits together with its step in the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Its name in the ledger.
    pub(crate) step: String,
    /// For people: what it makes.
    pub(crate) subject: String,
    /// The statements.
    pub(crate) sql: String,
    /// The statement that sets the owner, and the owner.
    pub(crate) owner: Option<String>,
    /// The default tablespace that the statements expect, if they expect one.
    pub(crate) tablespace: Option<String>,
    /// The default table access method that they expect, if they expect one.
    pub(crate) access_method: Option<String>,
    /// What an observer is told; `None` if it is not worth an event of its own.
    pub(crate) report: Option<Report>,
    /// What is done in its place if the server refuses it: the first that works.
    pub(crate) instead: Vec<Instead>,
    /// Error codes, or their classes, after which a warning is enough.
    pub(crate) tolerated: &'static [&'static str],
    /// Whether the statements may have a secret in them.
    pub(crate) secret: bool,
}

/// What an observer is told of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// The kind of step.
    pub(crate) step: Step,
    /// What it makes, without its kind.
    pub(crate) subject: String,
    /// The table it belongs to.
    pub(crate) table: TableId,
}

/// May not; does not exist (a role that is granted something).
const PRIVILEGES: &[&str] = &["42501", "42704"];

/// May not; does not exist (role, relation, function, schema): after a selection of a part, what
/// an object refers to may not be there.
pub(crate) const MISSING: &[&str] = &["42501", "42704", "42P01", "42883", "3F000"];

/// Kinds that rows cannot do without.
const HOLDERS: [&str; 6] = ["SCHEMA", "TABLE", "TYPE", "DOMAIN", "SEQUENCE", "EXTENSION"];

/// Whatever expressions and functions of users may fail with when they are evaluated, by an owner who
/// may be less than on the source; keys that the rows do not keep; and a view that was not filled for
/// the same reason.
pub(crate) const EVALUATED: &[&str] = &[
    "0A", "21", "22", "23", "2F", "38", "39", "3F", "42", "55000", "P0",
];

/// May not.
pub(crate) const FORBIDDEN: &[&str] = &["42501"];

/// May not; may not without a password.
const SUBSCRIPTION: &[&str] = &["42501", "2F003"];

/// May not; no such provider; not for such objects; not a label that the provider takes; and what
/// has it may not be there, because it came with something that is left out.
pub(crate) const LABEL: &[&str] = &[
    "42501", "22023", "0A000", "42602", "42704", "42P01", "42883", "3F000",
];

impl Unit {
    /// All of an entry.
    pub(crate) fn of(entry: &Entry, present: &Present) -> Unit {
        let partitioned = entry.relkind == Some('p');
        let granting = matches!(entry.desc.as_str(), "ACL" | "DEFAULT ACL");
        let mut sql = if granting {
            Grants::of(entry, present, |role| present.may_own(role)).possible
        } else {
            dialect::definition(entry, present.power.version)
        };
        if present.power.lacks_lz4 {
            sql = compression::without(&sql);
        }
        let language = present.languages.get(&entry.tag);
        if let Some(statement) = language.filter(|_| entry.desc == "PROCEDURAL LANGUAGE") {
            sql.clone_from(statement);
        }
        let version = present.extensions.get(&entry.tag);
        let version = version.filter(|_| entry.desc == "EXTENSION");
        let version = version.map(String::as_str);
        if let Some(version) = version {
            sql = instead::pinned(&sql, version);
        }
        let mut instead = instead::of(entry, version);
        if !present.power.superuser && granting {
            let owner = Some(entry.owner.as_str()).filter(|owner| present.may_own(owner));
            // An owner who may not use the schema can grant nothing in it.
            instead.extend(owner.map(|_| Instead {
                sql: dialect::by_role(&sql, None),
                ..Instead::default()
            }));
            sql = dialect::by_role(&sql, owner);
        }
        if let (true, Some(method)) = (partitioned, &entry.access_method) {
            let (schema, table) = (ident(&entry.schema), ident(&entry.tag));
            sql += &format!(
                "\nALTER TABLE {schema}.{table} SET ACCESS METHOD {};",
                ident(method)
            );
        }
        Unit {
            step: format!("entry {}", entry.id),
            subject: entry.subject(),
            sql,
            owner: owner::alter(entry, present.power.version).filter(|_| present.may_give(entry)),
            tablespace: present.tablespace(entry).map(str::to_owned),
            access_method: entry.access_method.clone().filter(|_| !partitioned),
            report: None,
            instead,
            secret: secret::holds(entry),
            tolerated: match entry.desc.as_str() {
                "MATERIALIZED VIEW DATA" => EVALUATED,
                desc if present.partial && !HOLDERS.contains(&desc) => MISSING,
                "ACL" | "DEFAULT ACL" | "POLICY" => PRIVILEGES,
                "SECURITY LABEL" => LABEL,
                "CAST" | "COMMENT" | "EVENT TRIGGER" | "USER MAPPING" => FORBIDDEN,
                "SUBSCRIPTION" => SUBSCRIPTION,
                _ => &[],
            },
        }
    }

    /// The statement that builds an entry's index, without what follows it. `definition`
    /// replaces the entry's own first statement.
    pub(crate) fn index(entry: &Entry, definition: Option<&str>, present: &Present) -> Unit {
        let own = statement::split(&entry.definition)
            .first()
            .copied()
            .unwrap_or_default();
        Unit {
            step: format!("index {}", entry.id),
            subject: entry.subject(),
            sql: definition.unwrap_or(own).to_owned(),
            tablespace: present.tablespace(entry).map(str::to_owned),
            ..Unit::default()
        }
    }

    /// What makes an entry of its index that stands already: the constraint that uses it, and
    /// the entry's further statements. `constraint` names it and its table, or is `None` for
    /// an index that is no constraint.
    pub(crate) fn completion(entry: &Entry, constraint: Option<Using<'_>>) -> Unit {
        let pieces = statement::split(&entry.definition);
        let (first, rest) = pieces.split_first().map_or(("", &[][..]), |(a, b)| (*a, b));
        let using = constraint.map_or(String::new(), |using| using.sql(statement::tail(first)));
        Unit {
            step: format!("entry {}", entry.id),
            subject: entry.subject(),
            sql: using + &rest.concat(),
            ..Unit::default()
        }
    }

    /// Whether a warning is enough after an error with this code.
    pub(crate) fn tolerates(&self, code: &str) -> bool {
        let mut tolerated = self.tolerated.iter();
        tolerated.any(|tolerated| code.starts_with(tolerated))
    }

    /// What an administrator could run in its place; `None` if that would show a secret.
    pub(crate) fn remedy(&self) -> Option<String> {
        let owner = self.owner.as_deref().unwrap_or_default();
        (!self.secret).then(|| format!("{}\n{owner}", self.sql.trim_end()))
    }

    /// The same, reported to the observer as this step.
    #[must_use]
    pub(crate) fn reported(mut self, step: Step, subject: &str, table: &TableId) -> Unit {
        self.report = Some(Report {
            step,
            subject: subject.to_owned(),
            table: table.clone(),
        });
        self
    }
}

/// A constraint that is made of an index that stands already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Using<'a> {
    /// The table.
    pub(crate) table: &'a TableId,
    /// The index; the constraint has the same name.
    pub(crate) index: &'a str,
    /// Whether it is the primary key.
    pub(crate) primary: bool,
}

impl Using<'_> {
    /// Source: PostgreSQL's manual, ALTER TABLE, `ADD table_constraint_using_index`.
    fn sql(self, deferrable: &str) -> String {
        let (schema, table) = (ident(&self.table.schema), ident(&self.table.name));
        let kind = if self.primary {
            "PRIMARY KEY"
        } else {
            "UNIQUE"
        };
        let name = ident(self.index);
        format!(
            "ALTER TABLE ONLY {schema}.{table} ADD CONSTRAINT {name} {kind} USING INDEX {name} \
             {deferrable};\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(desc: &str, tag: &str, section: Section) -> Entry {
        Entry {
            id: 5,
            desc: desc.into(),
            tag: tag.into(),
            section,
            ..Entry::default()
        }
    }

    #[test]
    fn an_entry_without_a_section_goes_with_the_one_before() {
        let entries = [
            entry("TABLE", "t", Section::PreData),
            entry("COMMENT", "TABLE t", Section::None),
            entry("ACL", "TABLE t", Section::None),
            entry("TRIGGER", "t on_t", Section::PostData),
            entry("COMMENT", "TRIGGER on_t ON t", Section::None),
            entry("EVENT TRIGGER", "e", Section::PostData),
            entry("COMMENT", "EVENT TRIGGER e", Section::None),
            entry("ACL", "DATABASE d", Section::None),
        ];
        let phases: Vec<Phase> = phases(&Archive::of(entries).unwrap())
            .map(|(_, phase)| phase)
            .collect();
        assert_eq!(
            phases,
            [
                Phase::PreData,
                Phase::PreData,
                Phase::Privileges,
                Phase::PostData,
                Phase::PostData,
                Phase::Last,
                Phase::Last,
                Phase::Elsewhere,
            ]
        );
    }

    #[test]
    fn a_constraint_uses_its_index_and_keeps_what_follows() {
        let entry = Entry {
            definition:
                "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT \"k;\" UNIQUE (a) DEFERRABLE;\n\n\
                         ALTER TABLE s.t CLUSTER ON \"k;\";\n"
                    .into(),
            ..entry("CONSTRAINT", "t k;", Section::PostData)
        };
        let table = TableId::new("s", "t");
        let using = Using {
            table: &table,
            index: "k;",
            primary: false,
        };
        let unit = Unit::completion(&entry, Some(using));
        assert_eq!(
            unit.sql,
            "ALTER TABLE ONLY \"s\".\"t\" ADD CONSTRAINT \"k;\" UNIQUE USING INDEX \"k;\" \
             DEFERRABLE;\n\n\nALTER TABLE s.t CLUSTER ON \"k;\";\n"
        );
    }

    #[test]
    fn a_missing_tablespace_is_replaced() {
        let mut entry = entry("TABLE", "t", Section::PreData);
        entry.tablespace = Some("fast".into());
        let mut present = Present::default();
        assert_eq!(Unit::of(&entry, &present).tablespace.as_deref(), Some(""));
        present.tablespaces.insert("fast".into());
        assert_eq!(
            Unit::of(&entry, &present).tablespace.as_deref(),
            Some("fast")
        );
        present.tablespace_map.insert("slow".into(), "fast".into());
        entry.tablespace = Some("slow".into());
        assert_eq!(
            Unit::of(&entry, &present).tablespace.as_deref(),
            Some("fast")
        );
        entry.tablespace = None;
        assert_eq!(Unit::of(&entry, &present).tablespace, None);
    }
}
