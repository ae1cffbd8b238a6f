//! Tablespaces: which of the target's takes what is in one of the source's.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pghaul_stage::{Catalog, Error, Event, Observer, Omission, Result, Setting, Side};
use pghaul_wire::{Client, Conninfo, quote};

use crate::archive::Archive;
use crate::database;
use crate::session::failed;
use crate::setting::elements;

/// Refuses a map from what the source does not use, or to what the target does not have.
///
/// # Errors
///
/// Kind input, naming the tablespace; and those of connecting to the target.
pub async fn check_tablespaces(conninfo: &Conninfo, catalog: &Catalog) -> Result<()> {
    let map = &catalog.tablespace_map;
    if map.is_empty() {
        return Ok(());
    }
    let archive = Archive::parse(catalog.archive.clone())?;
    let mut used: BTreeSet<String> = archive
        .entries()
        .filter_map(|entry| entry.tablespace)
        .filter(|name| !name.is_empty())
        .collect();
    used.insert(catalog.database.tablespace.clone());
    let settings = catalog.role_settings.iter();
    let settings = settings.chain(&catalog.database.settings);
    let set: BTreeSet<String> = settings.flat_map(named).collect();
    let is_used = |old: &str| used.contains(old) || set.contains(old);
    if let Some(unused) = map.keys().find(|old| !is_used(old)) {
        return Err(Error::input(format!(
            "nothing of the source database is in the tablespace {unused:?} of --tablespace-map"
        ))
        .at(Side::Source));
    }
    let there = read(&database::maintenance(conninfo).await?).await?;
    match map.values().find(|new| !there.contains(*new)) {
        None => Ok(()),
        Some(missing) => Err(Error::input(format!(
            "the target has no tablespace {missing:?} for its role, which --tablespace-map names"
        ))
        .at(Side::Target)
        .remedy("create it (CREATE TABLESPACE), or name another")),
    }
}

/// The names of the target's tablespaces in which the role may create objects.
pub(crate) async fn read(client: &Client) -> Result<HashSet<String>> {
    let query = "SELECT spcname::text FROM pg_catalog.pg_tablespace
                  WHERE pg_catalog.has_tablespace_privilege(oid, 'CREATE')";
    let rows = client.query(query, &[]).await.map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Whether a new database may be put into this tablespace, and would not be in it anyway: to name
/// even the one that all are in takes a right that not everybody has.
pub(crate) async fn is_choice(client: &Client, name: &str) -> Result<bool> {
    let query = "SELECT FROM pg_catalog.pg_tablespace AS t
        WHERE t.spcname = $1 AND pg_catalog.has_tablespace_privilege(t.oid, 'CREATE')
          AND t.oid <> (SELECT d.dattablespace FROM pg_catalog.pg_database AS d
                        WHERE d.datname = 'template0')";
    let row = client.query_opt(query, &[&name]).await.map_err(failed)?;
    Ok(row.is_some())
}

/// The name on the target of one of the source's.
pub(crate) fn mapped<'a>(map: &'a BTreeMap<String, String>, name: &'a str) -> &'a str {
    map.get(name).map_or(name, String::as_str)
}

/// The tablespaces that a setting of a role or a database names.
pub(crate) fn named(setting: &Setting) -> Vec<String> {
    let mut names = match setting.name.as_str() {
        "default_tablespace" => vec![setting.value.clone()],
        "temp_tablespaces" => elements(&setting.value),
        _ => Vec::new(),
    };
    // The empty name is the database's own.
    names.retain(|name| !name.is_empty());
    names
}

/// Puts the target's tablespaces into a setting in place of the source's.
pub(crate) fn rename(setting: &mut Setting, map: &BTreeMap<String, String>) {
    if !named(setting).iter().any(|name| map.contains_key(name)) {
        return;
    }
    setting.value = match setting.name.as_str() {
        "temp_tablespaces" => elements(&setting.value)
            .iter()
            .map(|name| quote::ident(mapped(map, name)))
            .collect::<Vec<_>>()
            .join(", "),
        _ => mapped(map, &setting.value).to_owned(),
    };
}

/// Says so if the current database is not in the tablespace that it should be in.
pub(crate) async fn compare(client: &Client, wanted: &str, observer: &dyn Observer) -> Result<()> {
    if let Some(omission) = omission(client, wanted, false).await? {
        observer.observe(&Event::Omitted(&omission));
    }
    Ok(())
}

/// What is to be said if the current database, or one that is created `anew`, is not in the
/// tablespace that it should be in.
pub(crate) async fn omission(
    client: &Client,
    wanted: &str,
    anew: bool,
) -> Result<Option<Omission>> {
    let query = "SELECT t.spcname::text, d.datname::text
        FROM pg_catalog.pg_database AS d JOIN pg_catalog.pg_tablespace AS t ON t.oid = d.dattablespace
        WHERE d.datname = CASE WHEN $1 THEN 'template0' ELSE pg_catalog.current_database() END";
    let row = client.query_one(query, &[&anew]).await.map_err(failed)?;
    let (is, database): (&str, &str) = (row.get(0), row.get(1));
    if is == wanted || wanted.is_empty() || anew && is_choice(client, wanted).await? {
        return Ok(None);
    }
    let mut omission = Omission::new(
        format!("default tablespace {wanted:?} of the database"),
        format!("the target has no such tablespace; what is in it is in {is:?}"),
    );
    if read(client).await?.contains(wanted) {
        omission.reason = format!("the database is in {is:?} on the target");
        let (database, wanted) = (quote::ident(database), quote::ident(wanted));
        omission = omission.remedy(format!("ALTER DATABASE {database} SET TABLESPACE {wanted}"));
    }
    Ok(Some(omission))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_get_the_targets_tablespaces() {
        let map = BTreeMap::from([("Slow one".to_owned(), "b\"c".to_owned())]);
        for (name, old, new) in [
            ("default_tablespace", "Slow one", "b\"c"),
            ("default_tablespace", "", ""),
            ("temp_tablespaces", "\"Slow one\", a", "\"b\"\"c\", \"a\""),
            ("temp_tablespaces", "a, \"\"", "a, \"\""),
            ("work_mem", "Slow one", "Slow one"),
        ] {
            let mut setting = Setting {
                role: None,
                name: name.to_owned(),
                value: old.to_owned(),
            };
            rename(&mut setting, &map);
            assert_eq!(setting.value, new);
        }
    }
}
