//! Extensions.

use pghaul_stage::{Extension, Omission, Result, TableId};
use pghaul_wire::quote::ident;
use pghaul_wire::{Chosen, Client};

use super::tables::condition;
use crate::session::{field, row, rows};

/// Every extension of the database.
pub(crate) async fn read(client: &Client) -> Result<Vec<Extension>> {
    let sql = "SELECT e.extname, e.extversion FROM pg_catalog.pg_extension e ORDER BY 1";
    rows(client, "the catalog of extensions", sql)
        .await?
        .iter()
        .map(|row| {
            Ok(Extension {
                name: field(row, 0)?,
                version: field(row, 1)?,
            })
        })
        .collect()
}

/// The tables with users' rows that are not carried: this role may not read them, or only a part of
/// the database is selected, whose extensions are made anew.
pub(crate) async fn uncarried(client: &Client, chosen: &Chosen) -> Result<Vec<Omission>> {
    let sql = format!(
        "SELECT n.nspname, c.relname, r.rolname, pg_catalog.has_table_privilege(c.oid, 'SELECT'), \
                coalesce(e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)], '') \
           FROM pg_catalog.pg_extension e \
          CROSS JOIN LATERAL unnest(e.extconfig) AS x (oid) \
           JOIN pg_catalog.pg_class c ON c.oid = x.oid \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
           JOIN pg_catalog.pg_roles r ON r.rolname = current_user \
          WHERE c.relkind = 'r' AND {} AND {} ORDER BY 1, 2",
        chosen.extensions("e"),
        chosen.relations("c")
    );
    let mut omissions = Vec::new();
    for row in &rows(client, "the tables of extensions", &sql).await? {
        let table = TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?);
        let reason = if !field::<bool>(row, 3)? {
            let role: &str = field(row, 2)?;
            format!("role {role:?} may not read it on the source")
        } else if !chosen.is_of_everything()
            && has_rows(client, &table, &condition(field(row, 4)?)).await?
        {
            "extensions that a part of a database needs are created without it".to_owned()
        } else {
            continue;
        };
        let object = format!("what users added to {table} of an extension");
        omissions.push(Omission::new(object, reason));
    }
    Ok(omissions)
}

async fn has_rows(client: &Client, table: &TableId, condition: &str) -> Result<bool> {
    let (schema, name) = (ident(&table.schema), ident(&table.name));
    let sql = format!("SELECT EXISTS (SELECT FROM ONLY {schema}.{name} WHERE {condition})");
    field(&row(client, "the tables of extensions", &sql).await?, 0)
}
