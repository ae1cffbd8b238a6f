//! Large objects: how many, how big, and whether their pages can be read directly.

use pghaul_stage::{LargeObjectRights, Result};
use pghaul_wire::{Chosen, Client};

use crate::session::{field, row, rows, size};

/// What is known of all large objects together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LargeObjects {
    /// How many there are.
    pub(crate) count: u64,
    /// Bytes of the table that holds their pages.
    pub(crate) bytes: u64,
    /// Whether that table can be read; otherwise each object has to be opened.
    pub(crate) readable: bool,
}

/// Counts them; those that are not selected do not exist.
pub(crate) async fn read(client: &Client, chosen: &Chosen) -> Result<LargeObjects> {
    let answer = row(
        client,
        "the catalog of large objects",
        "SELECT count(*), pg_catalog.pg_relation_size('pg_catalog.pg_largeobject'), \
                pg_catalog.has_table_privilege('pg_catalog.pg_largeobject', 'SELECT') \
           FROM pg_catalog.pg_largeobject_metadata",
    )
    .await?;
    let count = if chosen.has_large_objects() {
        size(&answer, 0)?
    } else {
        0
    };
    Ok(LargeObjects {
        count,
        bytes: size(&answer, 1)?,
        readable: field(&answer, 2)?,
    })
}

/// The different owners and privileges of those that are selected.
pub(super) async fn rights(client: &Client, chosen: &Chosen) -> Result<Vec<LargeObjectRights>> {
    if !chosen.has_large_objects() {
        return Ok(Vec::new());
    }
    let sql = "SELECT DISTINCT pg_catalog.pg_get_userbyid(lomowner)::pg_catalog.text, \
                      lomacl::pg_catalog.text[] \
                 FROM pg_catalog.pg_largeobject_metadata ORDER BY 1, 2";
    rows(client, "the rights on large objects", sql)
        .await?
        .iter()
        .map(|row| {
            Ok(LargeObjectRights {
                owner: field(row, 0)?,
                acl: field(row, 1)?,
            })
        })
        .collect()
}

/// How many identifiers one statement asks for.
const ASKED: usize = 10_000;

/// Those of these objects that exist.
pub(crate) async fn among(client: &Client, oids: &[u32]) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for chunk in oids.chunks(ASKED) {
        let list: Vec<String> = chunk.iter().map(u32::to_string).collect();
        let sql = format!(
            "SELECT oid FROM pg_catalog.pg_largeobject_metadata WHERE oid IN ({}) ORDER BY oid",
            list.join(", ")
        );
        for row in &crate::session::rows(client, "the large objects", &sql).await? {
            found.push(field(row, 0)?);
        }
    }
    Ok(found)
}

/// Identifiers that cut all large objects into `parts` runs of about equal count.
pub(crate) async fn bounds(client: &Client, parts: u32) -> Result<Vec<u32>> {
    let sql = format!(
        "SELECT min(oid::int8) FROM \
           (SELECT oid, pg_catalog.ntile({parts}) OVER (ORDER BY oid) AS run \
              FROM pg_catalog.pg_largeobject_metadata) o \
          GROUP BY run ORDER BY 1 OFFSET 1"
    );
    crate::session::rows(client, "the ranges of large objects", &sql)
        .await?
        .iter()
        .map(|row| Ok(u32::try_from(field::<i64>(row, 0)?).unwrap_or(u32::MAX)))
        .collect()
}
