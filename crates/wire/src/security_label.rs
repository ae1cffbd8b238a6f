//! Security labels of what belongs to a server: how they are read and made on either side.

use std::collections::BTreeMap;

use pghaul_stage::SecurityLabel;

use crate::Client;
use crate::quote::{ident, literal};

/// Those of all roles, databases or tablespaces, by their names; `catalog` says which.
///
/// # Errors
///
/// What the server said.
pub async fn shared(
    client: &Client,
    catalog: &str,
) -> Result<BTreeMap<String, Vec<SecurityLabel>>, tokio_postgres::Error> {
    let sql = format!(
        "SELECT (pg_catalog.pg_identify_object_as_address(s.classoid, s.objoid, 0)).object_names[1], \
                s.provider, s.label \
           FROM pg_catalog.pg_shseclabel s \
          WHERE s.classoid = {}::pg_catalog.regclass ORDER BY 1, 2",
        literal(&format!("pg_catalog.{catalog}"))
    );
    let mut labels: BTreeMap<String, Vec<SecurityLabel>> = BTreeMap::new();
    for row in client.query(&sql, &[]).await? {
        let label = SecurityLabel {
            provider: row.try_get(1)?,
            label: row.try_get(2)?,
        };
        labels.entry(row.try_get(0)?).or_default().push(label);
    }
    Ok(labels)
}

/// The statement that labels a role.
pub fn of_role(role: &str, label: &SecurityLabel) -> String {
    let object = format!("ROLE {}", ident(role));
    statement(&object, &label.provider, Some(&label.label))
}

/// The statement that gives a label, or takes it away, of an object that stands with its kind in
/// front of it.
pub fn statement(object: &str, provider: &str, label: Option<&str>) -> String {
    let label = label.map_or("NULL".to_owned(), literal);
    let provider = ident(provider);
    format!("SECURITY LABEL FOR {provider} ON {object} IS {label}")
}
