//! Which objects of one side are compared, and which of their properties.

use std::collections::BTreeMap;

use pghaul_stage::Selection;
use pghaul_wire::{Chosen, quote};

/// One side as it is compared.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// The selection as this side has it.
    pub(super) chosen: &'a Chosen,
    /// Whether owners are compared.
    pub(super) owners: bool,
    /// Whether grants and default privileges are.
    pub(super) grants: bool,
    /// Whether comments are.
    pub(super) comments: bool,
    /// The names that roles have on the target.
    pub(super) roles: RoleNames,
}

/// The names that one side's roles have on the target, where they are others.
#[derive(Debug, Clone, Default)]
pub(super) struct RoleNames(BTreeMap<String, String>);

impl<'a> View<'a> {
    /// The source, whose roles may have other names on the target.
    pub(super) fn of_source(chosen: &'a Chosen, selection: &Selection, privileges: bool) -> Self {
        Self {
            roles: RoleNames(selection.role_map.clone()),
            ..Self::of_target(chosen, selection, privileges)
        }
    }

    /// The target.
    pub(super) fn of_target(chosen: &'a Chosen, selection: &Selection, privileges: bool) -> Self {
        Self {
            chosen,
            owners: privileges && !selection.no_owner,
            grants: privileges && !selection.no_acl,
            comments: !selection.no_comments,
            roles: RoleNames::default(),
        }
    }
}

impl RoleNames {
    /// The name that the role of this object identifier has on the target.
    pub(super) fn of(&self, oid: &str) -> String {
        let name = format!("pg_get_userbyid({oid})::text");
        if self.0.is_empty() {
            return name;
        }
        let renamed = self.0.iter();
        let cases: Vec<String> = renamed
            .map(|(old, new)| format!("WHEN {} THEN {}", quote::literal(old), quote::literal(new)))
            .collect();
        format!("CASE {name} {} ELSE {name} END", cases.join(" "))
    }
}
