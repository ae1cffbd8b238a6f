//! What a comparison found.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use pghaul_stage::TableId;
use serde::{Serialize, Serializer};

use super::Algorithm;
use super::checksum::{Outcome, Sum};
use super::narrow::Found;
use super::relation::Relation;

/// The result of a comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How rows were hashed.
    pub algorithm: Algorithm,
    /// Every table of either side, by name.
    pub tables: Vec<TableReport>,
    /// The large objects.
    pub large_objects: LargeObjectReport,
    /// How many objects there are of each kind.
    pub objects: Vec<Count>,
    /// Everything that is not the same on both sides; empty if the databases match.
    pub differences: Vec<Difference>,
    /// How long it took, in seconds.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// One table's rows.
#[derive(Debug, Clone, Serialize)]
pub struct TableReport {
    /// Its name.
    pub table: TableId,
    /// Rows on the source; `None` where they were not read.
    pub source_rows: Option<u64>,
    /// Rows on the target; `None` where they were not read.
    pub target_rows: Option<u64>,
    /// The checksum of the source's rows.
    pub source_checksum: Option<Checksum>,
    /// The checksum of the target's rows.
    pub target_checksum: Option<Checksum>,
    /// Whether both sides have the same rows.
    pub matches: bool,
    /// From its first query to its last answer, in seconds. Small tables share queries.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// The lower 64 bits of both sums of a table's hashes; the comparison itself uses all bits. Displays,
/// and is written, in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum([u64; 2]);

/// The large objects' content.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LargeObjectReport {
    /// How many the source has.
    pub source: u64,
    /// How many the target has.
    pub target: u64,
    /// Whether they are the same.
    pub matches: bool,
}

/// How many objects of one kind there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The kind, for example `index`.
    pub kind: String,
    /// How many on the source.
    pub source: u64,
    /// How many on the target.
    pub target: u64,
}

/// Something that is not the same on both sides. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "difference")]
#[non_exhaustive]
pub enum Difference {
    /// An object that only the source has. What belongs to it (a table's columns, indexes,
    /// triggers) is not listed again.
    MissingObject {
        /// The kind, for example `index`.
        kind: String,
        /// Its name, quoted as in SQL.
        name: String,
    },
    /// An object that only the target has.
    ExtraObject {
        /// The kind, for example `index`.
        kind: String,
        /// Its name, quoted as in SQL.
        name: String,
    },
    /// An object with other properties.
    Object {
        /// The kind, for example `trigger`.
        kind: String,
        /// Its name, quoted as in SQL.
        name: String,
        /// Its properties on the source.
        source: String,
        /// Its properties on the target.
        target: String,
    },
    /// A sequence that stands elsewhere.
    Sequence {
        /// Which sequence.
        sequence: TableId,
        /// `last_value` on the source, and whether it was handed out.
        source: (i64, bool),
        /// The same on the target.
        target: (i64, bool),
    },
    /// A table, or the large objects, whose rows differ.
    Rows {
        /// What has the rows: `table …` or `large objects`.
        of: String,
        /// Rows on the source.
        source_rows: u64,
        /// Rows on the target.
        target_rows: u64,
        /// How many rows differ at least.
        at_least: u64,
        /// The columns by which rows are named; empty if there is no key.
        key: Vec<String>,
        /// Some of the rows. These are data: whoever shows them shows what the tables hold.
        rows: Vec<RowDifference>,
        /// Why no rows are named, though they were asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        unnamed: Option<&'static str>,
    },
    /// Rows that could not be compared.
    Unchecked {
        /// What has the rows: `table …` or `large objects`.
        of: String,
        /// Why.
        reason: String,
    },
}

/// One row that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowDifference {
    /// In which way.
    pub state: RowState,
    /// The values of its key in parentheses; for a table without a key the beginning of the row.
    pub row: String,
}

/// In which way a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowState {
    /// The source has it, or has it more often.
    Missing,
    /// The target has it, or has it more often.
    Extra,
    /// Both have it, with other values.
    Differs,
}

