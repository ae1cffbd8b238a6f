//! Rows too large for COPY: found once a COPY has failed for their size, and then read a few
//! columns at a time.
//!
//! A server forms a whole row of COPY in one buffer of at most a gigabyte; in text a value takes up
//! to several times its size. Each column by itself, in binary where its type allows it, has the
//! gigabyte for itself, which is more than any value of text or bytes can take.

use pghaul_stage::{
    Encoding, Error, Event, Observer, Part, Result, Severity, Shape, Slice, SomeColumns, Table,
    Work,
};
use pghaul_wire::Client;
use pghaul_wire::quote::ident;

use crate::catalog::{Facts, Inventory};
use crate::portable::{Types, Versions};
use crate::session::{field, row, size};
use crate::statement::{condition, name};
use crate::{Config, CopyFormat};

/// How much larger a value may be than the bytes it is stored in, be it by decompression or by
/// its form in COPY. Needed only where the stored size is all that the server tells for free.
const EXPANSION: u32 = 16;

/// Whether a statement failed because something was too large for the server's memory, or for
/// its limit of a gigabyte.
pub(crate) fn is_too_large(error: &Error) -> bool {
    match error.code() {
        Some("53200" | "54000") => true,
        // Not translated into the server's language, as internal errors are not.
        Some("XX000") => error
            .message()
            .starts_with("invalid memory alloc request size"),
        _ => false,
    }
}

/// Why rows are to travel by column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// They are too large for COPY, if they are large.
    Size,
    /// Columns of type `"char"` hold bytes beyond ASCII, which a server before version 16 writes
    /// into COPY's text as they are, in no encoding. In binary they are what they are.
    Bytes,
}

impl Why {
    /// From which weight on rows of this table travel by column; `None` if none does.
    fn limit(self, slice: &Slice, facts: &Facts, types: &Types, config: &Config) -> Option<u64> {
        match self {
            Why::Size => Some(config.large_row),
            Why::Bytes => {
                let is_char = |oid: &u32| types.is_made_of(*oid, "pg_catalog.char");
                let text = slice.encoding == Encoding::Text;
                (text && facts.types.iter().any(is_char)).then_some(0)
            }
        }
    }

    fn told(self, rows: u64) -> String {
        match self {
            Why::Size => format!(
                "COPY failed for the size of a row; {rows} large rows are copied a few columns at a time"
            ),
            Why::Bytes => format!(
                "text cannot carry bytes beyond ASCII in columns of type \"char\"; {rows} rows are \
                 copied a few columns at a time, in binary"
            ),
        }
    }
}

/// The part in a form in which such rows travel by column; `None` if it has none, or has that
/// form already.
pub(crate) async fn apart(
    client: &Client,
    inventory: &Inventory,
    part: &Part,
    why: Why,
    config: &Config,
    observer: &dyn Observer,
) -> Result<Option<Part>> {
    let versions = Versions {
        source: inventory.catalog.server.version,
        target: config.target_version,
    };
    // Large objects are no rows: a form without any would lose them.
    if !matches!(part.work, Work::Rows(_)) {
        return Ok(None);
    }
    let mut slices = Vec::new();
    for slice in part.slices() {
        let Some((table, facts)) = inventory.table(&slice.table) else {
            return Ok(None);
        };
        if slice.shape != Shape::Whole {
            return Ok(None);
        }
        let Some(limit) = why.limit(slice, facts, &inventory.types, config) else {
            slices.push(slice.clone());
            continue;
        };
        let weights = Weights::new(table, facts, &inventory.types);
        let (rows, heaviest) = weights.of_large_rows(client, table, slice, limit).await?;
        if rows == 0 {
            slices.push(slice.clone());
            continue;
        }
        observer.observe(&Event::Notice {
            severity: Severity::Info,
            message: &format!("table {}{}: {}", slice.table, slice.range, why.told(rows)),
        });
        let encodings = facts.types.iter().map(|oid| {
            let encoding = inventory
                .types
                .encoding(&[*oid], CopyFormat::Auto, versions);
            encoding.unwrap_or(Encoding::Text)
        });
        let columns = table.columns.iter().map(|column| &*column.name);
        let groups = groups(columns.zip(encodings).zip(heaviest), config.large_row);
        slices.extend(split(slice, groups, limit));
    }
    let form = Part {
        work: Work::Rows(slices.into()),
        ..part.clone()
    };
    Ok((form.work != part.work).then_some(form))
}

/// How to weigh rows of a table.
pub(crate) struct Weights(Vec<String>);

