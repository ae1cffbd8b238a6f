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
//! # When the target is not known yet
//!
//! The source's image for a [`Digest`](super::Digest) must be one that any target of its version or a
//! newer one can compute. So binary forms stand in always, and the hash is the one that the source
//! has. Text of UTF-8 and SQL_ASCII is taken as it is, and other text in UTF-8; a target of yet
//! another encoding brings its own text to the same bytes.
//!
//! Sums instead of XOR, because two equal rows must not cancel out.

use pghaul_stage::{Error, Result, Side};
use pghaul_wire::quote;
use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bytes {
    /// One encoding.
    Same,
    /// Two encodings.
    Convert,
    /// No encoding on one side at least.
    Opaque,
    /// Another encoding than UTF-8, which the source has: its bytes, as if they were text.
    Disguise,
    /// No encoding here, and this one on the source, whose text is converted.
    Interpret(String),
}

/// What a target needs to know of the source's image to make the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recipe {
    algorithm: Algorithm,
    /// The hash of a sample, if the algorithm is one that depends on the machine.
    sample: Option<i64>,
    /// The source's version.
    version: u32,
    /// The source's encoding.
    encoding: String,
}

impl Recipe {
    /// The source's `server_version_num`.
    pub(super) fn version(&self) -> u32 {
        self.version
    }
}

impl Image {
    /// Finds what both servers can do.
    pub(super) async fn agree(
        [source, target]: [&mut Session<'_>; 2],
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

    /// What any target of the source's version or a newer one can do, and the recipe for it.
    pub(super) async fn lasting(
        source: &mut Session<'_>,
        algorithm: Option<Algorithm>,
    ) -> Result<(Self, Recipe)> {
        let snapshot = source.snapshot();
        let modern = snapshot.version() >= 110_000;
        let best = if modern {
            Algorithm::Hash
        } else {
            Algorithm::Md5
        };
        let algorithm = algorithm.unwrap_or(best);
        let recipe = Recipe {
            algorithm,
            sample: match algorithm {
                Algorithm::Hash => Some(sample(source).await?),
                Algorithm::Md5 => None,
            },
            version: snapshot.version(),
            encoding: snapshot.encoding().to_owned(),
        };
        let bytes = match snapshot.encoding() {
            "SQL_ASCII" => Bytes::Opaque,
            "UTF8" => Bytes::Same,
            _ => Bytes::Convert,
        };
        Ok((Self::by(&recipe, bytes), recipe))
    }

    /// The image that was recorded, on the target.
    ///
    /// # Errors
    ///
    /// If this target cannot make it.
    pub(super) async fn recorded(recipe: &Recipe, target: &mut Session<'_>) -> Result<Self> {
        let snapshot = target.snapshot();
        let refuse = |message: String, remedy: &'static str| {
            Err(Error::input(message).at(Side::Target).remedy(remedy))
        };
        let (ours, theirs) = (recipe.version / 10_000, snapshot.major());
        if theirs < ours {
            return refuse(
                format!("the target is PostgreSQL {theirs}, and the digest of PostgreSQL {ours}"),
                "a digest can be compared with the same or a newer version",
            );
        }
        if recipe.sample.is_some() && Some(sample(target).await?) != recipe.sample {
            return refuse(
                "the target's machine hashes otherwise than the source's did".to_owned(),
                "compare them while both can be reached, or record the digest with md5",
            );
        }
        let bytes = match (recipe.encoding.as_str(), snapshot.encoding()) {
            ("SQL_ASCII", _) | ("UTF8", "SQL_ASCII") => Bytes::Opaque,
            ("UTF8", "UTF8") => Bytes::Same,
            ("UTF8", _) => Bytes::Disguise,
            (encoding, "SQL_ASCII") => Bytes::Interpret(encoding.to_owned()),
            _ => Bytes::Convert,
        };
        Ok(Self::by(recipe, bytes))
    }

    fn by(recipe: &Recipe, bytes: Bytes) -> Self {
        Self {
            algorithm: recipe.algorithm,
            same_major: false,
            sha256: recipe.version >= 110_000,
            bytes,
        }
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
                match column.portable {
                    _ if wide && column.varlena => self.digest(column, &name),
                    Some(form) if !self.same_major => form.of(&name),
                    _ => name,
                }
            })
            .collect();
        let text = record(&fields);
        match &self.bytes {
            Bytes::Same | Bytes::Opaque => text,
            // Without an encoding any bytes are text; one of several bytes a character refuses some.
            Bytes::Disguise => format!("convert_from({}, 'SQL_ASCII')", self.bytes_of(&text)),
            Bytes::Convert | Bytes::Interpret(_) => {
                format!("encode({}, 'hex')", self.bytes_of(&text))
            }
        }
    }

    /// The bytes of a text that both sides have in common.
    fn bytes_of(&self, text: &str) -> String {
        match &self.bytes {
            Bytes::Same | Bytes::Opaque => format!("convert_to({text}, getdatabaseencoding())"),
            Bytes::Convert | Bytes::Disguise => format!("convert_to({text}, 'UTF8')"),
            Bytes::Interpret(encoding) => format!(
                "convert(convert_to({text}, 'SQL_ASCII'), {}, 'UTF8')",
                quote::literal(encoding)
            ),
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
        let form = column.bytes.filter(|_| column.steady || self.same_major);
        let bytes = match form {
            Some(form) => form.of(name),
            None => self.bytes_of(&format!("concat({name})")),
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
            _ => text.to_owned(),
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
