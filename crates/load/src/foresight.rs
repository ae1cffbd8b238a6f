//! Which entries of an archive the loading role may not restore, and what hangs on them.
//!
//! The same answer is given before a migration, where it decides whether `--strict` lets it
//! begin, and while restoring, where these entries are passed over.

use std::collections::{BTreeMap, BTreeSet};

use pghaul_stage::{Catalog, Omission, Result};
use pghaul_wire::Conninfo;

use crate::archive::{Archive, Entry};
use crate::database::maintenance;
use crate::entry::{Unit, is_elsewhere};
use crate::grant::Grants;
use crate::power::{ADMIN_OPTION, Power};
use crate::present::Present;
use crate::properties::{self, Place};
use crate::refusal::{has, is_postfix, lack, refusal};
use crate::restore;
use crate::role::Roles;
use crate::session::open;
use crate::{
    compression, instead, large_object, owner, parameter, role_map, secret, selection, supplement,
    tablespace,
};

/// Kinds that describe another entry's object.
const ATTACHED: [&str; 3] = ["ACL", "COMMENT", "SECURITY LABEL"];

/// Kinds that are types, or have one.
const TYPES: [&str; 7] = [
    "TYPE",
    "SHELL TYPE",
    "DOMAIN",
    "TABLE",
    "VIEW",
    "MATERIALIZED VIEW",
    "FOREIGN TABLE",
];

/// Why something of a role is left out.
pub(crate) const ABSENT: &str = "the role does not exist on the target";

/// Why somebody else has granted what a role did.
pub(crate) const ABSENT_GRANTOR: &str =
    "the target has no such role, so the owner grants in its place";

/// Why somebody else has granted what a role did that is there.
pub(crate) const CLOSED_GRANTOR: &str =
    "the target does not let the loading role act for it, so the owner grants in its place";

/// Why something that is to belong to a role is left out, or belongs to another.
pub(crate) const ABSENT_OR_CLOSED: &str =
    "the target has no such role, or does not let the loading role act for it";

/// What is foreseen of an archive.
#[derive(Debug, Clone, Default)]
pub(crate) struct Foresight {
    /// Entries that are passed over, by position, and why.
    omitted: BTreeMap<u32, Reason>,
    /// Tables whose rows could not be carried, because something they need is omitted.
    pub(crate) blocked: Vec<String>,
}

#[derive(Debug, Clone)]
struct Reason {
    text: String,
    /// The entry it comes from: itself, or one it depends on.
    root: u32,
}

impl Foresight {
    /// Looks through an archive, in the order in which it may be restored.
    pub(crate) fn of(archive: &Archive, present: &Present) -> Foresight {
        let mut foresight = Foresight::default();
        let positions = archive.positions();
        for (at, entry) in (0..).zip(archive.entries()) {
            let needs = entry.dependencies.iter();
            let needs = needs.filter_map(|id| positions.get(*id));
            // The archive does not say which server a user mapping is for, but its tag does.
            let server = |on: &&u32| {
                archive.entry(**on).is_some_and(|server| {
                    server.desc == "SERVER"
                        && entry.tag.ends_with(&format!(" SERVER {}", server.tag))
                })
            };
            let server = match entry.desc.as_str() {
                "USER MAPPING" => foresight.omitted.keys().find(server).copied(),
                _ => None,
            };
            let needs = needs.chain(server);
            // A function whose types have a transform is made without, unless it asks for it.
            let indifferent = matches!(entry.desc.as_str(), "FUNCTION" | "PROCEDURE")
                && !has(&entry.definition, &["TRANSFORM", "FOR", "TYPE"]);
            let needs = needs.filter(|on| {
                let need = archive.entry(*on);
                !(indifferent && need.is_some_and(|need| need.desc == "TRANSFORM"))
            });
            let lost = needs
                .filter_map(|on| Some((on, foresight.omitted.get(&on)?)))
                .next();
            let reason = if let Some((on, reason)) = lost {
                let text = match archive.entry(on) {
                    Some(need) => format!("it needs {}", need.subject()),
                    None => reason.text.clone(),
                };
                let attached = ATTACHED.contains(&entry.desc.as_str());
                let root = if attached { on } else { at };
                Some(Reason { text, root })
            } else {
                let needs = entry.dependencies.iter();
                let mut made = needs.filter_map(|id| positions.get(*id));
                let foreign = match entry.desc.as_str() {
                    // Owned by whoever owns one of its types.
                    "CAST" => !made
                        .filter_map(|at| archive.entry(at))
                        .any(|made| TYPES.contains(&made.desc.as_str())),
                    _ => made.next().is_none(),
                };
                let power = &present.power;
                let text = lack(&entry, present).or_else(|| {
                    let forbidden = !power.superuser;
                    let text = forbidden
                        .then(|| refusal(&entry, present, foreign))
                        .flatten();
                    text.map(str::to_owned)
                });
                text.map(|text| Reason { text, root: at })
            };
            let Some(reason) = reason else { continue };
            if entry.desc == "TABLE" {
                foresight
                    .blocked
                    .push(format!("{} ({})", entry.subject(), reason.text));
            }
            foresight.omitted.insert(at, reason);
        }
        foresight
    }

