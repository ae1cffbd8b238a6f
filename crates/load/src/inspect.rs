//! What a target database holds before anything is done to it.

use pghaul_stage::{Error, Kind, Result};
use pghaul_wire::{Client, Conninfo};

use crate::ledger::Saved;
use crate::session::{failed, open};

/// What a target database holds.
#[derive(Debug)]
pub enum State {
    /// The server has no such database.
    Absent,
    /// Nothing but what a new database has.
    Empty,
    /// Objects of somebody's.
    Occupied(Occupied),
    /// A migration that pghaul began, with how far it is.
    Migration(Box<Saved>),
}

/// What stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupied {
    /// How many objects there are.
    pub count: u64,
    /// The first few, by kind and name.
    pub sample: Vec<String>,
}

/// Looks what is in the database that `conninfo` names.
///
/// # Errors
///
/// Those of connecting and reading catalogs; an absent database is no error.
pub async fn inspect(conninfo: &Conninfo) -> Result<State> {
    let client = match open(conninfo, None).await {
        Ok(client) => client,
        Err(error) if error.code() == Some("3D000") => return Ok(State::Absent),
        Err(error) => return Err(error),
    };
    look(&client).await
}

/// Looks what is in the database of a session.
pub(crate) async fn look(client: &Client) -> Result<State> {
    if let Some(saved) = Saved::load(client).await? {
        return Ok(State::Migration(Box::new(saved)));
    }
    let occupied = occupied(client).await?;
    Ok(if occupied.count == 0 {
        State::Empty
    } else {
        State::Occupied(occupied)
    })
}

/// The identifiers below this one are what a new cluster starts with.
const FIRST_NORMAL: u32 = 16384;

/// How many objects are named.
const SAMPLE: u32 = 5;

/// Catalogs of objects in schemas, with the column that names the schema, and a condition for
/// those that are objects in their own right and no part of a table.
const IN_SCHEMAS: [(&str, &str, &str); 13] = [
    (
        "pg_class",
        "relnamespace",
        "c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')",
    ),
    (
        "pg_type",
        "typnamespace",
        "c.typrelid = 0 AND NOT (c.typtype = 'b' AND c.typelem <> 0)",
    ),
    ("pg_proc", "pronamespace", "true"),
    ("pg_operator", "oprnamespace", "true"),
    ("pg_opclass", "opcnamespace", "true"),
    ("pg_opfamily", "opfnamespace", "true"),
    ("pg_collation", "collnamespace", "true"),
    ("pg_conversion", "connamespace", "true"),
    ("pg_ts_config", "cfgnamespace", "true"),
    ("pg_ts_dict", "dictnamespace", "true"),
    ("pg_ts_parser", "prsnamespace", "true"),
    ("pg_ts_template", "tmplnamespace", "true"),
    ("pg_statistic_ext", "stxnamespace", "true"),
];

/// Catalogs of objects that are in no schema.
const GLOBAL: [(&str, &str); 12] = [
    (
        "pg_namespace",
        "c.nspname <> 'pghaul' AND c.nspname !~ '^pg_(toast|temp)'",
    ),
    ("pg_extension", "true"),
    ("pg_publication", "true"),
    (
        "pg_subscription",
        "c.subdbid = (SELECT d.oid FROM pg_catalog.pg_database AS d
                      WHERE d.datname = pg_catalog.current_database())",
    ),
    ("pg_event_trigger", "true"),
    ("pg_language", "true"),
    ("pg_foreign_data_wrapper", "true"),
    ("pg_foreign_server", "true"),
    ("pg_cast", "true"),
    ("pg_transform", "true"),
    ("pg_am", "true"),
    ("pg_default_acl", "true"),
];

async fn occupied(client: &Client) -> Result<Occupied> {
    // Only superusers may read all of pg_subscription, but everybody these columns.
    // A large object may have been given any number.
    let objects = "SELECT 'pg_catalog.pg_largeobject'::pg_catalog.regclass AS classid, oid
                   FROM pg_catalog.pg_largeobject_metadata";
    let mut parts = vec![objects.to_owned()];
    for (catalog, schema, condition) in IN_SCHEMAS {
        parts.push(format!(
            "SELECT 'pg_catalog.{catalog}'::pg_catalog.regclass, c.oid
             FROM pg_catalog.{catalog} AS c
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.{schema}
             WHERE c.oid >= {FIRST_NORMAL} AND {condition}
               AND n.nspname <> 'pghaul' AND n.nspname !~ '^pg_(toast|temp)'"
        ));
    }
    for (catalog, condition) in GLOBAL {
        parts.push(format!(
            "SELECT 'pg_catalog.{catalog}'::pg_catalog.regclass, c.oid
             FROM pg_catalog.{catalog} AS c WHERE c.oid >= {FIRST_NORMAL} AND {condition}"
        ));
    }
    let query = format!(
        "WITH a AS ({}),
         o AS (SELECT classid, oid FROM a WHERE NOT EXISTS (
             SELECT FROM pg_catalog.pg_depend AS d
             WHERE d.classid = a.classid AND d.objid = a.oid AND d.deptype = 'e'))
         SELECT (SELECT count(*) FROM o), pg_catalog.pg_describe_object(s.classid, s.oid, 0)
         FROM (SELECT classid, oid FROM o ORDER BY classid, oid LIMIT {SAMPLE}) AS s",
        parts.join("\nUNION ALL\n")
    );
    let rows = client.query(&query, &[]).await.map_err(failed)?;
    let count: i64 = rows.first().map_or(0, |row| row.get(0));
    Ok(Occupied {
        count: u64::try_from(count)
            .map_err(|error| Error::new(Kind::Protocol, "a negative count").because(error))?,
        sample: rows.iter().filter_map(|row| row.get(1)).collect(),
    })
}
