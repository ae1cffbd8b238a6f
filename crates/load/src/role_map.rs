//! Gives roles other names on the target, wherever a name of one stands in the schema.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};

use pghaul_stage::{Catalog, Error, Result, Selection, Side};
use pghaul_wire::{Client, quote};

use crate::archive::Entry;
use crate::properties;
use crate::statement::tokens;

/// How the name of a role begins a password's hash that no other role can use.
const MD5: &str = "md5";

/// Refuses new names of roles that nobody will create.
///
/// # Errors
///
/// Kind input, naming the roles.
pub(crate) async fn check(client: &Client, selection: &Selection) -> Result<()> {
    if !selection.no_roles || selection.role_map.is_empty() {
        return Ok(());
    }
    let there = properties::roles(client).await?;
    let mut missing: Vec<String> = selection
        .role_map
        .values()
        .filter(|new| !there.contains(*new))
        .map(|new| format!("{new:?}"))
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::input(format!(
        "the target has no role {}, which --role-map names and --no-roles does not create",
        missing.join(", ")
    ))
    .at(Side::Target)
    .remedy("create it (CREATE ROLE), name another, or leave --no-roles out"))
}

/// Renames the roles of an entry: its owner, and those that its statements name.
pub(crate) fn rename(entry: &mut Entry, selection: &Selection) {
    if selection.role_map.is_empty() {
        return;
    }
    selection
        .role(&entry.owner)
        .to_owned()
        .clone_into(&mut entry.owner);
    entry.definition = replace(&entry.definition, before(&entry.desc), |name| {
        let renamed = selection.role_map.get(name);
        renamed.map(String::as_str)
    });
}

/// The words after which statements of such an entry have the names of roles; no unquoted name
/// can be one of them.
fn before(desc: &str) -> &'static [&'static str] {
    match desc {
        "ACL" => &["TO", "FROM", "AUTHORIZATION"],
        "DEFAULT ACL" => &["TO", "FROM", "ROLE", "AUTHORIZATION"],
        "POLICY" => &["TO"],
        "USER MAPPING" => &["FOR"],
        _ => &[],
    }
}

/// The roles that a statement of such an entry names.
pub(crate) fn roles(desc: &str, text: &str) -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::new());
    replace(text, before(desc), |name| {
        names.borrow_mut().insert(name.to_owned());
        None
    });
    names.into_inner()
}