    /// Whether an entry is passed over.
    pub(crate) fn omits(&self, at: u32) -> bool {
        self.omitted.contains_key(&at)
    }

    /// All that the target will lack of the archive, owners and places included, in the order in
    /// which an administrator could make up for it.
    pub(crate) fn all(&self, archive: &Archive, present: &Present) -> Vec<Omission> {
        let mut all = present.omissions(archive, self);
        all.extend(self.omissions(archive, present));
        all.extend(self.compressions(archive, present));
        all.extend(self.grants(archive, present));
        all
    }

    /// Compression that the target does not know.
    fn compressions(&self, archive: &Archive, present: &Present) -> Vec<Omission> {
        if !present.power.lacks_lz4 {
            return Vec::new();
        }
        let entries = (0..).zip(archive.entries());
        let restored = entries.filter(|(at, _)| !self.omits(*at));
        restored
            .filter_map(|(_, entry)| compression::omission(&entry))
            .collect()
    }

    /// Privileges of roles that the target does not have.
    fn grants(&self, archive: &Archive, present: &Present) -> Vec<Omission> {
        let mut omissions = Vec::new();
        for (at, entry) in (0..).zip(archive.entries()) {
            let granting = matches!(entry.desc.as_str(), "ACL" | "DEFAULT ACL");
            if !granting || self.omits(at) || is_elsewhere(&entry) {
                continue;
            }
            let grants = Grants::of(&entry, present, |role| present.may_own(role));
            let subject = named(&entry);
            if !grants.grantees.is_empty() {
                let roles = quoted(&grants.grantees);
                let omission = Omission::new(format!("{subject} for {roles}"), ABSENT);
                omissions.push(omission.remedy(grants.lost));
            }
            if !grants.absent.is_empty() {
                omissions.push(Omission::new(
                    format!("grantor {} of {subject}", quoted(&grants.absent)),
                    ABSENT_GRANTOR,
                ));
            }
            if !grants.closed.is_empty() {
                let grantors = format!("grantor {} of {subject}", quoted(&grants.closed));
                let omission = Omission::new(grantors, CLOSED_GRANTOR);
                omissions.push(omission.remedy(grants.theirs));
            }
        }
        omissions
    }

    /// What is passed over. What describes an object is part of the object.
    fn omissions(&self, archive: &Archive, present: &Present) -> Vec<Omission> {
        let mut remedies: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (at, reason) in &self.omitted {
            let Some(entry) = archive.entry(*at) else {
                continue;
            };
            remedies
                .entry(reason.root)
                .or_default()
                .push(remedy(&entry, present));
        }
        let omission = |(at, parts): (u32, Vec<String>)| {
            let (entry, reason) = (archive.entry(at)?, self.omitted.get(&at)?);
            Some(Omission::new(named(&entry), reason.text.as_str()).remedy(parts.join("\n")))
        };
        remedies.into_iter().filter_map(omission).collect()
    }
}

/// What a migration will not carry over, as far as that can be known before it begins.
#[derive(Debug, Clone, Default)]
pub struct Foreseen {
    /// What the target will lack, in the order in which an administrator could make up for it.
    pub omissions: Vec<Omission>,
    /// Tables that cannot be created, because something they need cannot.
    pub blocked: Vec<String>,
}

