//! Plans the parts: decides for each table where to cut and in which encoding to read.

use std::collections::HashMap;

use pghaul_stage::{Error, Kind, Part, PartId, Range, Result, Side, Table, Work};
use pghaul_wire::quote::ident;
use pghaul_wire::{Client, server_error};

use crate::Config;
use crate::catalog::{Facts, Inventory, large_objects};
use crate::extension_table;
use crate::portable::Versions;
use crate::session::{field, row};
use crate::slice::{Cut, by_blocks, by_keys, by_objects, parts, parts_for};
use crate::statement::name;

/// The first version that reads a range of blocks without looking at the others.
const RANGE_SCANS: u32 = 140_000;

/// Blocks read to learn how keys are distributed: 24 MB, against a table of 64 MB at least.
const SAMPLE_BLOCKS: u64 = 3000;

/// Fewer large objects than this are not worth a part of their own.
const OBJECTS_PER_PART: u64 = 1000;

/// Plans all parts in a session that sees the snapshot.
pub(crate) async fn plan(
    client: &Client,
    inventory: &Inventory,
    config: &Config,
) -> Result<Vec<Part>> {
    let tables = || {
        let tables = inventory.catalog.tables.iter().zip(&inventory.facts);
        tables.filter(|(_, facts)| facts.selected)
    };
    let version = inventory.catalog.server.version;
    let objects_bytes = if inventory.large_objects.count > 0 {
        inventory.large_objects.bytes
    } else {
        0
    };
    let total = tables()
        .map(|(table, _)| bytes(table))
        .fold(objects_bytes, u64::saturating_add);
    let threshold = config.threshold(total);
    let versions = Versions {
        source: version,
        target: config.target_version,
    };

    let wanted = |table: &Table| config.parts(bytes(table), threshold);
    let keys = if version < RANGE_SCANS {
        let large = tables().filter(|(table, facts)| facts.heap && wanted(table) > 1);
        keys(client, version, large.map(|(table, _)| table.oid).collect()).await?
    } else {
        HashMap::new()
    };

    let mut cuts = Vec::with_capacity(inventory.catalog.tables.len());
    for (table, facts) in tables().filter(|(_, facts)| facts.configuration.is_none()) {
        let encoding = inventory
            .types
            .encoding(&facts.types, config.copy_format, versions)
            .map_err(|(index, why)| impossible(table, index, &why))?;
        cuts.push(Cut {
            table: table.id.clone(),
            encoding,
            ranges: ranges(client, table, facts, wanted(table), inventory, &keys).await?,
            rows: table.rows,
            bytes: bytes(table),
            unlogged: facts.unlogged,
        });
    }
    let objects = (
        objects(client, inventory, threshold, config).await?,
        inventory.large_objects.count,
        objects_bytes,
    );
    let mut parts = parts(cuts, objects, threshold, config);
    let last = PartId(u32::try_from(parts.len()).unwrap_or(u32::MAX));
    parts.extend(extension_table::part(client, inventory, config, versions, last).await?);
    Ok(parts)
}

/// Bytes of a table; what lies in TOAST has to be read too.
fn bytes(table: &Table) -> u64 {
    table.heap.saturating_add(table.toast)
}

/// Where to cut one table.
async fn ranges(
    client: &Client,
    table: &Table,
    facts: &Facts,
    parts: u32,
    inventory: &Inventory,
    keys: &HashMap<u32, String>,
) -> Result<Vec<Range>> {
    if parts < 2 || !facts.heap {
        return Ok(vec![Range::All]);
    }
    let blocks = table.heap / inventory.block_size.max(1);
    if inventory.catalog.server.version >= RANGE_SCANS {
        return Ok(by_blocks(u32::try_from(blocks).unwrap_or(u32::MAX), parts));
    }
    match keys.get(&table.oid) {
        Some(key) => Ok(by_keys(
            key,
            sample(client, table, key, blocks, parts).await?,
        )),
        None => Ok(vec![Range::All]),
    }
}

/// For each of these tables that has one, an integer column with a unique index; the primary
/// key by preference.
async fn keys(client: &Client, version: u32, tables: Vec<u32>) -> Result<HashMap<u32, String>> {
    let key_columns = if version >= 110_000 {
        "i.indnkeyatts"
    } else {
        "i.indnatts"
    };
    let sql = format!(
        "SELECT DISTINCT ON (i.indrelid) i.indrelid, a.attname FROM pg_catalog.pg_index i \
           JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] \
          WHERE i.indrelid = ANY ($1) AND i.indisunique AND i.indisvalid \
            AND i.indpred IS NULL AND {key_columns} = 1 AND a.atttypid IN (20, 21, 23) \
          ORDER BY i.indrelid, i.indisprimary DESC, a.attnotnull DESC, a.attnum"
    );
    client
        .query(&sql, &[&tables])
        .await
        .map_err(|error| server_error(Side::Source, error).on("the keys of large tables"))?
        .iter()
        .map(|row| Ok((field(row, 0)?, field(row, 1)?)))
        .collect()
}

/// Keys that cut a table into `parts` of about as many rows, from a sample of its blocks.
///
/// Neither the range of keys nor old statistics say where rows are: one outlier, or a table
/// that has grown since, would put everything into one part.
async fn sample(
    client: &Client,
    table: &Table,
    key: &str,
    blocks: u64,
    parts: u32,
) -> Result<Vec<i64>> {
    let key = ident(key);
    let percent = (SAMPLE_BLOCKS as f64 * 100.0 / blocks.max(1) as f64).min(100.0);
    let fractions: Vec<String> = (1..parts)
        .map(|part| (f64::from(part) / f64::from(parts)).to_string())
        .collect();
    let sql = format!(
        "SELECT pg_catalog.percentile_disc('{{{}}}'::pg_catalog.float8[]) \
                WITHIN GROUP (ORDER BY {key}::pg_catalog.int8) \
           FROM ONLY {} TABLESAMPLE SYSTEM ({percent}) WHERE {key} IS NOT NULL",
        fractions.join(","),
        name(table),
    );
    let answer = row(client, "the distribution of keys", &sql).await?;
    let bounds: Option<Vec<Option<i64>>> = field(&answer, 0)?;
    Ok(bounds.unwrap_or_default().into_iter().flatten().collect())
}

/// Where to cut the large objects.
async fn objects(
    client: &Client,
    inventory: &Inventory,
    threshold: Option<u64>,
    config: &Config,
) -> Result<Vec<Work>> {
    let known = inventory.large_objects;
    if known.count == 0 {
        return Ok(Vec::new());
    }
    // Each object costs statements on the target, so lanes share them even if they are small.
    let lanes = (known.count / OBJECTS_PER_PART).min(u64::from(config.jobs) * 4);
    let parts = parts_for(known.bytes, threshold, config.max_parts)
        .max(u32::try_from(lanes).unwrap_or(1))
        .min(u32::try_from(known.count).unwrap_or(u32::MAX));
    let bounds = if parts > 1 {
        large_objects::bounds(client, parts).await?
    } else {
        Vec::new()
    };
    Ok(by_objects(bounds))
}

pub(crate) fn impossible(table: &Table, index: usize, why: &str) -> Error {
    let column = table.columns.get(index).map_or("", |column| &*column.name);
    Error::new(
        Kind::Input,
        format!("column {column:?} cannot be copied in binary: {why}"),
    )
    .at(Side::Source)
    .on(format!("table {}", table.id))
    .remedy("let pghaul choose the format, or ask for text: --copy-format auto or text")
}
