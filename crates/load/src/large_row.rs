//! Rows too large for COPY, which arrive a few columns at a time.
//!
//! Each group of columns goes to a temporary table, with an identifier of the row in front; one
//! statement joins them into the rows of the table, in the transaction that records the part. The
//! join carries references to the large values, so the server reads each of them but once.

use std::collections::BTreeSet;

use pghaul_stage::{Error, Kind, Result, Shape, Side, Slice, Table};
use pghaul_wire::{Lane, quote};

use crate::copy::qualified;

/// The statement that makes rows of columns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Join {
    /// The statement.
    sql: String,
    /// The slice that brings the rows' last columns.
    last: usize,
}

/// The temporary table of the slice with this number.
fn stash(slice: usize) -> String {
    format!("pg_temp.pghaul_columns_{slice}")
}

/// The statements that create the temporary table of a slice with these columns: of the same
/// types, and stored in the same way, so that no value has to be compressed twice.
pub(crate) fn create(slice: usize, table: &Table, names: &[String]) -> String {
    let stash = stash(slice);
    let fields: Vec<String> = (1..=names.len()).map(|n| format!("c{n}")).collect();
    let columns: Vec<String> = names.iter().map(|name| quote::ident(name)).collect();
    let literals: Vec<String> = names.iter().map(|name| quote::literal(name)).collect();
    let name = qualified(&table.id);
    let storage = format!(
        "DECLARE
            s text;
        BEGIN
            FOR s IN
                SELECT pg_catalog.format('ALTER TABLE {stash} ALTER c%s SET STORAGE %s', o.n,
                           CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
                               WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END)
                       || coalesce(', ALTER c' || o.n || ' SET COMPRESSION '
                           || CASE pg_catalog.to_jsonb(a)->>'attcompression'
                               WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END, '')
                FROM pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[]) WITH ORDINALITY AS o (name, n)
                JOIN pg_catalog.pg_attribute AS a ON a.attname = o.name
                WHERE a.attrelid = {}::pg_catalog.regclass
            LOOP
                EXECUTE s;
            END LOOP;
        END",
        literals.join(", "),
        quote::literal(&name),
    );
    format!(
        "CREATE TEMPORARY TABLE {stash} (place, {}) ON COMMIT DROP AS
             SELECT NULL::pg_catalog.tid, {} FROM ONLY {name} WITH NO DATA;
         DO {};",
        fields.join(", "),
        columns.join(", "),
        quote::literal(&storage),
    )
}

/// The COPY into the temporary table of a slice.
pub(crate) fn copy(slice: usize, encoding: pghaul_stage::Encoding) -> String {
    format!("COPY {} FROM STDIN (FORMAT {encoding})", stash(slice))
}

/// The statements that make rows of what the temporary tables hold.
///
/// # Errors
///
/// Kind protocol if some of a table's columns have no slice, or more than one.
pub(crate) fn joins<'a>(
    slices: &[Slice],
    find: impl Fn(&Slice) -> Option<&'a Table>,
) -> Result<Vec<Join>> {
    let mut joins = Vec::new();
    let mut open: Vec<(usize, &[String])> = Vec::new();
    for (number, slice) in slices.iter().enumerate() {
        let Shape::Columns(some) = &slice.shape else {
            continue;
        };
        open.push((number, &some.names));
        if some.last {
            let table = find(slice).ok_or_else(|| broken(slice))?;
            let groups = std::mem::take(&mut open);
            let given: Vec<&String> = groups.iter().flat_map(|(_, names)| *names).collect();
            let all: BTreeSet<&str> = table.columns.iter().map(|one| &*one.name).collect();
            if given.len() != all.len() || given.iter().any(|name| !all.contains(name.as_str())) {
                return Err(broken(slice));
            }
            joins.push(join(table, &groups, number));
        }
    }
    match (open.first(), slices) {
        (Some((number, _)), slices) => Err(slices.get(*number).map_or_else(unfinished, broken)),
        (None, _) => Ok(joins),
    }
}

fn join(table: &Table, groups: &[(usize, &[String])], last: usize) -> Join {
    let (mut columns, mut values, mut from) = (Vec::new(), Vec::new(), String::new());
    for (slice, names) in groups {
        for (name, n) in names.iter().zip(1..) {
            columns.push(quote::ident(name));
            values.push(format!("s{slice}.c{n}"));
        }
        let stash = stash(*slice);
        from = if from.is_empty() {
            format!("{stash} AS s{slice}")
        } else {
            format!("{from} JOIN {stash} AS s{slice} USING (place)")
        };
    }
    Join {
        // As COPY would, which knows nothing of identity columns.
        sql: format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {from}",
            qualified(&table.id),
            columns.join(", "),
            values.join(", "),
        ),
        last,
    }
}

/// Makes the rows; `rows` tells how many each slice brought.
///
/// # Errors
///
/// Kind mismatch if columns of a row did not find one another.
pub(crate) async fn insert(lane: &mut Lane, joins: &[Join], rows: &[u64]) -> Result<()> {
    for Join { sql, last } in joins {
        let brought = rows.get(*last).copied().unwrap_or_default();
        let tags = lane.execute(sql).await?;
        if tags != [format!("INSERT 0 {brought}")] {
            return Err(Error::new(
                Kind::Mismatch,
                format!("columns of {brought} large rows did not become as many rows"),
            )
            .at(Side::Target));
        }
    }
    Ok(())
}

fn broken(slice: &Slice) -> Error {
    unfinished().on(format!("table {}", slice.table))
}

fn unfinished() -> Error {
    Error::new(
        Kind::Protocol,
        "the columns of large rows are not those of the table",
    )
    .at(Side::Link)
}
