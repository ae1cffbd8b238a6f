//! Roles, memberships, and the settings of roles.

use pghaul_stage::{Error, Membership, Result, Role, Selection, Setting, Side};
use pghaul_wire::Client;
use secrecy::SecretString;

use super::database::settings;
use super::security_labels;
use crate::session::{field, row, rows};

/// Whether the role that reads is a superuser.
pub(super) async fn is_superuser(client: &Client) -> Result<bool> {
    let sql = "SELECT pg_catalog.current_setting('is_superuser')::bool";
    field(&row(client, "the role that reads", sql).await?, 0)
}

/// Every role but the predefined ones, with password hashes where they can be read, and the
/// settings that hold in all databases.
pub(crate) async fn read(
    client: &Client,
    selection: &Selection,
) -> Result<(Vec<Role>, Vec<Setting>)> {
    let what = "the catalog of roles";
    let sql = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
    let wanted = !selection.no_role_passwords;
    let readable = wanted && field(&row(client, what, sql).await?, 0)?;
    let (table, password) = if readable {
        ("pg_catalog.pg_authid", "r.rolpassword")
    } else {
        ("pg_catalog.pg_roles", "NULL::text")
    };
    let sql = format!(
        "SELECT r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, \
                r.rolcanlogin, r.rolreplication, r.rolbypassrls, r.rolconnlimit, \
                r.rolvaliduntil::text, pg_catalog.shobj_description(r.oid, 'pg_authid'), {password} \
           FROM {table} r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname"
    );
    let mut labels = security_labels::shared(client, "pg_authid").await?;
    let roles = rows(client, what, &sql)
        .await?
        .iter()
        .map(|row| {
            let name: String = field(row, 0)?;
            Ok(Role {
                labels: labels.remove(&name).unwrap_or_default(),
                name,
                superuser: field(row, 1)?,
                inherit: field(row, 2)?,
                create_role: field(row, 3)?,
                create_db: field(row, 4)?,
                login: field(row, 5)?,
                replication: field(row, 6)?,
                bypass_rls: field(row, 7)?,
                connection_limit: field(row, 8)?,
                valid_until: field(row, 9)?,
                comment: field(row, 10)?,
                password: field::<Option<String>>(row, 11)?.map(SecretString::from),
                password_readable: readable || !wanted,
                password_withheld: false,
            })
        })
        .collect::<Result<Vec<Role>>>()?;
    for old in selection.role_map.keys() {
        if !roles.iter().any(|role| role.name == *old) {
            return Err(
                Error::input(format!("the source has no role {old:?} to map"))
                    .at(Side::Source)
                    .remedy("name roles in --role-map as the source spells them"),
            );
        }
    }
    Ok((roles, settings(client, 0).await?))
}

/// Who is a member of what. Members that are predefined roles are the server's own business;
/// the grantor is empty if that role exists no more.
pub(crate) async fn memberships(client: &Client, version: u32) -> Result<Vec<Membership>> {
    let options = if version >= 160_000 {
        "m.inherit_option, m.set_option"
    } else {
        "NULL::bool, NULL::bool"
    };
    let sql = format!(
        "SELECT r.rolname, u.rolname, coalesce(g.rolname, ''), m.admin_option, {options} \
           FROM pg_catalog.pg_auth_members m \
           JOIN pg_catalog.pg_roles r ON r.oid = m.roleid \
           JOIN pg_catalog.pg_roles u ON u.oid = m.member \
           LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.grantor \
          WHERE u.rolname !~ '^pg_' ORDER BY 1, 2, 3"
    );
    rows(client, "the catalog of memberships", &sql)
        .await?
        .iter()
        .map(|row| {
            Ok(Membership {
                role: field(row, 0)?,
                member: field(row, 1)?,
                grantor: field(row, 2)?,
                admin: field(row, 3)?,
                inherit: field(row, 4)?,
                set: field(row, 5)?,
            })
        })
        .collect()
}
