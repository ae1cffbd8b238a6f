//! Whether the role sees everything: tables, sequences, large objects, rows, passwords.

use pghaul_stage::{Check, Finding, Result, Side, TableId};
use pghaul_wire::{Chosen, Client};

use crate::catalog::row_security;
use crate::catalog::tables::{FROM, copied};
use crate::session::{field, row, rows};

pub(super) async fn check(
    client: &Client,
    chosen: &Chosen,
    passwords_wanted: bool,
) -> Result<Vec<Finding>> {
    let mut findings = vec![
        readable(client, chosen).await?,
        row_security(client, chosen).await?,
    ];
    if passwords_wanted {
        findings.push(passwords(client).await?);
    }
    Ok(findings)
}

async fn readable(client: &Client, chosen: &Chosen) -> Result<Finding> {
    let sql = format!(
        "SELECT c.relkind = 'S', n.nspname, c.relname FROM {FROM} \
          WHERE ({} OR {} OR {}) \
            AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
                     AND pg_catalog.has_table_privilege(c.oid, 'SELECT')) \
          ORDER BY n.nspname, c.relname",
        copied('r', chosen),
        copied('p', chosen),
        copied('S', chosen)
    );
    let mut objects = Vec::new();
    for row in &rows(client, "the readable tables", &sql).await? {
        let kind = if field(row, 0)? { "sequence" } else { "table" };
        let name = TableId::new(field::<&str>(row, 1)?, field::<&str>(row, 2)?);
        objects.push(format!("{kind} {name}"));
    }
    // A superuser's rights are not in the lists that would have to be read.
    let sql = "SELECT 'large object ' || m.oid FROM pg_catalog.pg_largeobject_metadata m \
                WHERE NOT (SELECT r.rolsuper FROM pg_catalog.pg_roles r \
                            WHERE r.rolname = current_user) \
                  AND pg_catalog.current_setting('lo_compat_privileges') = 'off' \
                  AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE') \
                  AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a \
                                   WHERE a.privilege_type = 'SELECT' \
                                     AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE'))) \
                ORDER BY m.oid LIMIT 1000";
    for row in &rows(client, "the readable large objects", sql).await? {
        objects.push(field(row, 0)?);
    }
    if objects.is_empty() {
        return Ok(Finding::succeeded(
            Check::Readable,
            Side::Source,
            "the role may read every table, sequence and large object",
        ));
    }
    Ok(Finding::failed(
        Check::Readable,
        Side::Source,
        format!("the role may not read {} objects", objects.len()),
        "grant the role USAGE on every schema and SELECT on every table, sequence and large \
         object; membership in pg_read_all_data (PostgreSQL 14) is enough for tables and sequences",
    )
    .on(objects))
}

async fn row_security(client: &Client, chosen: &Chosen) -> Result<Finding> {
    let hidden = row_security::hidden(client, chosen).await?;
    if hidden.is_empty() {
        return Ok(Finding::succeeded(
            Check::RowSecurity,
            Side::Source,
            "no policy hides rows from the role",
        ));
    }
    Ok(Finding::failed(
        Check::RowSecurity,
        Side::Source,
        row_security::HIDDEN,
        row_security::REMEDY,
    )
    .on(hidden.iter().map(|table| format!("table {table}"))))
}

async fn passwords(client: &Client) -> Result<Finding> {
    let sql = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT'), \
                      ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_roles r \
                             WHERE r.rolcanlogin AND r.rolname !~ '^pg_' ORDER BY 1)";
    let row = row(client, "the passwords of roles", sql).await?;
    let (readable, logins): (bool, Vec<String>) = (field(&row, 0)?, field(&row, 1)?);
    if readable || logins.is_empty() {
        return Ok(Finding::succeeded(
            Check::RolePasswords,
            Side::Source,
            "roles arrive with their passwords",
        ));
    }
    Ok(Finding::warning(
        Check::RolePasswords,
        Side::Source,
        "the role may not read passwords, so roles that the target lacks arrive without theirs",
        "let a superuser read pg_authid for pghaul, or set the passwords on the target afterwards",
    )
    .on(logins))
}
