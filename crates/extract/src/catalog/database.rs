//! The database's own properties and settings.

use pghaul_stage::{Database, Result, Setting};
use pghaul_wire::Client;
use tokio_postgres::Row;

use super::security_labels;
use crate::probe::Probe;
use crate::session::{field, row, rows};

/// Reads the properties of the database that the session is in.
pub(crate) async fn read(client: &Client, server: &Probe) -> Result<Database> {
    // Locale providers came in 15, their rules in 16, one name for both providers' locale in 17.
    let (provider, locale, rules) = match server.version {
        170_000.. => ("d.datlocprovider::text", "d.datlocale", "d.daticurules"),
        160_000.. => ("d.datlocprovider::text", "d.daticulocale", "d.daticurules"),
        150_000.. => ("d.datlocprovider::text", "d.daticulocale", "NULL::text"),
        _ => ("'c'::text", "NULL::text", "NULL::text"),
    };
    let sql = format!(
        "SELECT pg_catalog.pg_get_userbyid(d.datdba), d.datcollate::text, d.datctype::text, \
                {provider}, {locale}, {rules}, d.datconnlimit, \
                pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl::text[], \
                (SELECT t.spcname::text FROM pg_catalog.pg_tablespace t WHERE t.oid = d.dattablespace), \
                d.datistemplate \
           FROM pg_catalog.pg_database d WHERE d.oid = {}",
        server.database_oid
    );
    let row = row(client, "the database's properties", &sql).await?;
    let mut labels = security_labels::shared(client, "pg_database").await?;
    Ok(Database {
        oid: server.database_oid,
        name: server.database.clone(),
        owner: field(&row, 0)?,
        encoding: server.encoding.clone(),
        collate: field(&row, 1)?,
        ctype: field(&row, 2)?,
        provider: field(&row, 3)?,
        locale: field(&row, 4)?,
        icu_rules: field(&row, 5)?,
        connection_limit: field(&row, 6)?,
        comment: field(&row, 7)?,
        labels: labels.remove(&server.database).unwrap_or_default(),
        acl: field(&row, 8)?,
        tablespace: field(&row, 9)?,
        is_template: field(&row, 10)?,
        settings: settings(client, server.database_oid).await?,
    })
}

/// Settings stored for a database; 0 stands for all databases.
pub(crate) async fn settings(client: &Client, database: u32) -> Result<Vec<Setting>> {
    let sql = format!(
        "SELECT r.rolname, s.setconfig FROM pg_catalog.pg_db_role_setting s \
           LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
          WHERE s.setdatabase = {database} AND (s.setrole = 0 OR r.oid IS NOT NULL) \
          ORDER BY r.rolname NULLS FIRST"
    );
    let mut settings = Vec::new();
    for row in &rows(client, "stored settings", &sql).await? {
        settings.append(&mut assignments(row)?);
    }
    Ok(settings)
}

/// One row's `name=value` items.
fn assignments(row: &Row) -> Result<Vec<Setting>> {
    let role: Option<String> = field(row, 0)?;
    Ok(field::<Vec<String>>(row, 1)?
        .iter()
        .filter_map(|item| item.split_once('='))
        .map(|(name, value)| Setting {
            role: role.clone(),
            name: name.to_owned(),
            value: value.to_owned(),
        })
        .collect())
}
