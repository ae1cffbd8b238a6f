//! What of the source's schema is restored: the part that was selected, under the names and with
//! the properties that were asked for.

use std::collections::HashSet;

use pghaul_stage::{Catalog, Event, Observer, Omission, Result};
use pghaul_wire::quote::ident;

use crate::archive::{Archive, Entry};
use crate::entry::Unit;
use crate::instead;
use crate::present::Present;
use crate::refusal::has;
use crate::{role_map, statement, tablespace};

/// The catalog as the target is to have it, and what that leaves out.
pub(crate) fn apply(catalog: &Catalog) -> (Catalog, Vec<Omission>) {
    let mut catalog = catalog.clone();
    let unusable = role_map::rename_all(&mut catalog);
    let unusable = unusable.iter().map(|role| {
        let omission = Omission::new(
            format!("password of role {role:?}"),
            "its hash of the kind md5 is bound to the role's name on the source",
        );
        omission.of_server()
    });
    let lost = unusable.collect();
    let selection = &catalog.selection;
    let database = &mut catalog.database;
    if selection.no_owner {
        for home in &mut catalog.homes {
            home.owner.clear();
        }
    }
    if selection.no_acl {
        database.acl = None;
        catalog.parameter_grants.clear();
    }
    if selection.no_comments {
        database.comment = None;
        for role in &mut catalog.roles {
            role.comment = None;
        }
    }
    for settings in [&mut database.settings, &mut catalog.role_settings] {
        if selection.no_tablespaces {
            settings.retain(|setting| tablespace::named(setting).is_empty());
        }
        for setting in settings {
            tablespace::rename(setting, &catalog.tablespace_map);
        }
    }
    if selection.no_roles {
        catalog.roles.clear();
        catalog.memberships.clear();
        catalog.parameter_grants.clear();
        catalog.role_settings.clear();
    }
    (catalog, lost)
}

/// Removes what is not restored from an archive, and changes what is restored otherwise.
///
/// # Errors
///
/// As [`Archive::change`].
pub(crate) fn choose(archive: &mut Archive, catalog: &Catalog) -> Result<()> {
    let selection = &catalog.selection;
    // Comments and the like go with what they are about, which comes before them.
    let mut gone: HashSet<i32> = HashSet::new();
    let left_out = LeftOut::new(catalog);
    archive.retain(|entry| {
        let dependent = matches!(entry.desc.as_str(), "COMMENT" | "SECURITY LABEL" | "ACL");
        let goes = left_out.has(entry)
            || dependent && entry.dependencies.iter().any(|on| gone.contains(on))
            || match entry.desc.as_str() {
                "ACL" | "DEFAULT ACL" => selection.no_acl,
                "COMMENT" => selection.no_comments,
                "MATERIALIZED VIEW DATA" => !selection.has_rows(),
                _ => false,
            };
        if goes {
            gone.insert(entry.id);
        }
        !goes
    });
    let alone = without_parents(catalog);
    archive.change(|entry| {
        role_map::rename(entry, selection);
        if entry.desc == "TABLE" && alone.contains(&(&*entry.schema, &*entry.tag)) {
            entry.definition = detached(&entry.definition);
        }
        // Asked for by name, the schema that every database has is in the archive, too.
        if entry.desc == "SCHEMA" && entry.tag == "public" {
            entry.definition = entry.definition.replacen(
                "CREATE SCHEMA public",
                "CREATE SCHEMA IF NOT EXISTS public",
                1,
            );
        }
        if selection.no_owner {
            entry.owner.clear();
        }
        if selection.no_tablespaces && entry.tablespace.is_some() {
            entry.tablespace = Some(String::new());
        }
    })
}

