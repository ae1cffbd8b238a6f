//! What a role is: the statements that say so, what it is created without, and in what it differs.

use pghaul_stage::{Omission, Role, SecurityLabel, Setting};
use pghaul_wire::quote::{ident, literal};
use pghaul_wire::security_label;

use crate::power::Power;
use crate::setting::assignment;

/// The statement that creates a role; `given` are the attributes it has of those that not
/// everybody may give.
///
/// Source: PostgreSQL's manual, CREATE ROLE.
pub(super) fn definition(role: &Role, given: &[&str], password: Option<&str>) -> String {
    let mut statement = format!("CREATE ROLE {}", ident(&role.name));
    if !role.inherit {
        statement += " NOINHERIT";
    }
    if role.login {
        statement += " LOGIN";
    }
    for keyword in given {
        statement += &format!(" {keyword}");
    }
    if role.connection_limit >= 0 {
        statement += &format!(" CONNECTION LIMIT {}", role.connection_limit);
    }
    if let Some(until) = &role.valid_until {
        statement += &format!(" VALID UNTIL {}", literal(until));
    }
    if let Some(password) = password {
        statement += &format!(" PASSWORD {}", literal(password));
    }
    statement
}

/// The attributes of a role that the loading role may not give.
pub(super) fn denied(role: &Role, power: &Power) -> Vec<&'static str> {
    let mut denied = privileges(role);
    denied.retain(|attribute| !power.may_give(attribute));
    denied
}

/// A role that is not created, and its labels.
pub(super) fn without<'a>(role: &'a Role, reason: &'a str) -> impl Iterator<Item = Omission> + 'a {
    let omission = Omission::new(format!("role {:?}", role.name), reason);
    let omission = omission.remedy(definition(role, &privileges(role), None));
    let labels = role.labels.iter();
    std::iter::once(omission).chain(labels.map(move |label| lost(role, label, reason)))
}

/// The attributes that a role is created without.
pub(super) fn lesser(role: &Role, denied: &[&str], reason: &str) -> Option<Omission> {
    let what = format!("{} of role {:?}", denied.join(", "), role.name);
    let remedy = format!("ALTER ROLE {} {}", ident(&role.name), denied.join(" "));
    (!denied.is_empty()).then(|| Omission::new(what, reason).remedy(remedy))
}

/// The password that a role is created without.
pub(super) fn password(role: &Role) -> Option<Omission> {
    let reason = if role.password_withheld {
        "a spool has no passwords unless it is encrypted and `pghaul extract` is given \
         --role-passwords"
    } else if role.login && !role.password_readable {
        "the source does not show passwords to the role that reads it"
    } else {
        return None;
    };
    let object = format!("password of role {:?}", role.name);
    Some(Omission::new(object, reason))
}

/// A setting that a role is created without.
pub(super) fn unset(role: &Role, setting: &Setting, power: &Power) -> Option<Omission> {
    let reason = power.refuses_setting(setting)?;
    let omission = Omission::new(setting_name(role, setting), reason);
    Some(omission.remedy(assign(role, setting)))
}

/// A label that a role is created without.
pub(super) fn unlabelled(role: &Role, label: &SecurityLabel, power: &Power) -> Option<Omission> {
    let reason = power.lacks_provider(&label.provider)?;
    Some(lost(role, label, &reason))
}

/// Labels that a role does not get because it is there already.
pub(super) fn apart<'a>(role: &'a Role, power: &'a Power) -> impl Iterator<Item = Omission> + 'a {
    let labels = role.labels.iter();
    let labels = labels.filter(|label| !power.has_label(&role.name, label));
    labels.map(|label| {
        lost(
            role,
            label,
            "the role exists on the target and is left as it is",
        )
    })
}

fn lost(role: &Role, label: &SecurityLabel, reason: &str) -> Omission {
    let statement = security_label::of_role(&role.name, label);
    Omission::new(label_name(role, label), reason).remedy(statement)
}

pub(super) fn label_name(role: &Role, label: &SecurityLabel) -> String {
    format!(
        "security label of role {:?} for {}",
        role.name, label.provider
    )
}

pub(super) fn setting_name(role: &Role, setting: &Setting) -> String {
    format!("setting {} of role {:?}", setting.name, role.name)
}

pub(super) fn assign(role: &Role, setting: &Setting) -> String {
    let assignment = assignment(&setting.name, &setting.value);
    format!("ALTER ROLE {} SET {assignment}", ident(&role.name))
}

/// The attributes of a role that not everybody who may create roles may give.
pub(super) fn privileges(role: &Role) -> Vec<&'static str> {
    let attributes = [
        (role.superuser, "SUPERUSER"),
        (role.create_role, "CREATEROLE"),
        (role.create_db, "CREATEDB"),
        (role.replication, "REPLICATION"),
        (role.bypass_rls, "BYPASSRLS"),
    ];
    let given = attributes.into_iter();
    given
        .filter_map(|(given, name)| given.then_some(name))
        .collect()
}

/// The attributes in which two roles differ.
pub(super) fn differences(wanted: &Role, there: &Role) -> Vec<&'static str> {
    let attributes = [
        (wanted.superuser != there.superuser, "SUPERUSER"),
        (wanted.inherit != there.inherit, "INHERIT"),
        (wanted.create_role != there.create_role, "CREATEROLE"),
        (wanted.create_db != there.create_db, "CREATEDB"),
        (wanted.login != there.login, "LOGIN"),
        (wanted.replication != there.replication, "REPLICATION"),
        (wanted.bypass_rls != there.bypass_rls, "BYPASSRLS"),
        (
            wanted.connection_limit != there.connection_limit,
            "CONNECTION LIMIT",
        ),
        (wanted.valid_until != there.valid_until, "VALID UNTIL"),
        (wanted.comment != there.comment, "comment"),
    ];
    attributes
        .into_iter()
        .filter_map(|(differs, name)| differs.then_some(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role() -> Role {
        Role {
            name: "a\"b".into(),
            superuser: true,
            login: true,
            connection_limit: 3,
            valid_until: Some("2030-01-01 00:00:00+00".into()),
            ..Role::default()
        }
    }

    #[test]
    fn a_role_is_created_with_its_attributes() {
        assert_eq!(
            definition(&role(), &privileges(&role()), Some("SCRAM-SHA-256$x'y")),
            "CREATE ROLE \"a\"\"b\" NOINHERIT LOGIN SUPERUSER CONNECTION LIMIT 3 \
             VALID UNTIL '2030-01-01 00:00:00+00' PASSWORD 'SCRAM-SHA-256$x''y'"
        );
        assert!(!definition(&role(), &[], None).contains("SUPERUSER"));
    }

    #[test]
    fn differences_are_named() {
        let other = Role {
            login: false,
            connection_limit: -1,
            ..role()
        };
        assert_eq!(differences(&role(), &other), ["LOGIN", "CONNECTION LIMIT"]);
        assert!(differences(&role(), &role()).is_empty());
    }
}
