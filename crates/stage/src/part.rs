//! The unit of work, and the plan that lists all of them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Lsn, TableId};

/// Everything to be read under one snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The log position at or after which changes are not part of the snapshot.
    pub start: Lsn,
    /// Which transactions the snapshot sees, as the source's `pg_snapshot` text
    /// (`xmin:xmax:xip,…`); empty where the source has no such thing. A later run uses it to
    /// tell whether anything changed since.
    pub visible: String,
    /// The work, largest first. Identifiers are unique and stay the same for the life of the
    /// migration.
    pub parts: Vec<Part>,
}

/// Names a part within its migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartId(pub u32);

/// One unit of work: it is read, written, retried and recorded as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub id: PartId,
    /// What is to be done.
    pub work: Work,
    /// Rows expected, an estimate.
    pub rows: u64,
    /// Bytes on the source's disk, an estimate.
    pub bytes: u64,
}

/// Whether it is a part's turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It can be begun, in this form.
    Now(Part),
    /// It cannot be begun yet. It is asked for again in a moment.
    Later,
    /// Somebody else is at it, and may have made it durable. It is asked for again in a moment.
    Taken,
}

/// What a part moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Work {
    /// Rows: one slice of a large table, or many small tables whole, which share the
    /// round trips and the transaction. Copies of the part share them.
    Rows(Arc<[Slice]>),
    /// Large objects with `from ≤ oid < to`; `None` is no bound. Slice 0 of its batches is the
    /// objects' metadata, slice 1 their pages.
    LargeObjects {
        /// The first object identifier, if bounded.
        from: Option<u32>,
        /// The first identifier that is no longer included, if bounded.
        to: Option<u32>,
    },
}

/// The range of one table within a part. There may be one for each of a hundred thousand small tables,
/// so what only large ones have lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The table.
    pub table: TableId,
    /// Which of its rows.
    pub range: Range,
    /// How COPY encodes them.
    pub encoding: Encoding,
    /// What it carries of them.
    #[serde(default)]
    pub shape: Shape,
}

/// What a slice carries of the rows of its range.
///
/// A row can be too large for COPY: a server sends and receives at most a gigabyte at a time, and
/// holds it in memory. Then several slices of one table, one after the other, share the range: the
/// small rows whole, then the large ones a few columns at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Shape {
    /// All rows, whole.
    #[default]
    Whole,
    /// The rows that weigh less than `limit`, whole.
    Small {
        /// In bytes; how a row is weighed is the source's affair.
        limit: u64,
    },
    /// Some columns of the rows that weigh `limit` or more. In front of them comes a field of type
    /// `tid`, which is the same for all columns of a row and different for different rows.
    Columns(Box<SomeColumns>),
}

/// Which columns of large rows a slice carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SomeColumns {
    /// As in [`Shape::Small`].
    pub limit: u64,
    /// Which columns.
    pub names: Vec<String>,
    /// Whether these are the last: with them, and only with them, a row ends and is counted.
    pub last: bool,
}

/// Which rows of a table. Ranges are half-open, and a missing bound is a missing bound, never
/// a sentinel value: the ranges of a table cover it exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Range {
    /// All rows.
    All,
    /// Rows in heap blocks `from ≤ block < to`.
    Blocks {
        /// First block, if bounded.
        from: Option<u32>,
        /// First block no longer included, if bounded.
        to: Option<u32>,
    },
    /// Rows whose integer key is `from ≤ key < to`.
    Keys(Box<KeyRange>),
    /// Rows that meet a condition in SQL, of a table that the target fills by itself with others:
    /// what users added to a table of an extension.
    Condition(Box<str>),
}

/// A range of integer keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyRange {
    /// The key column.
    pub column: String,
    /// First key, if bounded.
    pub from: Option<i64>,
    /// First key no longer included, if bounded.
    pub to: Option<i64>,
    /// Whether rows without a key (NULL) belong here; true in exactly one range of a table.
    pub nulls: bool,
}

/// The two encodings of a COPY stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// `FORMAT binary`: cheapest for both servers.
    Binary,
    /// `FORMAT text`: works between any two versions.
    Text,
}

/// A position inside a part, in bytes of payload; only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark(pub u64);

impl Shape {
    /// Whether a row ends with this slice, and is counted.
    pub fn ends_rows(&self) -> bool {
        !matches!(self, Shape::Columns(some) if !some.last)
    }
}

impl Part {
    /// The slices of tables in it; none for large objects.
    pub fn slices(&self) -> &[Slice] {
        match &self.work {
            Work::Rows(slices) => slices,
            Work::LargeObjects { .. } => &[],
        }
    }
}

/// For people: what the part moves.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.work {
            Work::Rows(slices) => match &**slices {
                [] => f.write_str("nothing"),
                [only] => write!(f, "{}{}", only.table, only.range),
                [first, rest @ ..] => write!(f, "{} and {} more", first.table, rest.len()),
            },
            Work::LargeObjects {
                from: None,
                to: None,
            } => f.write_str("large objects"),
            Work::LargeObjects { from, to } => {
                write!(f, "large objects {}..{}", Bound(from), Bound(to))
            }
        }
    }
}

/// For people: nothing for all rows, otherwise the bounds.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Range::All => Ok(()),
            Range::Condition(_) => f.write_str(" of an extension"),
            Range::Blocks { from, to } => write!(f, " blocks {}..{}", Bound(from), Bound(to)),
            Range::Keys(keys) => {
                let KeyRange {
                    column,
                    from,
                    to,
                    nulls,
                } = &**keys;
                write!(f, " {column} {}..{}", Bound(from), Bound(to))?;
                if *nulls {
                    f.write_str(" and NULL")
                } else {
                    Ok(())
                }
            }
        }
    }
}

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Encoding::Binary => "binary",
            Encoding::Text => "text",
        })
    }
}

struct Bound<'a, T>(&'a Option<T>);

impl<T: fmt::Display> fmt::Display for Bound<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => Ok(()),
        }
    }
}