/// What refers to something that is not selected: by kind, and by object identifier or else by name.
#[derive(Default)]
struct LeftOut<'a> {
    by_oid: HashSet<(&'a str, u32)>,
    by_name: HashSet<(&'a str, &'a str, &'a str)>,
}

impl<'a> LeftOut<'a> {
    fn new(catalog: &'a Catalog) -> Self {
        let mut left_out = Self::default();
        for one in &catalog.left_out {
            if one.oid == 0 {
                let name = (one.kind.as_str(), one.schema.as_str(), one.name.as_str());
                left_out.by_name.insert(name);
            } else {
                left_out.by_oid.insert((&one.kind, one.oid));
            }
        }
        left_out
    }

    fn has(&self, entry: &Entry) -> bool {
        self.by_oid.contains(&(entry.desc.as_str(), entry.oid))
            || self
                .by_name
                .contains(&(entry.desc.as_str(), &*entry.schema, &*entry.tag))
    }
}

/// The partitions without their parents, by schema and name.
fn without_parents(catalog: &Catalog) -> HashSet<(&str, &str)> {
    let left_out = catalog.left_out.iter();
    let attached = left_out.filter(|one| one.kind == "TABLE ATTACH");
    attached.map(|one| (&*one.schema, &*one.name)).collect()
}

/// A table's statements without the one that makes it a partition: `pg_dump` older than 14 has no
/// entry of its own for that.
fn detached(definition: &str) -> String {
    let attaches = |piece: &&str| has(piece, &["ATTACH", "PARTITION"]);
    statement::split(definition)
        .into_iter()
        .filter(|piece| !attaches(piece))
        .collect()
}

/// Says what is left out because something else is not selected.
pub(crate) fn tell(catalog: &Catalog, observer: &dyn Observer) {
    for omission in omissions(catalog) {
        observer.observe(&Event::Omitted(&omission));
    }
}

/// What is left out because something else is not selected. What was excluded by name needs no
/// word.
pub(crate) fn omissions(catalog: &Catalog) -> Vec<Omission> {
    let told = catalog.left_out.iter().filter(|one| !one.object.is_empty());
    told.map(|one| Omission::new(one.object.clone(), one.reason.clone()))
        .collect()
}

/// The schemas and extensions that selected objects need without being in the archive.
pub(crate) fn ground(catalog: &Catalog, present: &Present) -> Vec<Unit> {
    let schema = |name: &str| format!("CREATE SCHEMA IF NOT EXISTS {};", ident(name));
    let homes = catalog.homes.iter().map(|home| Unit {
        step: format!("schema {}", home.name),
        subject: format!("schema {}", home.name),
        sql: schema(&home.name),
        owner: (home.name != "public" && present.power.acts_for(&home.owner)).then(|| {
            format!(
                "ALTER SCHEMA {} OWNER TO {};",
                ident(&home.name),
                ident(&home.owner)
            )
        }),
        ..Unit::default()
    });
    let needed = catalog.needed.iter().map(|extension| {
        let name = &extension.name;
        let sql = format!(
            "{}\nCREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA {};",
            schema(&extension.schema),
            ident(name),
            ident(&extension.schema)
        );
        let version = present.extensions.get(name);
        Unit {
            step: format!("extension {name}"),
            subject: format!("extension {name}"),
            instead: Vec::from_iter(
                version.map(|version| instead::any_version(name, &sql, version)),
            ),
            sql: match version {
                Some(version) => instead::pinned(&sql, version),
                None => sql,
            },
            ..Unit::default()
        }
    });
    homes.chain(needed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_an_old_pg_dump_loses_its_parent() {
        let create = "CREATE TABLE s.\"ATTACH PARTITION\" (\n    at integer\n);\n";
        let attach = "ALTER TABLE ONLY s.p ATTACH PARTITION s.\"ATTACH PARTITION\" \
                      FOR VALUES FROM (0) TO (100);\n";
        let after = "ALTER TABLE ONLY s.\"ATTACH PARTITION\" ALTER COLUMN at SET STATISTICS 7;\n";
        let whole = [create, attach, after].concat();
        let detached = detached(&whole);
        let pieces: Vec<&str> = statement::split(&detached);
        let pieces: Vec<&str> = pieces
            .into_iter()
            .map(str::trim)
            .filter(|piece| !piece.is_empty())
            .collect();
        assert_eq!(pieces, [create.trim(), after.trim()]);
    }
}
