//! Refreshes materialized views that are there, after rows alone were loaded.

use pghaul_stage::{Catalog, Result, Step, TableId};
use pghaul_wire::Client;

use crate::analyze::{self, Scope};
use crate::copy::qualified;
use crate::entry::{EVALUATED, Unit};
use crate::session::failed;

/// The views `$1`, `$2`, each behind those that it reads, itself or through other views. Views can
/// be made to read each other in a circle, which no query survives: the depth is bounded.
const ORDER: &str = "WITH RECURSIVE wanted (oid) AS (
        SELECT c.oid FROM ROWS FROM (
            pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS w (schema, name)
        JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema
        JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.name
        WHERE c.relkind = 'm'
    ), edge (view, read) AS (
        SELECT DISTINCT w.ev_class, d.refobjid FROM pg_catalog.pg_rewrite AS w
        JOIN pg_catalog.pg_depend AS d
            ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
           AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
           AND d.refobjid <> w.ev_class
        JOIN pg_catalog.pg_class AS c ON c.oid = d.refobjid AND c.relkind IN ('v', 'm')
    ), reached (oid, depth) AS (
        SELECT oid, 0 FROM wanted
        UNION
        SELECT e.view, r.depth + 1 FROM reached AS r JOIN edge AS e ON e.read = r.oid
        WHERE r.depth < 1000
    )
    SELECT n.nspname::text, c.relname::text FROM wanted
    JOIN pg_catalog.pg_class AS c ON c.oid = wanted.oid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    ORDER BY (SELECT pg_catalog.max(r.depth) FROM reached AS r WHERE r.oid = wanted.oid), 1, 2";

/// What refreshes the views that hold rows on the source, and collects their statistics.
pub(crate) async fn units(client: &Client, catalog: &Catalog) -> Result<Vec<Unit>> {
    let (schemas, names): (Vec<&str>, Vec<&str>) = catalog
        .populated
        .iter()
        .map(|view| (&*view.schema, &*view.name))
        .unzip();
    let rows = client
        .query(ORDER, &[&schemas, &names])
        .await
        .map_err(failed)?;
    let mut units = Vec::new();
    for row in rows {
        let view = TableId::new(row.get::<_, &str>(0), row.get::<_, &str>(1));
        let name = qualified(&view);
        let unit = Unit {
            step: format!("refresh {name}"),
            subject: format!("materialized view {view}"),
            sql: format!("REFRESH MATERIALIZED VIEW {name};"),
            tolerated: EVALUATED,
            ..Unit::default()
        };
        units.push(unit.reported(Step::Refresh, &view.to_string(), &view));
        if !catalog.selection.no_analyze {
            units.push(analyze::unit(&view, None, Scope::Tree));
        }
    }
    Ok(units)
}
