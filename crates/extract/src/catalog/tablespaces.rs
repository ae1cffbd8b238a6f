//! What the source's server says of its tablespaces.

use pghaul_stage::{Result, Tablespace};
use pghaul_wire::Client;

use super::security_labels;
use crate::session::{field, rows};

/// All that databases can be in.
pub(super) async fn read(client: &Client) -> Result<Vec<Tablespace>> {
    let sql = "SELECT t.spcname, pg_catalog.pg_get_userbyid(t.spcowner), t.spcacl::text[], \
                      coalesce(t.spcoptions, '{}'), \
                      pg_catalog.shobj_description(t.oid, 'pg_tablespace') \
                 FROM pg_catalog.pg_tablespace t WHERE t.spcname <> 'pg_global' ORDER BY 1";
    let mut labels = security_labels::shared(client, "pg_tablespace").await?;
    rows(client, "the tablespaces", sql)
        .await?
        .iter()
        .map(|row| {
            let name: String = field(row, 0)?;
            Ok(Tablespace {
                labels: labels.remove(&name).unwrap_or_default(),
                name,
                owner: field(row, 1)?,
                acl: field(row, 2)?,
                options: field(row, 3)?,
                comment: field(row, 4)?,
            })
        })
        .collect()
}
