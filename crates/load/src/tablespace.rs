//! Tablespaces: which of the target's takes what is in one of the source's.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pghaul_stage::{
    Catalog, Error, Event, Observer, Omission, Result, SecurityLabel, Selection, Setting, Side,
    Tablespace,
};
use pghaul_wire::{Client, Conninfo, quote, security_label};

use crate::acl::{Item, Reach, grants};
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
    let used = used(catalog, &Archive::parse(catalog.archive.clone())?);
    if let Some(unused) = map.keys().find(|old| !used.contains(*old)) {
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

/// The source's tablespaces in which something is, or that a setting names.
fn used(catalog: &Catalog, archive: &Archive) -> BTreeSet<String> {
    let entries = archive.entries().filter_map(|entry| entry.tablespace);
    let mut used: BTreeSet<String> = entries.filter(|name| !name.is_empty()).collect();
    used.insert(catalog.database.tablespace.clone());
    let settings = catalog.role_settings.iter();
    used.extend(settings.chain(&catalog.database.settings).flat_map(named));
    used
}

/// What the tablespaces of the source that are used, and are on the target too, have otherwise
/// there: they are the server's own, and stay as they are.
pub(crate) async fn differences(
    client: &Client,
    catalog: &Catalog,
    archive: &Archive,
) -> Result<Vec<Omission>> {
    if catalog.selection.no_tablespaces {
        return Ok(Vec::new());
    }
    let used = used(catalog, archive);
    let query = "SELECT spcname::text, pg_catalog.pg_get_userbyid(spcowner)::text, spcacl::text[],
            coalesce(spcoptions, '{}'), pg_catalog.shobj_description(oid, 'pg_tablespace')
       FROM pg_catalog.pg_tablespace";
    let labels = security_label::shared(client, "pg_tablespace").await;
    let mut labels = labels.map_err(failed)?;
    let there: BTreeMap<String, Tablespace> = client
        .query(query, &[])
        .await
        .map_err(failed)?
        .iter()
        .map(|row| Tablespace {
            name: row.get(0),
            owner: row.get(1),
            acl: row.get(2),
            options: row.get(3),
            comment: row.get(4),
            labels: labels.remove(row.get::<_, &str>(0)).unwrap_or_default(),
        })
        .map(|tablespace| (tablespace.name.clone(), tablespace))
        .collect();
    let mut omissions = Vec::new();
    for wanted in catalog
        .tablespaces
        .iter()
        .filter(|one| used.contains(&one.name))
    {
        if let Some(there) = there.get(mapped(&catalog.tablespace_map, &wanted.name)) {
            omissions.extend(difference(wanted, there, &catalog.selection)?);
        }
    }
    Ok(omissions)
}

/// The tablespace that every server has and no role made.
const EVERYWHERE: &str = "pg_default";

fn difference(
    wanted: &Tablespace,
    there: &Tablespace,
    selection: &Selection,
) -> Result<Option<Omission>> {
    let name = format!("TABLESPACE {}", quote::ident(&there.name));
    let (mut what, mut remedy) = (Vec::new(), Vec::new());
    let owner = selection.role(&wanted.owner);
    let is_own = wanted.name != EVERYWHERE && !selection.no_owner;
    if is_own && owner != there.owner {
        what.push("owner");
        remedy.push(format!("ALTER {name} OWNER TO {}", quote::ident(owner)));
    }
    let standing = if is_own { owner } else { &there.owner };
    let items = |acl: &Option<Vec<String>>| {
        let items = acl.iter().flatten();
        let items = items.map(|item| Ok(Item::parse(item)?.renamed(selection)));
        items.collect::<Result<Vec<Item>>>()
    };
    let acl = items(&wanted.acl)?;
    if !selection.no_acl && acl != items(&there.acl)? {
        what.push("privileges");
        remedy.extend(grants(&name, owner, standing, &acl, false, |_| Reach::Open)?.statements);
    }
    if wanted.options != there.options {
        what.push("options");
        let name_of = |option: &String| option.split('=').next().map(str::to_owned);
        let set: BTreeSet<String> = there.options.iter().filter_map(name_of).collect();
        if !set.is_empty() {
            let names = Vec::from_iter(set).join(", ");
            remedy.push(format!("ALTER {name} RESET ({names})"));
        }
        if !wanted.options.is_empty() {
            remedy.push(format!("ALTER {name} SET ({})", wanted.options.join(", ")));
        }
    }
    if !selection.no_comments && wanted.comment != there.comment {
        what.push("comment");
        let comment = wanted.comment.as_deref();
        let comment = comment.map_or("NULL".to_owned(), quote::literal);
        remedy.push(format!("COMMENT ON {name} IS {comment}"));
    }
    if wanted.labels != there.labels {
        what.push("security labels");
        let has = |label: &&SecurityLabel| there.labels.contains(label);
        for label in wanted.labels.iter().filter(|label| !has(label)) {
            let (provider, label) = (&label.provider, Some(label.label.as_str()));
            remedy.push(security_label::statement(&name, provider, label));
        }
        let known = |label: &&SecurityLabel| {
            let mut wanted = wanted.labels.iter();
            wanted.any(|one| one.provider == label.provider)
        };
        for label in there.labels.iter().filter(|label| !known(label)) {
            remedy.push(security_label::statement(&name, &label.provider, None));
        }
    }
    if what.is_empty() {
        return Ok(None);
    }
    let omission = Omission::new(
        format!("{} of tablespace {:?}", what.join(", "), there.name),
        "it is the server's, and stays as it is",
    );
    Ok(Some(omission.remedy(remedy.join(";\n")).of_server()))
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
