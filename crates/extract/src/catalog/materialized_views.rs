//! Materialized views that hold rows.

use pghaul_stage::{Result, TableId};
use pghaul_wire::{Chosen, Client};

use super::tables::{FROM, copied};
use crate::session::{field, rows};

/// Those whose rows are selected, ordered by name.
pub(crate) async fn populated(client: &Client, chosen: &Chosen) -> Result<Vec<TableId>> {
    let sql = format!(
        "SELECT n.nspname, c.relname FROM {FROM} \
          WHERE {} AND {} AND c.relispopulated ORDER BY 1, 2",
        copied('m', chosen),
        chosen.rows("c")
    );
    rows(client, "the materialized views", &sql)
        .await?
        .iter()
        .map(|row| Ok(TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?)))
        .collect()
}
