//! The types that columns use, and those within them.

use pghaul_stage::Result;
use pghaul_wire::{Chosen, Client};

use super::tables::{FROM, copied};
use crate::portable::{Shape, Type, Types};
use crate::session::{field, rows};

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
