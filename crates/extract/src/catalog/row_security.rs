//! Refuses a source that would show only some of its rows.

use pghaul_stage::{Error, Kind, Result, Side, TableId};
use pghaul_wire::{Chosen, Client};

use super::tables::{FROM, copied};
use crate::session::{field, rows};

/// How many tables the error names.
const NAMED: usize = 5;

/// What is wrong when rows are hidden.
pub(crate) const HIDDEN: &str = "row-level security would hide rows from this role";

/// What to do about it.
pub(crate) const REMEDY: &str = "let a superuser run ALTER ROLE … BYPASSRLS for the source's role";

/// The tables of which row-level security hides rows from this role.
pub(crate) async fn hidden(client: &Client, chosen: &Chosen) -> Result<Vec<TableId>> {
    let sql = format!(
        "SELECT n.nspname, c.relname FROM {FROM} \
          WHERE {} AND {} AND c.relrowsecurity AND pg_catalog.row_security_active(c.oid) \
          ORDER BY n.nspname, c.relname",
        copied('r', chosen),
        chosen.rows("c")
    );
    rows(client, "row-level security", &sql)
        .await?
        .iter()
        .map(|row| Ok(TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?)))
        .collect()
}

/// Fails if there are any. COPY would fail too, as every session runs with `row_security = off`,
/// but only once the target has been prepared.
pub(super) async fn check(client: &Client, chosen: &Chosen) -> Result<()> {
    let hidden = hidden(client, chosen).await?;
    let mut names: Vec<String> = hidden.iter().take(NAMED).map(ToString::to_string).collect();
    match hidden.len() {
        0 => Ok(()),
        count => {
            if count > NAMED {
                names.push(format!("{} more", count - NAMED));
            }
            Err(Error::new(Kind::Permanent, HIDDEN)
                .at(Side::Source)
                .on(format!("table {}", names.join(", ")))
                .sqlstate("42501")
                .remedy(REMEDY))
        }
    }
}
