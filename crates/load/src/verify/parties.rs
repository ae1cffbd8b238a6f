//! The roles that an object has to do with: its owner, whom it is granted to, whom a policy is for.
//!
//! A server names them as JSON ([`object`](super::object)). They become words only where two sides
//! are compared, because the source's roles may have other names on the target, and then what is
//! the same, and in which order it comes, changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pghaul_stage::{Error, Kind, Result, Selection};
use serde::{Deserialize, Serialize};

/// The roles of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Parties {
    /// Who owns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// Whose own privileges are not told, where that is no property of the object itself: the
    /// owner of a column's table, or the role of default privileges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) holder: Option<String>,
    /// Privilege, grantee (`None` is everyone), and whether the grantee may grant it.
    #[serde(skip_serializing_if = "Option::is_none")]
    grants: Option<Vec<(String, Option<String>, bool)>>,
    /// Whom a policy is for; `None` is everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<Option<String>>>,
}

/// How one side's roles are put in words.
#[derive(Debug, Clone, Default)]
pub(super) struct Wording {
    /// Whether owners are compared.
    pub(super) owners: bool,
    /// Whether grants are.
    pub(super) grants: bool,
    /// The names that roles have on the target, where they are others.
    pub(super) renamed: BTreeMap<String, String>,
}

impl Wording {
    /// That of the source.
    pub(super) fn of_source(selection: &Selection, privileges: bool) -> Self {
        Self {
            renamed: selection.role_map.clone(),
            ..Self::of_target(selection, privileges)
        }
    }

    /// That of the target, whose roles have their names.
    pub(super) fn of_target(selection: &Selection, privileges: bool) -> Self {
        Self {
            owners: privileges && !selection.no_owner,
            grants: privileges && !selection.no_acl,
            renamed: BTreeMap::new(),
        }
    }

    /// Whether anything of an object's roles is compared.
    pub(super) fn has_rights(&self) -> bool {
        self.owners || self.grants
    }

    /// The name that a role has on the target.
    pub(super) fn name<'a>(&'a self, role: &'a str) -> &'a str {
        self.renamed.get(role).map_or(role, String::as_str)
    }

    /// Everyone, or a role.
    fn party<'a>(&'a self, role: Option<&'a String>) -> &'a str {
        role.map_or("public", |role| self.name(role))
    }
}

impl Parties {
    /// In words, each role by its name on the target.
    pub(super) fn words(&self, wording: &Wording) -> String {
        let mut words = Vec::new();
        if let Some(owner) = self.owner.as_ref().filter(|_| wording.owners) {
            words.push(format!("owner {}", wording.name(owner)));
        }
        // By name, because two roles may have become one.
        let holder = self.owner.as_ref().or(self.holder.as_ref());
        let holder = holder.map(|role| wording.name(role));
        let grants = self.grants.iter().flatten().filter(|_| wording.grants);
        let grants: BTreeSet<String> = grants
            .filter(|(_, to, _)| to.is_none() || Some(wording.party(to.as_ref())) != holder)
            .map(|(privilege, to, grantable)| {
                let option = if *grantable { " with grant option" } else { "" };
                format!("{privilege} to {}{option}", wording.party(to.as_ref()))
            })
            .collect();
        if !grants.is_empty() {
            words.push(format!("grants {}", joined(&grants)));
        }
        if let Some(roles) = &self.roles {
            let roles = roles.iter().map(|role| wording.party(role.as_ref()));
            words.push(format!("to {}", joined(&roles.collect())));
        }
        words.join("; ")
    }
}

fn joined<T: AsRef<str>>(items: &BTreeSet<T>) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    items.join(", ")
}

/// The parties of many objects, each kept once: a database of a million objects has few. An object
/// has the number of its own; without any it is 0.
#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    all: Vec<Parties>,
    numbers: HashMap<Box<str>, u32>,
}

impl Directory {
    /// The parties that were recorded.
    pub(super) fn of(all: Vec<Parties>) -> Self {
        Self {
            all,
            numbers: HashMap::new(),
        }
    }

    /// The number of what a server said.
    pub(super) fn number(&mut self, json: Option<&str>) -> Result<u32> {
        let Some(json) = json else {
            return Ok(0);
        };
        if let Some(number) = self.numbers.get(json) {
            return Ok(*number);
        }
        self.all.push(parse(json)?);
        let number = u32::try_from(self.all.len()).unwrap_or_default();
        self.numbers.insert(json.into(), number);
        Ok(number)
    }

    /// The parties of this number; none have 0.
    pub(super) fn get(&self, number: u32) -> Option<&Parties> {
        let place = usize::try_from(number).ok()?.checked_sub(1)?;
        self.all.get(place)
    }

    /// All of them, in the order of their numbers.
    pub(super) fn all(&self) -> &[Parties] {
        &self.all
    }
}

/// What a server said of one object's roles.
pub(super) fn parse(json: &str) -> Result<Parties> {
    serde_json::from_str(json).map_err(|error| {
        Error::new(
            Kind::Protocol,
            "the server answered a catalog query with roles that are none",
        )
        .because(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_that_become_one_share_their_grants() {
        let parties = parse(
            r#"{"owner": "a", "grants": [["SELECT", "c", false], ["SELECT", "b", false],
                ["UPDATE", "a2", true], ["USAGE", null, false], ["DELETE", "d", true]]}"#,
        )
        .unwrap();
        let renamed = [("a", "x"), ("a2", "x"), ("b", "y"), ("c", "y")];
        let wording = Wording {
            owners: true,
            grants: true,
            renamed: renamed.map(|(a, b)| (a.into(), b.into())).into(),
        };
        assert_eq!(
            parties.words(&wording),
            "owner x; grants DELETE to d with grant option, SELECT to y, USAGE to public"
        );
        let none = Wording::default();
        assert_eq!(parties.words(&none), "");
        let policy = parse(r#"{"roles": ["c", null, "b"]}"#).unwrap();
        assert_eq!(policy.words(&wording), "to public, y");
    }
}