impl Weights {
    /// One expression per column: bytes of its value, without reading what lies in TOAST. The
    /// search path is empty, so that short names are the server's own.
    pub(crate) fn new(table: &Table, facts: &Facts, types: &Types) -> Self {
        let columns = table.columns.iter().zip(&*facts.types);
        Self(
            columns
                .map(|(column, oid)| {
                    let value = ident(&column.name);
                    let bytes = match types.base_name(*oid) {
                        "pg_catalog.text" | "pg_catalog.varchar" | "pg_catalog.json"
                        | "pg_catalog.xml" => {
                            format!("octet_length({value}::text)")
                        }
                        "pg_catalog.bpchar" => {
                            format!("octet_length({value}::bpchar)")
                        }
                        "pg_catalog.bytea" => {
                            format!("octet_length({value}::bytea)")
                        }
                        _ => format!("{EXPANSION}::int8 * pg_column_size({value})"),
                    };
                    format!("coalesce({bytes}, 0)::int8")
                })
                .collect(),
        )
    }

    /// The condition for rows that weigh `limit` bytes or more.
    pub(crate) fn large(&self, limit: u64) -> String {
        format!("({}) >= {limit}", self.0.join(" + "))
    }

    /// How many rows of a slice weigh `limit` or more, and the heaviest value of each column in
    /// them.
    async fn of_large_rows(
        &self,
        client: &Client,
        table: &Table,
        slice: &Slice,
        limit: u64,
    ) -> Result<(u64, Vec<u64>)> {
        if self.0.is_empty() {
            return Ok((0, Vec::new()));
        }
        let heaviest: Vec<String> = self.0.iter().map(|one| format!("max({one})")).collect();
        let mut conditions: Vec<String> = condition(&slice.range).into_iter().collect();
        conditions.push(self.large(limit));
        let sql = format!(
            "SELECT count(*), ARRAY[{}] FROM ONLY {} WHERE {}",
            heaviest.join(", "),
            name(table),
            conditions.join(" AND "),
        );
        let answer = row(client, "the sizes of rows", &sql).await?;
        let heaviest: Vec<Option<i64>> = field(&answer, 1)?;
        let heaviest = heaviest
            .into_iter()
            .map(|bytes| u64::try_from(bytes.unwrap_or(0)).unwrap_or(0));
        Ok((size(&answer, 0)?, heaviest.collect()))
    }
}

/// Columns that travel together.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    encoding: Encoding,
    columns: Vec<String>,
    bytes: u64,
}

/// Puts columns of one encoding together as long as even the heaviest values of all of them are
/// small together.
fn groups<'a>(columns: impl Iterator<Item = ((&'a str, Encoding), u64)>, room: u64) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for ((column, encoding), bytes) in columns {
        let fitting = groups
            .iter_mut()
            .find(|group| group.encoding == encoding && group.bytes.saturating_add(bytes) <= room);
        match fitting {
            Some(group) => {
                group.columns.push(column.to_owned());
                group.bytes += bytes;
            }
            None => groups.push(Group {
                encoding,
                columns: vec![column.to_owned()],
                bytes,
            }),
        }
    }
    groups
}

/// The slices that together are one.
fn split(slice: &Slice, groups: Vec<Group>, limit: u64) -> Vec<Slice> {
    let mut slices = vec![Slice {
        shape: Shape::Small { limit },
        ..slice.clone()
    }];
    let count = groups.len();
    slices.extend(groups.into_iter().zip(1..).map(|(group, number)| Slice {
        encoding: group.encoding,
        shape: Shape::Columns(Box::new(SomeColumns {
            limit,
            names: group.columns,
            last: number == count,
        })),
        ..slice.clone()
    }));
    slices
}

#[cfg(test)]
mod tests {
    use pghaul_stage::{Kind, Range, TableId};

    use super::*;

    #[test]
    fn only_errors_of_size_count() {
        let error = |code: &'static str, message: &'static str| {
            is_too_large(&Error::new(Kind::Permanent, message).sqlstate(code))
        };
        assert!(error("54000", "out of memory"));
        assert!(error("53200", "out of memory"));
        assert!(error(
            "XX000",
            "invalid memory alloc request size 1200000003"
        ));
        assert!(!error("XX000", "cache lookup failed for type 7"));
        assert!(!error("53100", "could not extend file"));
    }

    #[test]
    fn columns_travel_together_as_long_as_they_are_small() {
        let (binary, text) = (Encoding::Binary, Encoding::Text);
        let columns = [
            (("id", binary), 8),
            (("wide", binary), 700),
            (("name", text), 5),
            (("note", binary), 92),
            (("more", binary), 1),
        ];
        let groups = groups(columns.into_iter(), 100);
        let names: Vec<_> = groups.iter().map(|group| group.columns.join(" ")).collect();
        assert_eq!(names, ["id note", "wide", "name", "more"]);

        let whole = Slice {
            table: TableId::new("s", "t"),
            range: Range::All,
            encoding: text,
            shape: Shape::Whole,
        };
        let slices = split(&whole, groups, 100);
        assert_eq!(slices[0].shape, Shape::Small { limit: 100 });
        let last = |slice: &Slice| matches!(&slice.shape, Shape::Columns(some) if some.last);
        let lasts: Vec<bool> = slices.iter().map(last).collect();
        assert_eq!(lasts, [false, false, false, false, true]);
        assert_eq!(slices[2].encoding, binary);
    }
}
