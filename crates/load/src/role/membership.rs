//! Memberships: who is made a member of which role, by whom, with which options.

use pghaul_stage::{Membership, Omission, Result};
use pghaul_wire::quote::ident;

use super::{Work, is_answer, is_reserved};
use crate::power::{ADMIN_OPTION, Power};

/// How the step begins that made the loading role a member of another.
pub(crate) const MEMBER: &str = "member ";

pub(super) const MAY_NOT_GRANT: &str = "the target's role may not grant this role";
pub(super) const NOT_BOTH: &str = "the target has not both roles";
pub(super) const BOTH_STAND: &str = "the target has both roles, which are left as they are";

impl Work<'_> {
    /// Makes the loading role a member of these roles, as far as it may and is none yet: it has
    /// to act for them. What is granted is recorded, and ends with `pghaul cleanup`.
    pub(super) async fn join<'s>(&self, roles: impl Iterator<Item = &'s str>) -> Result<()> {
        if self.power.superuser {
            return Ok(());
        }
        let power = Power::read(&self.client).await?;
        for role in roles {
            if is_reserved(role) || power.acts_for(role) || !power.may_grant(role) {
                continue;
            }
            let mut statement = format!("GRANT {} TO {}", ident(role), ident(&power.name));
            if power.version >= ADMIN_OPTION {
                statement += " WITH INHERIT TRUE, SET TRUE";
            }
            let step = membership_step(&power.name, role);
            if let Err(error) = self.record(&statement, &step).await {
                // What this role owns will be named.
                if !is_answer(&error) {
                    return Err(error);
                }
                tracing::debug!(%error, role, "not a member");
            }
        }
        Ok(())
    }

    pub(super) async fn grant(&self, membership: &Membership, with_grantor: bool) -> Result<()> {
        let Membership {
            role,
            member,
            grantor,
            ..
        } = membership;
        let step = format!(
            "grant {} to {} by {}",
            ident(role),
            ident(member),
            ident(grantor)
        );
        if self.done.contains(&step) {
            return Ok(());
        }
        let grant = membership_statement(membership, self.power.version >= ADMIN_OPTION);
        if with_grantor {
            let by = format!("{grant} GRANTED BY {}", ident(grantor));
            match self.record(&by, &step).await {
                Err(error) if is_answer(&error) => {}
                outcome => return outcome,
            }
        }
        match self.record(&grant, &step).await {
            Err(error) => self.pass(membership_name(membership), &grant, error),
            Ok(()) => Ok(()),
        }
    }
}

/// A membership that is not granted.
pub(super) fn outside(membership: &Membership, power: &Power, reason: &str) -> Omission {
    let omission = Omission::new(membership_name(membership), reason);
    // What a service keeps for itself nobody creates.
    let kept = |role: &str| is_reserved(role) && !power.has_role(role);
    if kept(&membership.role) || kept(&membership.member) {
        return omission;
    }
    omission.remedy(membership_statement(
        membership,
        power.version >= ADMIN_OPTION,
    ))
}

/// A membership between roles that stand on the target, if it does not stand there.
pub(super) fn lacking(membership: &Membership, power: &Power) -> Option<Omission> {
    let lacks = !power.has_membership(membership);
    lacks.then(|| outside(membership, power, BOTH_STAND))
}

/// The step that made the loading role a member; [`member_of`] reads it.
pub(super) fn membership_step(member: &str, role: &str) -> String {
    format!("{MEMBER}{}", serde_json::json!([member, role]))
}

/// Who was made a member of which role, if the step says so.
pub(crate) fn member_of(step: &str) -> Option<(String, String)> {
    serde_json::from_str(step.strip_prefix(MEMBER)?).ok()
}

pub(super) fn membership_name(membership: &Membership) -> String {
    format!(
        "membership of role {:?} in {:?}",
        membership.member, membership.role
    )
}

/// The statement that makes a role a member; the options are those of PostgreSQL 16.
///
/// Source: PostgreSQL's manual, GRANT, "GRANT on Roles".
pub(super) fn membership_statement(membership: &Membership, with_options: bool) -> String {
    let Membership {
        role,
        member,
        admin,
        inherit,
        set,
        ..
    } = membership;
    let mut statement = format!("GRANT {} TO {}", ident(role), ident(member));
    let options = [
        ("ADMIN", Some(*admin)),
        ("INHERIT", *inherit),
        ("SET", *set),
    ];
    if with_options {
        let options: Vec<String> = options
            .iter()
            .filter_map(|(name, value)| {
                Some(format!(
                    "{name} {}",
                    if (*value)? { "TRUE" } else { "FALSE" }
                ))
            })
            .collect();
        statement += &format!(" WITH {}", options.join(", "));
    } else if *admin {
        statement += " WITH ADMIN OPTION";
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_options_depend_on_the_target() {
        let membership = Membership {
            role: "r".into(),
            member: "m".into(),
            grantor: "g".into(),
            admin: true,
            inherit: Some(false),
            set: None,
        };
        assert_eq!(
            membership_statement(&membership, false),
            r#"GRANT "r" TO "m" WITH ADMIN OPTION"#
        );
        assert_eq!(
            membership_statement(&membership, true),
            r#"GRANT "r" TO "m" WITH ADMIN TRUE, INHERIT FALSE"#
        );
    }
}
