//! Finds the row whose characters the target cannot hold.

use pghaul_stage::{Error, Part, Result, Side, Slice, Table, Untranslatable};
use pghaul_wire::quote::{ident, literal};
use pghaul_wire::{Client, server_error};

use crate::catalog::{Facts, Inventory};
use crate::session::{field, rows};
use crate::statement::{condition, name};

/// The code under which the search reports the row.
const FOUND: &str = "PGH02";

/// Types whose text is plain ASCII, or that have none that matters.
const PLAIN: &[&str] = &[
    "pg_catalog.bool",
    "pg_catalog.bytea",
    "pg_catalog.date",
    "pg_catalog.float4",
    "pg_catalog.float8",
    "pg_catalog.int2",
    "pg_catalog.int4",
    "pg_catalog.int8",
    "pg_catalog.numeric",
    "pg_catalog.oid",
    "pg_catalog.timestamp",
    "pg_catalog.timestamptz",
    "pg_catalog.uuid",
];

/// The error of a target that refused characters of this part, with the place where they are, if
/// the source can be searched for it.
pub(crate) async fn located(
    client: &Client,
    inventory: &Inventory,
    part: &Part,
    refusal: &Untranslatable,
    error: Error,
) -> Error {
    let (source, target) = (&inventory.catalog.database.encoding, &refusal.encoding);
    let place = search(client, inventory, part, target).await;
    let place = place.unwrap_or_else(|failure| {
        tracing::debug!(error = %failure, "the row was not found");
        None
    });
    let remedy = if source == "SQL_ASCII" {
        format!(
            "the source's encoding is SQL_ASCII, so its text is bytes of any encoding: correct them \
             there, or let pghaul create the target database, which then is SQL_ASCII too, instead \
             of one in {target}"
        )
    } else {
        format!(
            "replace the characters on the source, or let pghaul create the target database, which \
             then is in {source}, instead of one in {target}"
        )
    };
    let code = error.code().unwrap_or_default().to_owned();
    let Some(place) = place else {
        return error.remedy(remedy);
    };
    Error::new(
        error.kind(),
        format!(
            "the target's encoding {target} cannot hold the value: {}",
            error.message()
        ),
    )
    .at(error.side().unwrap_or(Side::Target))
    .on(place)
    .sqlstate(code)
    .remedy(remedy)
    .because(error)
}

/// Table, column and key of the first row that cannot be converted.
async fn search(
    client: &Client,
    inventory: &Inventory,
    part: &Part,
    target: &str,
) -> Result<Option<String>> {
    for slice in part.slices() {
        let Some((table, facts)) = inventory.table(&slice.table) else {
            continue;
        };
        let key = key(client, table).await?;
        let Some(block) = block(inventory, slice, table, facts, &key, target) else {
            continue;
        };
        // One that finds nothing leaves the transaction usable; one that finds something ends it.
        let Err(error) = client.batch_execute(&block).await else {
            continue;
        };
        return match error.as_db_error() {
            Some(found) if found.code().code() == FOUND => Ok(Some(format!(
                "table {}, column {}, row {}",
                table.id,
                ident(found.column().unwrap_or_default()),
                found.message(),
            ))),
            _ => Err(server_error(Side::Source, error)),
        };
    }
    Ok(None)
}

/// The columns of the primary key, or of another one without NULLs; none if there is none.
async fn key(client: &Client, table: &Table) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT a.attname \
           FROM (SELECT i.* FROM pg_catalog.pg_index i \
                  WHERE i.indrelid = {}::pg_catalog.oid AND i.indisunique AND i.indisvalid \
                    AND i.indpred IS NULL AND i.indexprs IS NULL \
                    AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a \
                                     WHERE a.attrelid = i.indrelid AND NOT a.attnotnull \
                                       AND a.attnum = ANY (i.indkey::pg_catalog.int2[])) \
                  ORDER BY NOT i.indisprimary, i.indnatts LIMIT 1) i \
           JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid \
            AND a.attnum = ANY (i.indkey::pg_catalog.int2[]) ORDER BY a.attnum",
        table.oid
    );
    let found = rows(client, "the key of a table", &sql).await?;
    found.iter().map(|row| field(row, 0)).collect()
}

/// A block that fails with column and key of the first row that cannot be converted; `None` if
/// no column can have such rows. Nothing but an exception tells, so each row is tried.
fn block(
    inventory: &Inventory,
    slice: &Slice,
    table: &Table,
    facts: &Facts,
    key: &[String],
    target: &str,
) -> Option<String> {
    let opaque = inventory.catalog.database.encoding == "SQL_ASCII";
    let encoding = literal(target);
    let columns = table.columns.iter().zip(&*facts.types);
    let texts: Vec<&str> = columns
        .filter(|(_, oid)| !PLAIN.contains(&inventory.types.base_name(**oid)))
        .map(|(column, _)| &*column.name)
        .collect();
    if texts.is_empty() {
        return None;
    }
    let (shown, values) = if key.is_empty() {
        ("ctid".to_owned(), "t.ctid".to_owned())
    } else {
        let values = key.iter().map(|column| format!("t.{}", ident(column)));
        (key.join(", "), values.collect::<Vec<_>>().join(", "))
    };
    let mut list = vec![
        format!(
            "pg_catalog.concat('(', {}, ')=(', pg_catalog.concat_ws(', ', {values}), ')')",
            literal(&shown)
        ) + " AS key",
    ];
    let mut attempts = String::new();
    for (column, n) in texts.iter().zip(1..) {
        list.push(format!("pg_catalog.concat(t.{}) AS c{n}", ident(column)));
        // What is bytes must be valid; what has an encoding must have an equivalent.
        let attempt = if opaque {
            format!("convert_from(pg_catalog.convert_to(r.c{n}, 'SQL_ASCII'), {encoding})")
        } else {
            format!("convert_to(r.c{n}, {encoding})")
        };
        attempts.push_str(&format!(
            "place := {}; PERFORM pg_catalog.{attempt};\n",
            literal(column)
        ));
    }
    let condition = condition(&slice.range).map(|condition| format!(" WHERE {condition}"));
    let message = if opaque {
        "pg_catalog.encode(pg_catalog.convert_to(r.key, 'SQL_ASCII'), 'escape')"
    } else {
        "r.key"
    };
    let body = format!(
        "DECLARE
            r record;
            place text;
        BEGIN
            FOR r IN SELECT {} FROM ONLY {} AS t{} LOOP
                BEGIN
                    {attempts}
                EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
                    RAISE EXCEPTION USING ERRCODE = '{FOUND}', MESSAGE = {message}, COLUMN = place;
                END;
            END LOOP;
        END",
        list.join(", "),
        name(table),
        condition.unwrap_or_default(),
    );
    Some(format!("DO {}", literal(&body)))
}
