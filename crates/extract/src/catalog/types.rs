//! The types that columns use, and those within them.

use std::collections::BTreeMap;
use std::sync::Arc;

use pghaul_stage::Result;
use pghaul_wire::{Chosen, Client};

use super::tables::{FROM, copied};
use crate::portable::{Shape, Type, Types};
use crate::session::{each, field, rows};

/// Every type that a column of the tables uses, and every type inside one: elements of arrays,
/// bases of domains, members of composites, subtypes of ranges.
pub(crate) async fn read(client: &Client, version: u32, chosen: &Chosen) -> Result<Types> {
    let multirange = if version >= 140_000 {
        "UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = y.oid"
    } else {
        ""
    };
    // Fixed-length types with an element type (name, point) are no arrays.
    let inside = format!(
        "SELECT y.typelem WHERE y.typlen = -1 AND y.typelem <> 0 \
         UNION ALL SELECT y.typbasetype WHERE y.typtype = 'd' \
         UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = y.oid \
         {multirange} \
         UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a \
          WHERE y.typtype = 'c' AND a.attrelid = y.typrelid AND a.attnum > 0 \
            AND NOT a.attisdropped"
    );
    let sql = format!(
        "WITH RECURSIVE used(oid) AS ( \
           SELECT DISTINCT a.atttypid FROM {FROM} \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
            WHERE {} AND a.attnum > 0 AND NOT a.attisdropped \
           UNION \
           SELECT i.oid FROM used u JOIN pg_catalog.pg_type y ON y.oid = u.oid \
             CROSS JOIN LATERAL ({inside}) i(oid)) \
         SELECT y.oid, n.nspname, y.typname, y.typtype::text, \
                y.typlen = -1 AND y.typelem <> 0, \
                y.typsend::oid <> 0 AND y.typreceive::oid <> 0, \
                ARRAY({inside}) \
           FROM used u JOIN pg_catalog.pg_type y ON y.oid = u.oid \
           JOIN pg_catalog.pg_namespace n ON n.oid = y.typnamespace",
        copied('r', chosen)
    );
    let mut types = Types::default();
    for row in &rows(client, "the catalog of types", &sql).await? {
        let array: bool = field(row, 4)?;
        let shape = match field::<&str>(row, 3)? {
            _ if array => Shape::Array,
            "c" => Shape::Composite,
            "d" => Shape::Domain,
            "e" => Shape::Enum,
            "r" | "m" => Shape::Range,
            _ => Shape::Base,
        };
        let (schema, name): (&str, &str) = (field(row, 1)?, field(row, 2)?);
        types.insert(
            field(row, 0)?,
            Type {
                name: format!("{schema}.{name}"),
                shape,
                binary: field(row, 5)?,
                inside: field(row, 6)?,
            },
        );
    }
    Ok(types)
}

/// The types of columns, by the names that [`tables`](super::tables) gives them.
///
/// What an extension sends by PostgreSQL's own function for text is plain text too.
pub(crate) async fn of_columns(
    client: &Client,
    chosen: &Chosen,
) -> Result<BTreeMap<Arc<str>, pghaul_stage::Type>> {
    let sql = format!(
        "WITH RECURSIVE used(oid, modifier) AS ( \
           SELECT DISTINCT a.atttypid, a.atttypmod FROM {FROM} \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
            WHERE {} AND a.attnum > 0 AND NOT a.attisdropped), \
         bases(oid, base) AS ( \
           SELECT DISTINCT oid, oid FROM used \
           UNION SELECT b.oid, y.typbasetype FROM bases b JOIN pg_catalog.pg_type y \
              ON y.oid = b.base AND y.typtype = 'd') \
         SELECT pg_catalog.format_type(u.oid, u.modifier), u.oid, u.modifier, \
                CASE WHEN y.typtype = 'e' THEN 25 \
                     WHEN y.oid < 10000 THEN y.oid::int8 \
                     WHEN p.prosrc = 'textsend' AND l.lanname = 'internal' THEN 25 \
                     ELSE 0 END \
           FROM used u JOIN bases b ON b.oid = u.oid \
           JOIN pg_catalog.pg_type y ON y.oid = b.base AND y.typtype <> 'd' \
           LEFT JOIN pg_catalog.pg_proc p ON p.oid = y.typsend \
           LEFT JOIN pg_catalog.pg_language l ON l.oid = p.prolang",
        copied('r', chosen)
    );
    let mut types = BTreeMap::new();
    each(client, "the types of columns", &sql, |row| {
        let sent_as = u32::try_from(field::<i64>(row, 3)?).unwrap_or(0);
        types.insert(
            Arc::from(field::<&str>(row, 0)?),
            pghaul_stage::Type {
                oid: field(row, 1)?,
                modifier: field(row, 2)?,
                sent_as,
            },
        );
        Ok(())
    })
    .await?;
    Ok(types)
}