/// Replaces roles in the lists of names that follow one of these words outside of parentheses.
fn replace<'n>(text: &str, before: &[&str], renamed: impl Fn(&str) -> Option<&'n str>) -> String {
    if before.is_empty() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let (mut depth, mut expected) = (0usize, false);
    for (_, token) in tokens(text) {
        let blank = token.trim().is_empty() || token.starts_with("--") || token.starts_with("/*");
        if blank {
            out.push_str(token);
            continue;
        }
        match token {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let name = expected.then(|| identifier(token)).flatten();
        // Names of a list are separated by commas.
        expected = depth == 0
            && (before.iter().any(|word| token.eq_ignore_ascii_case(word))
                || token == "," && out_ends_a_list(&out, before));
        match name.as_deref().and_then(&renamed) {
            Some(new) => out.push_str(&quote::ident(new)),
            None => out.push_str(token),
        }
    }
    out
}

/// Whether a comma here goes on with names after one of the words: since the last such word of
/// this statement only names with commas between them came.
fn out_ends_a_list(out: &str, before: &[&str]) -> bool {
    let (mut inside, mut after_name) = (false, false);
    for (_, token) in tokens(out) {
        if token.trim().is_empty() {
            continue;
        }
        let name = identifier(token).is_some();
        if before.iter().any(|word| token.eq_ignore_ascii_case(word)) {
            (inside, after_name) = (true, false);
        } else {
            inside &= if after_name { token == "," } else { name };
            after_name = name;
        }
    }
    inside
}

/// The name that a token is, if it is one; PUBLIC is none when it is not quoted.
pub(crate) fn identifier(token: &str) -> Option<String> {
    if let Some(quoted) = token.strip_prefix('"') {
        return Some(quoted.strip_suffix('"')?.replace("\"\"", "\""));
    }
    let first = token.chars().next()?;
    let word = first.is_alphabetic() || first == '_' || !first.is_ascii();
    let name = token.to_ascii_lowercase();
    let keyword = [
        "public",
        "current_user",
        "session_user",
        "current_role",
        "group",
    ];
    (word && !keyword.contains(&name.as_str())).then_some(name)
}

/// Renames the roles of a catalog: their own definitions, memberships, settings, and what the
/// database says of them. Returns the roles that lose their password, because its hash holds
/// their name.
pub(crate) fn rename_all(catalog: &mut Catalog) -> Vec<String> {
    let selection = catalog.selection.clone();
    let role = |name: &mut String| *name = selection.role(name).to_owned();
    let mut lost = Vec::new();
    let kept: HashSet<String> = catalog
        .roles
        .iter()
        .filter(|role| !selection.role_map.contains_key(&role.name))
        .map(|role| role.name.clone())
        .collect();
    // Several roles may become one; that which has the name already comes first.
    let mut seen = kept;
    catalog.roles.retain_mut(|one| {
        let Some(new) = selection.role_map.get(&one.name) else {
            return true;
        };
        if !seen.insert(new.clone()) {
            return false;
        }
        use secrecy::ExposeSecret;
        let bound = one.password.as_ref();
        if bound.is_some_and(|password| password.expose_secret().starts_with(MD5)) {
            one.password = None;
            lost.push(new.clone());
        }
        one.name.clone_from(new);
        true
    });
    for membership in &mut catalog.memberships {
        role(&mut membership.role);
        role(&mut membership.member);
        role(&mut membership.grantor);
    }
    catalog.memberships.retain(|one| one.role != one.member);
    for grant in &mut catalog.parameter_grants {
        let names = grant.grantee.iter_mut().chain(&mut grant.grantor);
        names.for_each(role);
    }
    let database = &mut catalog.database;
    role(&mut database.owner);
    let settings = catalog.role_settings.iter_mut();
    for setting in settings.chain(&mut database.settings) {
        if let Some(name) = &mut setting.role {
            role(name);
        }
    }
    for home in &mut catalog.homes {
        role(&mut home.owner);
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection() -> Selection {
        let map = [("old", "new"), ("O\"d", "N w")];
        Selection {
            role_map: map.map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
            ..Selection::default()
        }
    }

    fn renamed(desc: &str, definition: &str) -> String {
        let mut entry = Entry {
            desc: desc.into(),
            definition: definition.into(),
            owner: "old".into(),
            ..Entry::default()
        };
        rename(&mut entry, &selection());
        assert_eq!(entry.owner, "new");
        entry.definition
    }

    #[test]
    fn roles_are_replaced_where_roles_stand() {
        let cases = [
            (
                "ACL",
                "GRANT SELECT(old) ON TABLE old.old TO old;\nREVOKE ALL ON TABLE old.\"TO\" FROM \"O\"\"d\";",
                "GRANT SELECT(old) ON TABLE old.old TO \"new\";\nREVOKE ALL ON TABLE old.\"TO\" FROM \"N w\";",
            ),
            (
                "ACL",
                "SET SESSION AUTHORIZATION old;\nGRANT ALL ON TABLE old.t TO PUBLIC;\nRESET SESSION AUTHORIZATION;",
                "SET SESSION AUTHORIZATION \"new\";\nGRANT ALL ON TABLE old.t TO PUBLIC;\nRESET SESSION AUTHORIZATION;",
            ),
            (
                "DEFAULT ACL",
                "ALTER DEFAULT PRIVILEGES FOR ROLE old IN SCHEMA old GRANT SELECT ON TABLES TO old;",
                "ALTER DEFAULT PRIVILEGES FOR ROLE \"new\" IN SCHEMA old GRANT SELECT ON TABLES TO \"new\";",
            ),
            (
                "DEFAULT ACL",
                "ALTER DEFAULT PRIVILEGES FOR ROLE old GRANT old,old ON TABLES TO old WITH GRANT OPTION;",
                "ALTER DEFAULT PRIVILEGES FOR ROLE \"new\" GRANT old,old ON TABLES TO \"new\" WITH GRANT OPTION;",
            ),
            (
                "POLICY",
                "CREATE POLICY old ON old.old FOR SELECT TO other, old, \"O\"\"d\" USING ((a, old) = ('TO old', old));",
                "CREATE POLICY old ON old.old FOR SELECT TO other, \"new\", \"N w\" USING ((a, old) = ('TO old', old));",
            ),
            (
                "USER MAPPING",
                "CREATE USER MAPPING FOR old SERVER old OPTIONS (\n    old 'old'\n);",
                "CREATE USER MAPPING FOR \"new\" SERVER old OPTIONS (\n    old 'old'\n);",
            ),
            (
                "TABLE",
                "CREATE TABLE old.old (a text DEFAULT 'TO old');",
                "CREATE TABLE old.old (a text DEFAULT 'TO old');",
            ),
        ];
        for (desc, before, after) in cases {
            assert_eq!(renamed(desc, before), after);
        }
    }

    #[test]
    fn public_is_a_role_only_in_quotes() {
        assert_eq!(identifier("PUBLIC"), None);
        assert_eq!(identifier("\"public\"").as_deref(), Some("public"));
    }
}
