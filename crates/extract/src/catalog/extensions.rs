//! Extensions.

use pghaul_stage::{Extension, Result};
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