impl Report {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            tables: Vec::new(),
            large_objects: LargeObjectReport::default(),
            objects: Vec::new(),
            differences: Vec::new(),
            elapsed: Duration::ZERO,
        }
    }

    /// Whether everything that was compared is the same.
    pub fn is_match(&self) -> bool {
        self.differences.is_empty()
    }

    /// Notes one difference.
    pub(super) fn differ(&mut self, difference: Difference) {
        self.differences.push(difference);
    }

    /// Notes the numbers of objects of every kind.
    pub(super) fn count(
        &mut self,
        source: &BTreeMap<Box<str>, u64>,
        target: &BTreeMap<Box<str>, u64>,
    ) {
        let kinds: std::collections::BTreeSet<_> = source.keys().chain(target.keys()).collect();
        let of = |counts: &BTreeMap<Box<str>, u64>, kind| counts.get(kind).copied().unwrap_or(0);
        self.objects = kinds
            .into_iter()
            .map(|kind| Count {
                kind: kind.to_string(),
                source: of(source, kind),
                target: of(target, kind),
            })
            .collect();
    }

    /// Notes a table whose rows were not read.
    pub(super) fn add_unread(&mut self, table: TableId) {
        self.tables.push(TableReport {
            table,
            source_rows: None,
            target_rows: None,
            source_checksum: None,
            target_checksum: None,
            matches: false,
            elapsed: Duration::ZERO,
        });
    }

    /// Notes what became of a relation.
    pub(super) fn add(&mut self, relation: &Relation, outcome: &Outcome, found: Option<Found>) {
        let (sums, elapsed) = match outcome {
            Outcome::Sums { sums, elapsed, .. } => (sums, *elapsed),
            Outcome::Failed(error) => {
                self.differ(Difference::Unchecked {
                    of: relation.name(),
                    reason: error.to_string(),
                });
                if let Some(table) = &relation.table {
                    self.add_unread(table.clone());
                }
                return;
            }
        };
        let matches = found.is_none();
        let [source, target] = sums;
        if let Some(found) = found {
            self.differ(Difference::Rows {
                of: relation.name(),
                source_rows: source.rows,
                target_rows: target.rows,
                at_least: found.at_least,
                key: relation.key.to_vec(),
                rows: found.rows,
                unnamed: found.unnamed,
            });
        }
        match &relation.table {
            Some(table) => self.tables.push(TableReport {
                table: table.clone(),
                source_rows: Some(source.rows),
                target_rows: Some(target.rows),
                source_checksum: Some(Checksum::of(source)),
                target_checksum: Some(Checksum::of(target)),
                matches,
                elapsed,
            }),
            None => {
                self.large_objects = LargeObjectReport {
                    source: source.rows,
                    target: target.rows,
                    matches,
                }
            }
        }
    }

    pub(super) fn finish(&mut self, elapsed: Duration) {
        self.tables.sort_by(|a, b| a.table.cmp(&b.table));
        self.elapsed = elapsed;
    }
}

impl Checksum {
    fn of(sum: &Sum) -> Self {
        Self(sum.halves.map(|half| half as u64))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [high, low] = self.0;
        write!(f, "{high:016x}{low:016x}")
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::MissingObject { kind, name } => {
                write!(f, "{kind} {}: missing on the target", Line(name))
            }
            Difference::ExtraObject { kind, name } => {
                write!(f, "{kind} {}: only on the target", Line(name))
            }
            Difference::Object {
                kind,
                name,
                source,
                target,
            } => write!(
                f,
                "{kind} {}: source has ({}), target has ({})",
                Line(name),
                Line(source),
                Line(target)
            ),
            Difference::Sequence {
                sequence,
                source,
                target,
            } => {
                let state = |(value, called): &(i64, bool)| {
                    format!("{} {value}", if *called { "after" } else { "before" })
                };
                write!(
                    f,
                    "sequence {sequence}: source stands {}, target {}",
                    state(source),
                    state(target)
                )
            }
            Difference::Rows {
                of,
                source_rows,
                target_rows,
                at_least,
                key,
                rows,
                unnamed,
            } => {
                write!(f, "{of}: ")?;
                if source_rows != target_rows {
                    write!(f, "source has {source_rows} rows, target {target_rows}; ")?;
                }
                write!(f, "at least {at_least} of its rows differ")?;
                for (i, row) in rows.iter().enumerate() {
                    f.write_str(if i == 0 { ": " } else { "; " })?;
                    if !key.is_empty() {
                        write!(f, "({})=", Line(&key.join(", ")))?;
                    }
                    write!(f, "{} {}", Line(&row.row), row.state)?;
                }
                if let Some(reason) = unnamed {
                    write!(f, ", which are not named, because {reason}")?;
                }
                Ok(())
            }
            Difference::Unchecked { of, reason } => {
                write!(f, "{of}: not compared, because {}", Line(reason))
            }
        }
    }
}

impl fmt::Display for RowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RowState::Missing => "is missing on the target",
            RowState::Extra => "is only on the target",
            RowState::Differs => "differs",
        })
    }
}

/// Text of a database's making on one line, where it cannot imitate other output.
struct Line<'a>(&'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if c.is_control() {
                write!(f, "{}", c.escape_default())
            } else {
                write!(f, "{c}")
            }
        })
    }
}
