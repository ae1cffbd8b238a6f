//! Tables whose rows have object identifiers, which PostgreSQL 12 abolished.

use pghaul_stage::{Result, TableId};
use pghaul_wire::{Chosen, Client};

use super::tables::{FROM, copied};
use crate::session::{field, rows};

/// The first version without them.
const ABOLISHED: u32 = 120_000;

/// The tables that were created `WITH OIDS`.
pub(super) async fn read(client: &Client, version: u32, chosen: &Chosen) -> Result<Vec<TableId>> {
    if version >= ABOLISHED {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT n.nspname, c.relname FROM {FROM} WHERE {} AND c.relhasoids \
          ORDER BY n.nspname, c.relname",
        copied('r', chosen)
    );
    rows(client, "the tables with object identifiers", &sql)
        .await?
        .iter()
        .map(|row| Ok(TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?)))
        .collect()
}
