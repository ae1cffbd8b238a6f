//! Checks foreign keys of tables into which rows were loaded while their triggers rested.

use std::time::Instant;

use pghaul_stage::{Error, Event, Kind, Observer, Result, Side, Step, TableId};
use pghaul_wire::Client;

use crate::existing::Loaded;
use crate::session::failed;

/// How many broken keys an error names.
const LISTED: usize = 20;

/// Fails, naming them, if rows of a loaded table break a foreign key. Keys that are `NOT VALID` or
/// not enforced promise nothing.
pub(crate) async fn check(client: &Client, loaded: &Loaded, observer: &dyn Observer) -> Result<()> {
    let tables: Vec<u32> = loaded.all.values().copied().collect();
    let sql = keys(version(client).await?);
    let mut broken = Vec::new();
    for row in client.query(&sql, &[&tables]).await.map_err(failed)? {
        let table = TableId::new(row.get::<_, &str>(0), row.get::<_, &str>(1));
        let (name, count): (&str, &str) = (row.get(2), row.get(3));
        let (step, subject, begun) = (Step::ForeignKey, name, Instant::now());
        observer.observe(&Event::StepStarted {
            step,
            subject,
            table: Some(&table),
        });
        let rows: i64 = client
            .query_one(count, &[])
            .await
            .map_err(|error| failed(error).on(format!("foreign key {name:?} of table {table}")))?
            .get(0);
        if rows > 0 {
            broken.push(format!("{name:?} of table {table} ({rows} rows)"));
        }
        observer.observe(&Event::StepDone {
            step,
            subject,
            table: Some(&table),
            elapsed: begun.elapsed(),
        });
    }
    if broken.is_empty() {
        return Ok(());
    }
    let listed = broken.get(..LISTED).unwrap_or(&broken);
    let more = match broken.len() - listed.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Error::new(
        Kind::Permanent,
        format!("rows break foreign keys: {}{more}", listed.join(", ")),
    )
    .at(Side::Target)
    .remedy(
        "load the tables that they refer to, or correct the rows on the target, then go on with \
         --resume",
    ))
}

async fn version(client: &Client) -> Result<i32> {
    let sql = "SELECT pg_catalog.current_setting('server_version_num')::int";
    Ok(client.query_one(sql, &[]).await.map_err(failed)?.get(0))
}

/// The query for the foreign keys of the tables `$1`, each with the statement that counts the rows
/// that break it: by the key's own operators and collation, and by how it matches NULL.
fn keys(version: i32) -> String {
    // A key to a partitioned table has one more row of the catalog for each partition referred to,
    // which promises nothing by itself: those of another referred table than their topmost parent.
    let parent = if version >= 110_000 {
        "k.conparentid"
    } else {
        "0::oid"
    };
    let period = if version >= 180_000 {
        "k.conperiod"
    } else {
        "false"
    };
    format!(
        "WITH RECURSIVE key AS (
             SELECT k.oid, k.conname, k.conrelid, k.confrelid, k.conkey, k.confkey, k.conpfeqop,
                    k.confmatchtype, k.contype, k.convalidated, {parent} AS parent,
                    {period} AS period
             FROM pg_catalog.pg_constraint AS k WHERE k.contype = 'f'
         ), up (oid, top, parent) AS (
             SELECT k.oid, k.confrelid, k.parent FROM key AS k
             WHERE k.conrelid = ANY ($1::oid[]) AND k.convalidated
             UNION ALL
             SELECT up.oid, k.confrelid, k.parent FROM up JOIN key AS k ON k.oid = up.parent
         ), part AS (
             SELECT k.oid,
                    pg_catalog.string_agg(pg_catalog.format('f.%I IS NOT NULL', fa.attname),
                        CASE k.confmatchtype WHEN 'f' THEN ' OR ' ELSE ' AND ' END) AS present,
                    pg_catalog.string_agg(pg_catalog.format('x.%I%s OPERATOR(%I.%s) f.%I',
                        xa.attname,
                        CASE WHEN co.oid IS NOT NULL
                             THEN pg_catalog.format(' COLLATE %I.%I', cn.nspname, co.collname) END,
                        opn.nspname, op.oprname, fa.attname), ' AND ') AS matching,
                    (pg_catalog.array_agg(pg_catalog.format(
                        ' HAVING f.%I OPERATOR(pg_catalog.<@) pg_catalog.range_agg(x.%I)',
                        fa.attname, xa.attname) ORDER BY u.at DESC))[1] AS covering
             FROM key AS k
             CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(k.conkey),
                 pg_catalog.unnest(k.confkey), pg_catalog.unnest(k.conpfeqop)) WITH ORDINALITY AS u (f, x, op, at)
             JOIN pg_catalog.pg_attribute AS fa ON fa.attrelid = k.conrelid AND fa.attnum = u.f
             JOIN pg_catalog.pg_attribute AS xa ON xa.attrelid = k.confrelid AND xa.attnum = u.x
             JOIN pg_catalog.pg_operator AS op ON op.oid = u.op
             JOIN pg_catalog.pg_namespace AS opn ON opn.oid = op.oprnamespace
             LEFT JOIN pg_catalog.pg_collation AS co
                 ON co.oid = xa.attcollation AND xa.attcollation <> fa.attcollation
             LEFT JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace
             WHERE k.oid IN (SELECT oid FROM up)
             GROUP BY k.oid, k.confmatchtype
         )
         SELECT fn.nspname::text, fc.relname::text, k.conname::text,
                pg_catalog.format('SELECT pg_catalog.count(*) FROM ONLY %I.%I AS f
                    WHERE (%s) AND NOT EXISTS (SELECT FROM %s%I.%I AS x WHERE %s%s)',
                    fn.nspname, fc.relname, part.present,
                    CASE xc.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END, xn.nspname, xc.relname,
                    part.matching, CASE WHEN k.period THEN part.covering END)
         FROM key AS k
         JOIN up ON up.oid = k.oid AND up.parent = 0 AND up.top = k.confrelid
         JOIN part ON part.oid = k.oid
         JOIN pg_catalog.pg_class AS fc ON fc.oid = k.conrelid
         JOIN pg_catalog.pg_namespace AS fn ON fn.oid = fc.relnamespace
         JOIN pg_catalog.pg_class AS xc ON xc.oid = k.confrelid
         JOIN pg_catalog.pg_namespace AS xn ON xn.oid = xc.relnamespace
         ORDER BY 1, 2, 3"
    )
}
