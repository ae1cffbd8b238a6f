//! Refuses a source that would show only some of its rows.

use pghaul_stage::{Error, Kind, Result, Side, TableId};
use pghaul_wire::Client;

use super::tables::{FROM, copied};
use crate::session::{field, rows};

/// How many tables the error names.
const NAMED: usize = 5;

/// Fails if row-level security hides rows of any table from this role. COPY would fail too, as
/// every session runs with `row_security = off`, but only once the target has been prepared.
pub(super) async fn check(client: &Client) -> Result<()> {
    let sql = format!(
        "SELECT n.nspname, c.relname FROM {FROM} \
          WHERE {} AND c.relrowsecurity AND pg_catalog.row_security_active(c.oid) \
          ORDER BY n.nspname, c.relname",
        copied('r')
    );
    let hidden = rows(client, "row-level security", &sql).await?;
    let mut names = Vec::with_capacity(NAMED);
    for row in hidden.iter().take(NAMED) {
        let table = TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?);
        names.push(table.to_string());
    }
    match hidden.len() {
        0 => Ok(()),
        count => {
            if count > NAMED {
                names.push(format!("{} more", count - NAMED));
            }
            Err(Error::new(
                Kind::Permanent,
                "row-level security would hide rows from this role",
            )
            .at(Side::Source)
            .on(format!("table {}", names.join(", ")))
            .sqlstate("42501")
            .remedy("let a superuser run ALTER ROLE … BYPASSRLS for the source's role"))
        }
    }
}