/// What the target will lack of `catalog`. `anew` says that the target database will be created,
/// whether there is one of its name or not.
///
/// # Errors
///
/// Those of connecting, and kind input for an archive that cannot be read or a new name of a role
/// that nobody will create.
pub async fn foresee(conninfo: &Conninfo, catalog: &Catalog, anew: bool) -> Result<Foreseen> {
    let client = if anew {
        maintenance(conninfo).await?
    } else {
        open(conninfo, None).await?
    };
    role_map::check(&client, &catalog.selection).await?;
    let (catalog, mut omissions) = selection::apply(catalog);
    let mut present = Present {
        tablespace_map: catalog.tablespace_map.clone(),
        ..Present::foresee(&client, &catalog.roles, anew).await?
    };
    let settings = catalog.role_settings.iter();
    let settings = settings.chain(&catalog.database.settings);
    present.power.try_settings(&client, settings).await?;
    let archive = restore::read(&catalog)?;
    present.ask_providers(&client, &catalog, &archive).await?;
    let foresight = Foresight::of(&archive, &present);
    omissions.extend(Roles::of(&catalog).omissions(&present.power));
    omissions.extend(parameter::omissions(&catalog.parameter_grants, &present));
    omissions.extend(tablespace::differences(&client, &catalog, &archive).await?);
    omissions.extend(foresight.all(&archive, &present));
    omissions.extend(hidden(&archive, &catalog));
    omissions.extend(supplement::omissions(&catalog.supplements, &present.power));
    omissions.extend(selection::omissions(&catalog));
    omissions.extend(versions(&archive, &catalog, &foresight, &present.power));
    omissions.extend(large_object::omissions(&catalog, &present)?);
    let place = if anew {
        Place::coming(conninfo.dbname(), &present.power)
    } else {
        Place::read(&client).await?
    };
    omissions.extend(properties::omissions(&catalog, &place, &present)?);
    omissions.extend(tablespace::omission(&client, catalog.database_tablespace(), anew).await?);
    Ok(Foreseen {
        omissions,
        blocked: foresight.blocked,
    })
}

/// Extensions that the target does not offer in the source's version.
fn versions(
    archive: &Archive,
    catalog: &Catalog,
    foresight: &Foresight,
    power: &Power,
) -> Vec<Omission> {
    let created = (0..).zip(archive.entries());
    let created = created
        .filter(|(at, entry)| entry.desc == "EXTENSION" && !foresight.omits(*at))
        .map(|(_, entry)| entry.tag);
    let needed = catalog.needed.iter().map(|one| one.name.clone());
    let names: BTreeSet<String> = created.chain(needed).collect();
    let extensions = catalog.extensions.iter();
    extensions
        .filter(|one| names.contains(&one.name) && power.lacks_version(&one.name, &one.version))
        .map(|one| instead::other_version(&one.name, &one.version))
        .collect()
}

/// What the source does not show to a role that is no superuser, in spite of its being there.
pub(crate) fn hidden(archive: &Archive, catalog: &Catalog) -> Vec<Omission> {
    if !catalog.limited {
        return Vec::new();
    }
    let bare = archive
        .entries()
        .filter(|entry| entry.desc == "USER MAPPING" && !has(&entry.definition, &["OPTIONS", "("]));
    bare.map(|entry| {
        Omission::new(
            format!("options of {}", entry.tag),
            "the source shows them only to those who may use them, so whether there are any is \
             not known",
        )
    })
    .collect()
}

/// An entry for people, as what an omission is about.
fn named(entry: &Entry) -> String {
    match entry.desc.as_str() {
        "ACL" => format!("privileges on {}", subject(entry)),
        "COMMENT" => format!("comment on {}", subject(entry)),
        "DEFAULT ACL" => format!("{} of role {:?}", entry.tag.to_lowercase(), entry.owner),
        "PUBLICATION TABLES IN SCHEMA" => format!("schema in publication {}", entry.tag),
        _ => entry.subject(),
    }
}

/// Names of roles in a list.
pub(crate) fn quoted(roles: &BTreeSet<String>) -> String {
    let roles: Vec<String> = roles.iter().map(|role| format!("{role:?}")).collect();
    roles.join(", ")
}

/// What an ACL or a comment is on, for people.
fn subject(entry: &Entry) -> String {
    if entry.schema.is_empty() {
        entry.tag.clone()
    } else {
        format!("{} in schema {}", entry.tag, entry.schema)
    }
}

/// The statements of an entry for a superuser, without secrets.
fn remedy(entry: &Entry, present: &Present) -> String {
    if secret::holds(entry) {
        return format!("-- {} has a secret: create it by hand", entry.subject());
    }
    if is_postfix(entry, present) {
        return String::new();
    }
    let sql = match entry.desc.as_str() {
        // A superuser grants as the owner, whoever that is on the target.
        "ACL" | "DEFAULT ACL" => Grants::of(entry, present, |role| present.has_role(role)).possible,
        _ => Unit::of(entry, present).sql,
    };
    let owner = owner::alter(entry, present.power.version).unwrap_or_default();
    let owner = match entry.desc.as_str() {
        // Only a superuser owns such a thing, and an administrator may yet make this role one.
        "EVENT TRIGGER" | "FOREIGN DATA WRAPPER" if present.is_lesser(&entry.owner) => {
            owner::if_superuser(&owner, &entry.owner)
        }
        "SUBSCRIPTION"
            if present.power.version < ADMIN_OPTION && present.is_lesser(&entry.owner) =>
        {
            owner::if_superuser(&owner, &entry.owner)
        }
        _ => owner,
    };
    format!("{}\n{owner}", sql.trim_end())
}
