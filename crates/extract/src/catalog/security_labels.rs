//! Security labels of what no archive of one database describes.

use pghaul_stage::{Omission, Result, Selection};
use pghaul_wire::quote::literal;
use pghaul_wire::{Chosen, Client};

use crate::session::{field, rows};

/// Those of the database itself, of roles, tablespaces and large objects, which are not carried.
/// All others are in the archive.
pub(super) async fn uncarried(
    client: &Client,
    selection: &Selection,
    chosen: &Chosen,
) -> Result<Vec<Omission>> {
    let sql = format!(
        "SELECT s.objtype, s.objname, s.provider, s.label FROM pg_catalog.pg_seclabels s \
          WHERE s.objtype = 'database' AND s.objname = \
                  pg_catalog.quote_ident(pg_catalog.current_database()) \
             OR s.objtype IN ('role', 'tablespace') AND {} \
             OR s.objtype = 'large object' AND {} ORDER BY 1, 2, 3",
        !selection.no_roles,
        chosen.has_large_objects()
    );
    rows(client, "the security labels", &sql)
        .await?
        .iter()
        .map(|row| {
            let [kind, name, provider]: [&str; 3] =
                [field(row, 0)?, field(row, 1)?, field(row, 2)?];
            let mut omission = Omission::new(
                format!("security label of {kind} {name} for {provider}"),
                "labels of what is not in a schema are left to the administrator",
            );
            if ["role", "tablespace"].contains(&kind) {
                omission = omission.of_server();
            }
            Ok(omission.remedy(format!(
                "SECURITY LABEL FOR {} ON {} {name} IS {}",
                pghaul_wire::quote::ident(provider),
                kind.to_uppercase(),
                literal(field(row, 3)?)
            )))
        })
        .collect()
}
