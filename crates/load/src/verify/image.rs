//! The text of a row that is hashed, and the hash.
//!
//! # The text
//!
//! `ROW(a, b, …)::text`: PostgreSQL's own composite output, in which NULL is nothing, the empty
//! string is `""`, and commas and quotes inside a value are quoted, so that no two rows share a
//! text. It shows what a type's `=` hides: `-0` against `0`, `1.0` against `1.00`, the padding of
//! `char(n)`. Columns are named in the source's order, therefore their physical order and
//! dropped columns play no part.
//!
//! Some types print differently in different major versions (floating point before 12,
//! `"char"` before 16); between different versions their binary form stands in. Names of objects
//! (`regclass` and its like) lose their quotes, since every version has keywords of its own. Between
//! different encodings the text is converted to UTF-8 first; an `SQL_ASCII` database has bytes
//! rather than text, and they are taken as they are.
//!
//! A value of more than half a gigabyte, or a row of more than one, has no such text: the *wide*
//! image hashes each column of variable length by itself.
//!
//! # The hash
//!
//! Two runs of `hashtextextended` with different seeds over the text, each summed as a 64-bit
//! number. On rows like those of `pgbench_accounts` one core of PostgreSQL 15 hashes 2.7 million
//! rows/s this way, against 0.7 million by the two halves of `md5`; a comparison of a million
//! rows on either side takes 0.7 s instead of 2.5. And servers in FIPS mode refuse `md5`. It is
//! not a cryptographic hash, and need not be: an adversary who writes the data could choose md5
//! collisions as well, and against accidents 128 bits of either are enough. Its result is the
//! same in every version, since hash partitioning depends on it, but not on machines of another
//! byte order; so both servers hash a sample first, and `md5` takes over when they disagree or
//! one is PostgreSQL 10.
//!
//! Sums instead of XOR, because two equal rows must not cancel out.

use pghaul_stage::Result;
use pghaul_wire::quote;

use super::Algorithm;
use super::relation::Column;
use super::snapshot::{Session, number, one};

/// How both sides write a row as text and hash it.
#[derive(Debug)]
pub(super) struct Image {
    algorithm: Algorithm,
    same_major: bool,
    sha256: bool,
    bytes: Bytes,
}

/// What the bytes of a text mean to both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// One encoding.
    Same,
    /// Two encodings.
    Convert,
    /// No encoding on one side at least.
    Opaque,
}

impl Image {
    /// Finds what both servers can do.
    pub(super) async fn agree(
        [source, target]: &mut [Session<'_>; 2],
        algorithm: Option<Algorithm>,
    ) -> Result<Self> {
        let (ours, theirs) = (source.snapshot(), target.snapshot());
        let modern = ours.version().min(theirs.version()) >= 110_000;
        let algorithm = match algorithm {
            Some(algorithm) => algorithm,
            None if modern && sample(source).await? == sample(target).await? => Algorithm::Hash,
            None => Algorithm::Md5,
        };
        let bytes = match (ours.encoding(), theirs.encoding()) {
            ("SQL_ASCII", _) | (_, "SQL_ASCII") => Bytes::Opaque,
            (a, b) if a == b => Bytes::Same,
            _ => Bytes::Convert,
        };
        Ok(Self {
            algorithm,
            same_major: ours.major() == theirs.major(),
            sha256: modern,
            bytes,
        })
    }

    /// What two servers of one recent version agree on.
    #[cfg(feature = "bench")]
    pub(super) fn modern() -> Self {
        Self {
            algorithm: Algorithm::Hash,
            same_major: true,
            sha256: true,
            bytes: Bytes::Same,
        }
    }

    /// How rows are hashed.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The text of a row of `t`.
    pub(super) fn row(&self, columns: &[Column], wide: bool) -> String {
        let fields: Vec<String> = columns
            .iter()
            .map(|column| {
                let name = format!("t.{}", quote::ident(&column.name));
                let portable = column
                    .portable
                    .as_deref()
                    .and_then(|form| form.split_once("%s"));
                match portable {
                    _ if wide && column.varlena => self.digest(column, &name),
                    Some((before, after)) if !self.same_major => format!("{before}{name}{after}"),
                    _ => name,
                }
            })
            .collect();
        let text = record(&fields);
        match self.bytes {
            Bytes::Convert => format!("encode(convert_to({text}, 'UTF8'), 'hex')"),
            Bytes::Same | Bytes::Opaque => text,
        }
    }

    /// The text of these columns of `t`, for people.
    pub(super) fn text(columns: &[String]) -> String {
        let fields: Vec<String> = columns
            .iter()
            .map(|name| format!("t.{}", quote::ident(name)))
            .collect();
        record(&fields)
    }

    /// A short text for a value that may be too long for the row's text.
    ///
    /// `concat` prints a value as COPY would, but NULL as the empty string, hence the `CASE`;
    /// `num_nulls`, because a composite value of NULLs `IS NULL` without being it.
    fn digest(&self, column: &Column, name: &str) -> String {
        let bytes = column
            .bytes
            .as_deref()
            .filter(|_| column.steady || self.same_major)
            .and_then(|form| form.split_once("%s"));
        let bytes = if let Some((before, after)) = bytes {
            format!("{before}{name}{after}")
        } else {
            let encoding = match self.bytes {
                Bytes::Convert => "'UTF8'",
                Bytes::Same | Bytes::Opaque => "getdatabaseencoding()",
            };
            format!("convert_to(concat({name}), {encoding})")
        };
        format!(
            "CASE WHEN num_nulls({name}) = 0 THEN {} END",
            self.fingerprint(&bytes)
        )
    }

    /// A printable hash of bytes.
    pub(super) fn fingerprint(&self, bytes: &str) -> String {
        if self.sha256 {
            format!("encode(sha256({bytes}), 'hex')")
        } else {
            format!("md5({bytes})")
        }
    }

    /// What [`halves`](Self::halves) are made of: the part of the hash that both share.
    pub(super) fn whole(&self, text: &str) -> String {
        match self.algorithm {
            Algorithm::Hash => text.to_owned(),
            Algorithm::Md5 => format!("md5({text})"),
        }
    }

    /// The two halves of the hash in this column, as expressions of type bigint.
    pub(super) fn halves(&self, whole: &str) -> [String; 2] {
        match self.algorithm {
            Algorithm::Hash => {
                [1, 2].map(|seed| format!("hashtextextended({whole} COLLATE \"C\", {seed})"))
            }
            Algorithm::Md5 => ["left", "right"]
                .map(|half| format!("('x' || {half}({whole}, 16))::bit(64)::bigint")),
        }
    }

    /// A text as people may see it: bytes without an encoding are escaped.
    pub(super) fn show(&self, text: &str) -> String {
        match self.bytes {
            Bytes::Opaque => {
                format!("encode(convert_to({text}, getdatabaseencoding()), 'escape')")
            }
            Bytes::Same | Bytes::Convert => text.to_owned(),
        }
    }
}

fn record(fields: &[String]) -> String {
    format!("ROW({})::pg_catalog.text", fields.join(", "))
}

/// The hash of a sample long enough to pass through the function's main loop.
async fn sample(session: &mut Session<'_>) -> Result<i64> {
    let sql = "SELECT hashtextextended('what both servers must agree on' COLLATE \"C\", 1)";
    let rows = session.read(sql).await?;
    number(one(&rows)?, 0)
}
