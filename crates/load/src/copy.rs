//! The statements that bring a part's rows in.

use pghaul_stage::{
    Encoding, Error, Kind, Part, Range, Result, Shape, Side, Slice, Table, TableId, Work,
};
use pghaul_wire::quote;

use crate::config::Freeze;
use crate::extension_table::Filled;
use crate::large_object;
use crate::large_row::{self, Join};

/// A binary COPY stream without rows: signature, flags, no header extension, trailer.
///
/// Source: PostgreSQL's manual, COPY, Binary Format.
pub(crate) const EMPTY: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\xff\xff";

/// What a part asks of the server, besides its record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// Statements before the rows, each ended by a semicolon.
    pub(crate) before: String,
    /// The COPY statements, one for each slice, in one message.
    pub(crate) copy: String,
    /// The encoding of each COPY's stream.
    pub(crate) streams: Vec<Encoding>,
    /// The numbers of the streams in which no row ends, because more columns of the rows follow.
    pub(crate) unfinished: Vec<usize>,
    /// Statements after the rows.
    pub(crate) joins: Vec<Join>,
    /// Extensions' tables to fill after that.
    pub(crate) filled: Vec<Filled>,
}

/// A table's name in SQL.
pub(crate) fn qualified(table: &TableId) -> String {
    format!(
        "{}.{}",
        quote::ident(&table.schema),
        quote::ident(&table.name)
    )
}

/// The script of a part whose rows are in the character set `charset`; `find` looks a table up.
///
/// # Errors
///
/// Kind permanent for a table that the catalog does not have.
pub(crate) fn script<'a>(
    part: &Part,
    charset: &str,
    freeze: Freeze,
    find: impl Fn(&TableId) -> Option<&'a Table>,
) -> Result<Script> {
    let mut before = String::new();
    let mut unfinished = Vec::new();
    let mut joins = Vec::new();
    let mut filled = Vec::new();
    let (mut copies, streams) = match &part.work {
        Work::Rows(slices) => {
            let mut copies = Vec::with_capacity(slices.len());
            for (number, slice) in slices.iter().enumerate() {
                let table = find(&slice.table).ok_or_else(|| unknown(&slice.table))?;
                if let Shape::Columns(some) = &slice.shape {
                    before.push_str(&large_row::create(number, table, &some.names));
                    copies.push(large_row::copy(number, slice.encoding));
                    unfinished.extend((!some.last).then_some(number));
                    continue;
                }
                if let Range::Condition(condition) = &slice.range {
                    let table = Filled::new(number, table, condition);
                    before.push_str(&table.create());
                    copies.push(table.copy(slice));
                    filled.push(table);
                    continue;
                }
                let whole = slices.len() == 1 && slice.range == Range::All;
                let frozen = whole && freeze.applies(table.heap, table.toast);
                if frozen {
                    before.push_str(&format!("TRUNCATE ONLY {};", qualified(&table.id)));
                }
                copies.push(statement(slice, table, frozen));
            }
            joins = large_row::joins(slices, |slice| find(&slice.table))?;
            (copies, slices.iter().map(|slice| slice.encoding).collect())
        }
        Work::LargeObjects { .. } => {
            before.push_str(large_object::TABLES);
            (
                large_object::COPIES.map(String::from).to_vec(),
                vec![Encoding::Binary; 2],
            )
        }
        _ => {
            return Err(Error::new(
                Kind::Permanent,
                "a kind of work that this target does not know",
            )
            .at(Side::Target));
        }
    };
    // In the same message as COPY, which the server has read as a whole by then, names included.
    if !charset.is_empty() && charset != "UTF8" {
        copies.insert(0, client_encoding(charset));
        copies.push("SET LOCAL client_encoding = 'UTF8'".to_owned());
    }
    Ok(Script {
        before,
        copy: copies.join("; "),
        streams,
        unfinished,
        joins,
        filled,
    })
}

/// The statement that says which encoding the rows are in.
///
/// Bytes without an encoding are declared to be in the database's own, because COPY in text does
/// not verify what is declared to be SQL_ASCII, and stores invalid text.
fn client_encoding(charset: &str) -> String {
    match charset {
        "SQL_ASCII" => "SELECT pg_catalog.set_config('client_encoding', \
                        pg_catalog.current_setting('server_encoding'), true)"
            .to_owned(),
        charset => format!("SET LOCAL client_encoding = {}", quote::literal(charset)),
    }
}

