//! Rows that users added to the tables of extensions (their configuration).
//!
//! Such a table stands already, perhaps with rows that the extension itself has put there. So rows
//! come into a temporary table, and replace those that meet the same condition, in the transaction
//! that records the part. Tables come in the order of their foreign keys, which stand already, too.

use pghaul_stage::{Error, Event, Kind, Observer, Omission, Result, Side, Slice, Table};
use pghaul_wire::{Lane, quote};

use crate::copy::qualified;

/// A table that is to be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filled {
    name: String,
    subject: String,
    temporary: String,
    columns: String,
    condition: String,
}

impl Filled {
    /// The table of a slice, which is the one with this number in its part.
    pub(crate) fn new(number: usize, table: &Table, condition: &str) -> Filled {
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| quote::ident(&column.name))
            .collect();
        Filled {
            name: qualified(&table.id),
            subject: format!("rows of extension table {}", table.id),
            temporary: format!("pg_temp.pghaul_extension_{number}"),
            columns: columns.join(", "),
            condition: condition.to_owned(),
        }
    }

    /// The statement that creates the temporary table, gone at commit.
    pub(crate) fn create(&self) -> String {
        let Filled {
            name,
            temporary,
            columns,
            ..
        } = self;
        // Without constraints, and without the expressions of generated columns.
        format!(
            "CREATE TEMPORARY TABLE {temporary} ON COMMIT DROP AS
                 SELECT {columns} FROM ONLY {name} WITH NO DATA;"
        )
    }

    /// The statement that brings the rows.
    pub(crate) fn copy(&self, slice: &Slice) -> String {
        let Filled {
            temporary, columns, ..
        } = self;
        format!(
            "COPY {temporary} ({columns}) FROM STDIN (FORMAT {})",
            slice.encoding
        )
    }
}

/// Moves what has come to where it belongs; tells of tables that this role may not change.
pub(crate) async fn fill(
    lane: &mut Lane,
    tables: &[Filled],
    observer: &dyn Observer,
) -> Result<()> {
    let mut open = Vec::new();
    for table in tables {
        let query = format!(
            "SELECT CASE WHEN pg_catalog.has_table_privilege({name}, 'INSERT')
                          AND pg_catalog.has_table_privilege({name}, 'DELETE') THEN 'open' END,
                    (SELECT pg_catalog.count(*) FROM {})::text",
            table.temporary,
            name = quote::literal(&table.name),
        );
        match lane.query(&query).await?.first().map(Vec::as_slice) {
            Some([Some(_), _]) => open.push(table),
            Some([None, Some(rows)]) if rows == "0" => {}
            Some([None, Some(rows)]) => {
                let reason =
                    format!("the loading role may not change the table; {rows} are missing");
                observer.observe(&Event::Omitted(&Omission::new(&*table.subject, reason)));
            }
            _ => return Err(Error::new(Kind::Protocol, "no answer about a table").at(Side::Target)),
        }
    }
    for table in open.iter().rev() {
        let Filled {
            name, condition, ..
        } = table;
        lane.execute(&format!("DELETE FROM ONLY {name} WHERE {condition}"))
            .await?;
    }
    for Filled {
        name,
        columns,
        temporary,
        ..
    } in open
    {
        let insert = format!(
            "INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {temporary}"
        );
        lane.execute(&insert).await?;
    }
    Ok(())
}
