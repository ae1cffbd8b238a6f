//! Extensions.

use pghaul_stage::{Extension, Omission, Result, TableId};
use pghaul_wire::Client;

use crate::session::{field, rows};

/// Every extension of the database.
pub(crate) async fn read(client: &Client) -> Result<Vec<Extension>> {
    let sql = "SELECT e.extname, e.extversion FROM pg_catalog.pg_extension e ORDER BY 1";
    rows(client, "the catalog of extensions", sql)
        .await?
        .iter()
        .map(|row| {
            Ok(Extension {
                name: field(row, 0)?,
                version: field(row, 1)?,
            })
        })
        .collect()
}

/// The tables with users' rows that this role may not read, and which are therefore not carried.
pub(crate) async fn unreadable(client: &Client) -> Result<Vec<Omission>> {
    let sql = "SELECT n.nspname, c.relname, r.rolname FROM pg_catalog.pg_extension e \
          CROSS JOIN LATERAL unnest(e.extconfig) AS x (oid) \
           JOIN pg_catalog.pg_class c ON c.oid = x.oid \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
           JOIN pg_catalog.pg_roles r ON r.rolname = current_user \
          WHERE NOT pg_catalog.has_table_privilege(c.oid, 'SELECT') ORDER BY 1, 2";
    rows(client, "the tables of extensions", sql)
        .await?
        .iter()
        .map(|row| {
            let table = TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?);
            Ok(Omission::new(
                format!("what users added to {table} of an extension"),
                format!(
                    "role {:?} may not read it on the source",
                    field::<&str>(row, 2)?
                ),
            ))
        })
        .collect()
}