fn unknown(table: &TableId) -> Error {
    Error::new(
        Kind::Permanent,
        "the table is not in the migration's catalog",
    )
    .at(Side::Target)
    .on(format!("table {table}"))
}

fn statement(slice: &Slice, table: &Table, frozen: bool) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| quote::ident(&column.name))
        .collect();
    // Without a list COPY takes every column that is not generated: here, none.
    let list = if columns.is_empty() {
        String::new()
    } else {
        format!(" ({})", columns.join(", "))
    };
    let freeze = if frozen { ", FREEZE" } else { "" };
    format!(
        "COPY {}{list} FROM STDIN (FORMAT {}{freeze})",
        qualified(&table.id),
        slice.encoding
    )
}

#[cfg(test)]
mod tests {
    use pghaul_stage::{Column, PartId};

    use super::*;

    fn table(name: &str, columns: &[&str], heap: u64) -> Table {
        let columns = columns
            .iter()
            .map(|name| Column {
                name: (*name).into(),
                type_name: "text".into(),
            })
            .collect();
        let mut table: Table = serde_json::from_value(serde_json::json!({
            "id": {"schema": "s", "name": name}, "oid": 1, "columns": [], "rows": 0, "heap": heap,
            "toast": 0, "child": false, "filenode": 0
        }))
        .unwrap();
        table.columns = columns;
        table
    }

    fn part(slices: &[(&str, Range, Encoding)]) -> Part {
        let slices = slices
            .iter()
            .map(|(name, range, encoding)| Slice {
                table: TableId::new("s", *name),
                range: range.clone(),
                encoding: *encoding,
                shape: Shape::Whole,
            })
            .collect();
        Part {
            id: PartId(1),
            work: Work::Rows(slices),
            rows: 0,
            bytes: 0,
        }
    }

    #[test]
    fn a_whole_large_table_is_frozen_and_a_slice_is_not() {
        let table = table("a\"b", &["x", "Y"], 2 << 20);
        let find = |_: &TableId| Some(&table);
        let whole = part(&[("a\"b", Range::All, Encoding::Binary)]);
        let script = script(&whole, "UTF8", Freeze::Auto, find).unwrap();
        assert_eq!(script.before, r#"TRUNCATE ONLY "s"."a""b";"#);
        assert_eq!(
            script.copy,
            r#"COPY "s"."a""b" ("x", "Y") FROM STDIN (FORMAT binary, FREEZE)"#
        );
        let range = Range::Blocks {
            from: None,
            to: Some(5),
        };
        let slice = part(&[("a\"b", range, Encoding::Text)]);
        let script = super::script(&slice, "UTF8", Freeze::Auto, find).unwrap();
        assert_eq!(script.before, "");
        assert_eq!(
            script.copy,
            r#"COPY "s"."a""b" ("x", "Y") FROM STDIN (FORMAT text)"#
        );
    }

    #[test]
    fn many_tables_are_one_message_in_the_character_set_of_the_source() {
        let table = table("t", &[], 2 << 20);
        let all = ("t", Range::All, Encoding::Binary);
        let script = script(&part(&[all.clone(), all]), "LATIN1", Freeze::Auto, |_| {
            Some(&table)
        })
        .unwrap();
        assert_eq!(
            script.copy,
            "SET LOCAL client_encoding = 'LATIN1'; \
             COPY \"s\".\"t\" FROM STDIN (FORMAT binary); COPY \"s\".\"t\" FROM STDIN (FORMAT binary); \
             SET LOCAL client_encoding = 'UTF8'"
        );
        assert_eq!(script.before, "");
        assert_eq!(script.streams.len(), 2);
    }

    #[test]
    fn a_table_that_is_not_in_the_catalog_is_refused() {
        let part = part(&[("t", Range::All, Encoding::Binary)]);
        assert!(script(&part, "UTF8", Freeze::Auto, |_| None).is_err());
    }
}
