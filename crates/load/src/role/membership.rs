//! Memberships: who is made a member of which role, by whom, with which options.

use std::collections::{HashMap, HashSet};

use pghaul_stage::{Membership, Omission, Result};
use pghaul_wire::quote::ident;
use tokio_postgres::Row;

use super::{Work, is_answer, is_reserved};
use crate::power::{ADMIN_OPTION, Power};
use crate::session::failed;

/// How the step begins that made the loading role a member of another.
pub(crate) const MEMBER: &str = "member ";

pub(super) const MAY_NOT_GRANT: &str = "the target's role may not grant this role";
pub(super) const NOT_BOTH: &str = "the target has not both roles";
pub(super) const BOTH_STAND: &str = "the target has both roles, which are left as they are";

impl Work<'_> {
    /// Makes the loading role a member of these roles, as far as it may and is none yet: it has
    /// to act for them. What is granted is recorded, and ends with `pghaul cleanup`, or becomes what
    /// the source has: until then the loading role needs all of it. `made` are those that the
    /// migration has created.
    pub(super) async fn join<'s>(
        &self,
        roles: impl Iterator<Item = &'s str>,
        made: &HashSet<&str>,
        memberships: &[Membership],
    ) -> Result<()> {
        if self.power.superuser {
            return Ok(());
        }
        let power = Power::read(&self.client).await?;
        let own = self.client.query(OWN, &[]).await.map_err(failed)?;
        let own: HashMap<&str, Left> = own
            .iter()
            .map(|row| (row.get(0), Left::of_row(row)))
            .collect();
        for role in roles {
            let of_source = made
                .contains(role)
                .then(|| Left::of(memberships, role, &power.name));
            let of_source = of_source.flatten();
            let acts = power.acts_for(role);
            if is_reserved(role) || acts && of_source.is_none() || !power.may_grant(role) {
                continue;
            }
            let before = own.get(role).copied();
            if power.version < ADMIN_OPTION && before.is_some() {
                continue;
            }
            let left = of_source
                .or(before)
                .map(|left| left.statement(role, &power.name, power.version));
            let mut statement = format!("GRANT {} TO {}", ident(role), ident(&power.name));
            if power.version >= ADMIN_OPTION {
                statement += " WITH INHERIT TRUE, SET TRUE";
            }
            let statement = if acts { String::new() } else { statement };
            let step = membership_step(&power.name, role, left.as_deref());
            if self.done.contains(&step) {
                continue;
            }
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

/// The memberships of the loading role that it may change: from version 16 on, a superuser's grants
/// are others than its own.
const OWN: &str = "SELECT r.rolname::text,
        pg_catalog.bool_or((pg_catalog.to_jsonb(m) ->> 'inherit_option')::bool),
        pg_catalog.bool_or((pg_catalog.to_jsonb(m) ->> 'set_option')::bool)
    FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS r ON r.oid = m.roleid
    JOIN pg_catalog.pg_roles AS u ON u.oid = m.member
    LEFT JOIN pg_catalog.pg_roles AS g ON g.oid = m.grantor
    WHERE u.rolname = CURRENT_USER
      AND (pg_catalog.current_setting('server_version_num')::int < 160000 OR NOT g.rolsuper)
    GROUP BY 1";

/// What the loading role is left with of a membership that it has for the migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    admin: bool,
    inherit: bool,
    set: bool,
}

impl Left {
    /// What it has on the source; `None` for nothing. Whoever creates a role has the right to grant
    /// it from version 16 on, and cannot be given that.
    fn of(memberships: &[Membership], role: &str, member: &str) -> Option<Left> {
        let own = memberships.iter();
        let own: Vec<&Membership> = own
            .filter(|one| one.role == role && one.member == member)
            .collect();
        let has = |option: fn(&Membership) -> Option<bool>| {
            own.iter().any(|one| option(one).unwrap_or(true))
        };
        let left = Left {
            admin: own.iter().any(|one| one.admin),
            inherit: has(|one| one.inherit),
            set: has(|one| one.set),
        };
        (left.inherit || left.set).then_some(left)
    }

    /// What it had before.
    fn of_row(row: &Row) -> Left {
        Left {
            admin: false,
            inherit: row.get::<_, Option<bool>>(1).unwrap_or(true),
            set: row.get::<_, Option<bool>>(2).unwrap_or(true),
        }
    }

    fn statement(self, role: &str, member: &str, version: u32) -> String {
        let mut statement = format!("GRANT {} TO {}", ident(role), ident(member));
        if version >= ADMIN_OPTION {
            let word = |value| if value { "TRUE" } else { "FALSE" };
            let (inherit, set) = (word(self.inherit), word(self.set));
            statement += &format!(" WITH INHERIT {inherit}, SET {set}");
        } else if self.admin {
            statement += " WITH ADMIN OPTION";
        }
        statement
    }
}

/// The step that made the loading role a member; [`Joined`] reads it.
pub(super) fn membership_step(member: &str, role: &str, left: Option<&str>) -> String {
    let parts: Vec<&str> = [member, role].into_iter().chain(left).collect();
    format!("{MEMBER}{}", serde_json::json!(parts))
}

/// A membership of the loading role that is for the migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Who was made a member.
    pub(crate) member: String,
    /// Of which role.
    pub(crate) role: String,
    /// The statement that makes it the source's, if the source has it.
    pub(crate) left: Option<String>,
}

impl Joined {
    /// Reads a step, if it is one.
    pub(crate) fn of(step: &str) -> Option<Joined> {
        let parts: Vec<String> = serde_json::from_str(step.strip_prefix(MEMBER)?).ok()?;
        let mut parts = parts.into_iter();
        Some(Joined {
            member: parts.next()?,
            role: parts.next()?,
            left: parts.next(),
        })
    }
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

    fn of_me(inherit: Option<bool>, set: Option<bool>) -> Membership {
        Membership {
            role: "r".into(),
            member: "me".into(),
            grantor: "g".into(),
            admin: true,
            inherit,
            set,
        }
    }

    #[test]
    fn the_loading_role_is_left_what_it_has_on_the_source() {
        let of = |memberships: &[Membership], version| {
            let left = Left::of(memberships, "r", "me");
            left.map(|left| left.statement("r", "me", version))
        };
        let created = of_me(Some(false), Some(false));
        assert_eq!(of(&[], 160_000), None);
        assert_eq!(of(std::slice::from_ref(&created), 160_000), None);
        let both = [created, of_me(Some(false), Some(true))];
        assert_eq!(
            of(&both, 160_000).as_deref(),
            Some(r#"GRANT "r" TO "me" WITH INHERIT FALSE, SET TRUE"#)
        );
        assert_eq!(
            of(&[of_me(None, None)], 150_000).as_deref(),
            Some(r#"GRANT "r" TO "me" WITH ADMIN OPTION"#)
        );
    }

    #[test]
    fn a_step_tells_who_joined_what() {
        for left in [None, Some("GRANT \"r\" TO \"a \\\"b\"")] {
            let step = membership_step("a \"b", "r", left);
            let joined = Joined {
                member: "a \"b".into(),
                role: "r".into(),
                left: left.map(Into::into),
            };
            assert_eq!(Joined::of(&step), Some(joined));
        }
        assert_eq!(Joined::of("role r"), None);
    }

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
