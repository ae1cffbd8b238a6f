//! Rights to set parameters, which came with PostgreSQL 15.

use pghaul_stage::{ParameterGrant, Result};
use pghaul_wire::Client;

use crate::session::{field, rows};

/// What was granted to other roles than the server's first one; grants by roles that may pass
/// them on come after those that let them.
pub(crate) async fn read(client: &Client, version: u32) -> Result<Vec<ParameterGrant>> {
    if version < 150_000 {
        return Ok(Vec::new());
    }
    // 10 is the role that the server was made under: it owns every parameter.
    let sql = "SELECT p.parname, g.rolname, b.rolname, a.privilege_type, a.is_grantable \
           FROM pg_catalog.pg_parameter_acl p \
          CROSS JOIN LATERAL pg_catalog.aclexplode(p.paracl) a \
           LEFT JOIN pg_catalog.pg_roles g ON g.oid = a.grantee \
           LEFT JOIN pg_catalog.pg_roles b ON b.oid = a.grantor AND b.oid <> 10 \
          WHERE a.grantee <> 10 AND (a.grantee = 0 OR g.rolname IS NOT NULL) \
          ORDER BY b.rolname IS NOT NULL, a.is_grantable DESC, 1, 2";
    rows(client, "the catalog of parameters", sql)
        .await?
        .iter()
        .map(|row| {
            Ok(ParameterGrant {
                parameter: field(row, 0)?,
                grantee: field(row, 1)?,
                grantor: field(row, 2)?,
                privilege: field(row, 3)?,
                grantable: field(row, 4)?,
            })
        })
        .collect()
}
