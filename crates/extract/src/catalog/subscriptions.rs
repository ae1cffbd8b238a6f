//! Subscriptions, which pg_dump passes over unless a superuser runs it.

use pghaul_stage::{Omission, Result};
use pghaul_wire::Client;

use crate::session::{field, rows};

/// Those that will not be in the archive.
pub(super) async fn hidden(client: &Client) -> Result<Vec<Omission>> {
    let sql = "SELECT s.subname FROM pg_catalog.pg_subscription s \
                WHERE NOT pg_catalog.current_setting('is_superuser')::bool \
                  AND s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d \
                                    WHERE d.datname = pg_catalog.current_database()) \
                ORDER BY 1";
    rows(client, "the subscriptions", sql)
        .await?
        .iter()
        .map(|row| {
            let name: &str = field(row, 0)?;
            Ok(Omission::new(
                format!("subscription {name}"),
                "the source shows subscriptions to superusers only",
            ))
        })
        .collect()
}
