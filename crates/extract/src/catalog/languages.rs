//! Languages that share the functions of another one.

use std::collections::BTreeMap;

use pghaul_stage::Result;
use pghaul_wire::Client;

use crate::session::{field, rows};

/// The languages of users whose handlers are members of an extension, and the statements that create
/// them. pg_dump leaves the functions out that it does not dump itself, and without them the
/// statement means an extension of the language's name.
///
/// Source: PostgreSQL's manual, CREATE LANGUAGE.
pub(super) async fn read(client: &Client) -> Result<BTreeMap<String, String>> {
    let sql = "SELECT l.lanname, \
                pg_catalog.format('CREATE OR REPLACE %sLANGUAGE %I HANDLER %s%s%s;', \
                    CASE WHEN l.lanpltrusted THEN 'TRUSTED ' ELSE '' END, l.lanname, \
                    max(f.name) FILTER (WHERE f.oid = l.lanplcallfoid), \
                    ' INLINE ' || max(f.name) FILTER (WHERE f.oid = l.laninline), \
                    ' VALIDATOR ' || max(f.name) FILTER (WHERE f.oid = l.lanvalidator)) \
           FROM pg_catalog.pg_language l \
           JOIN (SELECT p.oid, pg_catalog.format('%I.%I', n.nspname, p.proname) \
                   FROM pg_catalog.pg_proc p \
                   JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace) f (oid, name) \
             ON f.oid IN (l.lanplcallfoid, l.laninline, l.lanvalidator) \
          WHERE EXISTS (SELECT FROM pg_catalog.pg_depend d \
                         WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
                           AND d.objid = l.lanplcallfoid AND d.deptype = 'e') \
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
                             WHERE d.classid = 'pg_catalog.pg_language'::pg_catalog.regclass \
                               AND d.objid = l.oid AND d.deptype = 'e') \
          GROUP BY l.oid, l.lanname, l.lanpltrusted, l.lanplcallfoid, l.laninline, l.lanvalidator";
    rows(client, "the catalog of languages", sql)
        .await?
        .iter()
        .map(|row| Ok((field(row, 0)?, field(row, 1)?)))
        .collect()
}
