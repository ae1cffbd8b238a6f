//! Lets owners create objects where theirs are, for as long as a migration needs that.
//!
//! PostgreSQL gives an object to a new owner only if that owner may create such objects in its
//! schema, or in the database. A superuser is not asked, so the source may well have owners who
//! may not. Without a superuser they may for a while: until the source's own privileges come.

use std::collections::{BTreeMap, BTreeSet};

use pghaul_wire::quote::ident;

use crate::archive::Archive;
use crate::entry::Unit;
use crate::instead::Instead;
use crate::owner;
use crate::present::Present;

/// May not.
const FORBIDDEN: &[&str] = &["42501"];

/// Where which owners need to be let in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Admission {
    /// Owners by schema.
    schemas: BTreeMap<String, BTreeSet<String>>,
    /// Owners of what is in no schema, and the database.
    database: BTreeSet<String>,
    name: String,
    /// Schemas that the archive creates.
    created: BTreeSet<String>,
}

impl Admission {
    /// What an archive needs.
    pub(crate) fn of(archive: &Archive, present: &Present) -> Admission {
        let mut admission = Admission {
            name: present.power.database.clone(),
            ..Admission::default()
        };
        if present.power.superuser {
            return admission;
        }
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        for entry in archive.entries() {
            if entry.desc == "SCHEMA" {
                admission.created.insert(entry.tag.clone());
                owners.insert(entry.tag, entry.owner);
            }
        }
        for entry in archive.entries() {
            let given = owner::alter(&entry, present.power.version).is_some()
                && present.may_own(&entry.owner);
            if !given || owners.get(&entry.schema) == Some(&entry.owner) {
                continue;
            }
            let owner = entry.owner.clone();
            match (entry.desc.as_str(), entry.schema.as_str()) {
                // Its owner may, and would lose that with what is taken back.
                ("PUBLICATION" | "SUBSCRIPTION", _) if owner == present.power.database_owner => {}
                ("PUBLICATION" | "SUBSCRIPTION", _) => {
                    admission.database.insert(owner);
                }
                (_, "") => {}
                // Before version 15 everybody may, and only a superuser decides.
                (_, "public") if present.power.version < 150_000 => {}
                (_, schema) => {
                    let owners = admission.schemas.entry(schema.to_owned()).or_default();
                    owners.insert(owner);
                }
            }
        }
        admission
    }

    /// What follows the creation of a schema.
    pub(crate) fn schema(&self, name: &str) -> String {
        let owners = self.schemas.get(name);
        owners.map_or(String::new(), |owners| {
            format!(
                "\nGRANT CREATE ON SCHEMA {} TO {};",
                ident(name),
                list(owners)
            )
        })
    }

    /// Lets owners in where the archive creates no schema.
    pub(crate) fn open(&self) -> Vec<Unit> {
        let there = self.places(|schema| !self.created.contains(schema));
        let unit = |(place, owners): (String, String)| Unit {
            step: format!("open {place}"),
            subject: place.to_lowercase(),
            sql: format!("GRANT CREATE ON {place} TO {owners}"),
            // Whoever may create there already needs no more; what fails will say so.
            instead: vec![Instead::default()],
            ..Unit::default()
        };
        there.into_iter().map(unit).collect()
    }

    /// Takes that back.
    pub(crate) fn close(&self) -> Vec<Unit> {
        let unit = |(place, owners): (String, String)| Unit {
            step: format!("close {place}"),
            subject: format!("the end of the right of {owners} to create in {place}"),
            sql: format!("REVOKE CREATE ON {place} FROM {owners}"),
            tolerated: FORBIDDEN,
            ..Unit::default()
        };
        self.places(|_| true).into_iter().map(unit).collect()
    }

    fn places(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        let schemas = self.schemas.iter().filter(|(name, _)| wanted(name));
        let mut places: Vec<(String, String)> = schemas
            .map(|(name, owners)| (format!("SCHEMA {}", ident(name)), list(owners)))
            .collect();
        if !self.database.is_empty() {
            places.push((
                format!("DATABASE {}", ident(&self.name)),
                list(&self.database),
            ));
        }
        places
    }
}

fn list(roles: &BTreeSet<String>) -> String {
    let roles: Vec<String> = roles.iter().map(|role| ident(role)).collect();
    roles.join(", ")
}
