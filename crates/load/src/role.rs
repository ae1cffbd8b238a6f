//! Creates the roles that the target lacks, with their memberships and settings.
//!
//! Roles belong to the server, not to the database: those that exist are left alone, and what
//! the loading role may not do becomes an omission, because a migration can go on without it.

mod definition;
mod membership;
mod reserved;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pghaul_stage::{
    Catalog, Error, Event, Membership, Observer, Omission, Result, Role, Setting, Severity,
};
use pghaul_wire::quote::{ident, literal};
use pghaul_wire::{Client, security_label};
use secrecy::ExposeSecret;
use tokio_postgres::Row;

use crate::ledger::Ledger;
use crate::power::Power;
use crate::session::failed;
use crate::setting::assignment;
use crate::steps::Steps;

pub(crate) use membership::{Joined, MEMBER};
pub(crate) use reserved::is_reserved;

use definition::{
    apart, assign, definition, denied, differences, label_name, lesser, password, privileges,
    setting_name, unlabelled, unset, without,
};
use membership::{MAY_NOT_GRANT, NOT_BOTH, lacking, outside};

const MAY_NOT_CREATE: &str = "the target's role may not create roles";
const MAY_NOT_GIVE: &str = "the target's role may not give these attributes";

/// The roles that stand.
const PRESENT: &str = "SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb,
        rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil::text,
        pg_catalog.shobj_description(oid, 'pg_authid'), coalesce(rolconfig, '{}')
    FROM pg_catalog.pg_roles";

/// What a source says of roles.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roles {
    roles: Vec<Role>,
    memberships: Vec<Membership>,
    settings: Vec<Setting>,
}

impl Roles {
    /// Takes what a catalog says.
    pub(crate) fn of(catalog: &Catalog) -> Roles {
        Roles {
            roles: catalog.roles.clone(),
            memberships: catalog.memberships.clone(),
            settings: catalog.role_settings.clone(),
        }
    }

    /// What creating them will leave out, in the order in which to make up for it.
    pub(crate) fn omissions(&self, power: &Power) -> Vec<Omission> {
        let mut omissions = Vec::new();
        let missing = |name: &str| !power.has_role(name) && !is_reserved(name);
        for role in self.roles.iter().filter(|role| missing(&role.name)) {
            if !power.may_create_role(&role.name) {
                omissions.extend(without(role, MAY_NOT_CREATE));
                continue;
            }
            omissions.extend(password(role));
            omissions.extend(lesser(role, &denied(role, power), MAY_NOT_GIVE));
            let settings = self.settings_of(&role.name);
            omissions.extend(settings.filter_map(|setting| unset(role, setting, power)));
            let labels = role.labels.iter();
            omissions.extend(labels.filter_map(|label| unlabelled(role, label, power)));
        }
        let standing = self.roles.iter().filter(|role| power.has_role(&role.name));
        omissions.extend(standing.flat_map(|role| apart(role, power)));
        let there = |name: &str| power.has_role(name) || power.may_create_role(name);
        for membership in &self.memberships {
            let (role, member) = (membership.role.as_str(), membership.member.as_str());
            if !missing(role) && !missing(member) {
                omissions.extend(lacking(membership, power));
            } else if !there(role) || !there(member) {
                omissions.push(outside(membership, power, NOT_BOTH));
            } else if !power.will_grant(role) {
                omissions.push(outside(membership, power, MAY_NOT_GRANT));
            }
        }
        omissions.extend(self.defaults(power));
        omissions.into_iter().map(Omission::of_server).collect()
    }

    /// What is set for every role in every database, and is not on the target, where it would
    /// hold in databases that have nothing to do with the source's.
    fn defaults<'a>(&'a self, power: &'a Power) -> impl Iterator<Item = Omission> {
        let settings = self.settings.iter();
        let settings = settings.filter(|one| one.role.is_none() && !power.has_default(one));
        settings.map(|setting| {
            let assignment = assignment(&setting.name, &setting.value);
            Omission::new(
                format!("setting {} of all roles", setting.name),
                "it would hold in every database of the target's server",
            )
            .remedy(format!("ALTER ROLE ALL SET {assignment}"))
        })
    }

    fn settings_of<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a Setting> {
        let settings = self.settings.iter();
        settings.filter(move |setting| setting.role.as_deref() == Some(role))
    }

    /// Creates what is missing. Harmless when done before.
    pub(crate) async fn create(&self, ledger: &Ledger, observer: &dyn Observer) -> Result<()> {
        let client = ledger.session().await?;
        let mut power = Power::read(&client).await?;
        let labels = self.roles.iter().flat_map(|role| &role.labels);
        let providers = labels.map(|label| label.provider.as_str()).collect();
        power.try_providers(&client, providers).await?;
        let done = ledger.steps().await?;
        let work = Work {
            client,
            ledger,
            observer,
            power,
            done,
        };
        let present = work.present().await?;
        let mut made: HashSet<&str> = HashSet::new();
        let mut skipped: BTreeSet<&str> = BTreeSet::new();
        for role in &self.roles {
            let name = role.name.as_str();
            match present.get(name) {
                _ if work.done.contains(&step(name)) => {
                    made.insert(name);
                    work.tell_lesser(role);
                }
                Some(there) => work.compare(role, self.settings_of(name), there),
                None if is_reserved(name) => drop(skipped.insert(name)),
                None => {
                    if work.create(role).await? {
                        made.insert(name);
                    }
                }
            }
        }
        if !skipped.is_empty() {
            let names = join(&skipped);
            work.note(&format!("reserved roles are not created: {names}"));
        }
        for role in self
            .roles
            .iter()
            .filter(|role| made.contains(role.name.as_str()))
        {
            work.describe(role, self.settings_of(&role.name)).await?;
        }
        let names = self.roles.iter().map(|role| role.name.as_str());
        work.join(names, &made, &self.memberships).await?;
        let there: HashSet<&str> = present
            .keys()
            .map(String::as_str)
            .chain(made.iter().copied())
            .collect();
        // Those who may grant a role on come before those to whom they grant it.
        let (admins, others): (Vec<_>, Vec<_>) = self
            .memberships
            .iter()
            .partition(|membership| membership.admin);
        for membership in admins.into_iter().chain(others) {
            let (role, member) = (membership.role.as_str(), membership.member.as_str());
            if made.contains(role) || made.contains(member) {
                if !there.contains(role) || !there.contains(member) {
                    work.omit(outside(membership, &work.power, NOT_BOTH));
                } else if member == work.power.name && !work.power.superuser {
                    // It has joined, and is left with this at the end.
                } else if !work.power.will_grant(role) {
                    work.omit(outside(membership, &work.power, MAY_NOT_GRANT));
                } else {
                    let grantor = there.contains(membership.grantor.as_str());
                    work.grant(membership, grantor).await?;
                }
            } else if there.contains(role) && there.contains(member) {
                let lacking = lacking(membership, &work.power);
                lacking.into_iter().for_each(|omission| work.omit(omission));
            }
        }
        self.defaults(&work.power)
            .for_each(|omission| work.omit(omission));
        Ok(())
    }
}

struct Work<'a> {
    client: Client,
    ledger: &'a Ledger,
    observer: &'a dyn Observer,
    power: Power,
    done: Steps,
}

impl Work<'_> {
    /// The target's roles, with what is set for them.
    async fn present(&self) -> Result<BTreeMap<String, (Role, Vec<String>)>> {
        let rows = self.client.query(PRESENT, &[]).await.map_err(failed)?;
        let role = |row: &Row| Role {
            name: row.get(0),
            superuser: row.get(1),
            inherit: row.get(2),
            create_role: row.get(3),
            create_db: row.get(4),
            login: row.get(5),
            replication: row.get(6),
            bypass_rls: row.get(7),
            connection_limit: row.get(8),
            valid_until: row.get(9),
            comment: row.get(10),
            ..Role::default()
        };
        let roles = rows
            .iter()
            .map(|row| (row.get(0), (role(row), row.get(11))));
        Ok(roles.collect())
    }

    fn compare<'s>(
        &self,
        wanted: &Role,
        settings: impl Iterator<Item = &'s Setting>,
        (there, set): &(Role, Vec<String>),
    ) {
        let mut differences = differences(wanted, there);
        let wanted_set: BTreeSet<String> = settings
            .map(|setting| format!("{}={}", setting.name, setting.value))
            .collect();
        if wanted_set != set.iter().cloned().collect() {
            differences.push("settings");
        }
        apart(wanted, &self.power).for_each(|omission| self.omit(omission));
        if !differences.is_empty() {
            self.note(&format!(
                "role {:?} exists on the target and is left as it is; it differs in {}",
                wanted.name,
                differences.join(", ")
            ));
        }
    }

    /// Creates a role, if need be with fewer attributes; says whether it is there now.
    async fn create(&self, role: &Role) -> Result<bool> {
        if !self.power.may_create_role(&role.name) {
            without(role, MAY_NOT_CREATE).for_each(|omission| self.omit(omission));
            return Ok(false);
        }
        let name = ident(&role.name);
        let secret = role.password.as_ref();
        let secret = secret.map(|password| password.expose_secret());
        let step = step(&role.name);
        let denied = denied(role, &self.power);
        let mut given = privileges(role);
        given.retain(|attribute| !denied.contains(attribute));
        match self.record(&definition(role, &given, secret), &step).await {
            Ok(()) => {}
            Err(error) if is_refusal(&error) => {
                // A service may allow less than PostgreSQL does.
                match self.record(&definition(role, &[], secret), &step).await {
                    Err(error) if is_refusal(&error) => {
                        let omissions = without(role, error.message());
                        omissions.for_each(|omission| self.omit(omission));
                        return Ok(false);
                    }
                    outcome => {
                        outcome.map_err(|error| error.on(format!("role {:?}", role.name)))?
                    }
                }
                for attribute in given {
                    let statement = format!("ALTER ROLE {name} {attribute}");
                    if let Err(error) = self.execute(&statement).await {
                        let what = format!("{attribute} of role {:?}", role.name);
                        self.pass(what, &statement, error)?;
                    }
                }
            }
            Err(error) => return Err(error.on(format!("role {:?}", role.name))),
        }
        self.tell_lesser(role);
        Ok(true)
    }

    /// Says what a role lacks that was created.
    fn tell_lesser(&self, role: &Role) {
        let omissions = password(role).into_iter().chain(lesser(
            role,
            &denied(role, &self.power),
            MAY_NOT_GIVE,
        ));
        omissions.for_each(|omission| self.omit(omission));
    }

    /// Its settings, labels and comment.
    async fn describe<'s>(
        &self,
        role: &Role,
        settings: impl Iterator<Item = &'s Setting>,
    ) -> Result<()> {
        let step = format!("describe role {}", role.name);
        let done = self.done.contains(&step);
        for setting in settings {
            let statement = assign(role, setting);
            if let Some(omission) = unset(role, setting, &self.power) {
                self.omit(omission);
            } else if !done && let Err(error) = self.execute(&statement).await {
                self.pass(setting_name(role, setting), &statement, error)?;
            }
        }
        for label in &role.labels {
            let statement = security_label::of_role(&role.name, label);
            if let Some(omission) = unlabelled(role, label, &self.power) {
                self.omit(omission);
            } else if !done && let Err(error) = self.execute(&statement).await {
                self.pass(label_name(role, label), &statement, error)?;
            }
        }
        if done {
            return Ok(());
        }
        if let Some(comment) = &role.comment {
            let statement = format!(
                "COMMENT ON ROLE {} IS {}",
                ident(&role.name),
                literal(comment)
            );
            if let Err(error) = self.execute(&statement).await {
                let what = format!("comment of role {:?}", role.name);
                self.pass(what, &statement, error)?;
            }
        }
        self.record("", &step).await
    }

    /// Executes a statement in a transaction with its step.
    async fn record(&self, statement: &str, step: &str) -> Result<()> {
        self.execute(&format!(
            "BEGIN;\n{statement};\n{};\nCOMMIT",
            self.ledger.steps_sql([step])
        ))
        .await
    }

    async fn execute(&self, script: &str) -> Result<()> {
        let Err(error) = self.client.batch_execute(script).await else {
            return Ok(());
        };
        // An open transaction is left; a lost session shows in the error itself.
        let _left = self.client.batch_execute("ROLLBACK").await;
        Err(failed(error))
    }

    /// Turns a refusal by the server into an omission.
    fn pass(&self, what: String, statement: &str, error: Error) -> Result<()> {
        if !is_answer(&error) {
            return Err(error);
        }
        self.omit(Omission::new(what, error.message()).remedy(statement));
        Ok(())
    }

    fn omit(&self, omission: Omission) {
        self.observer
            .observe(&Event::Omitted(&omission.of_server()));
    }

    fn note(&self, message: &str) {
        let severity = Severity::Info;
        self.observer.observe(&Event::Notice { severity, message });
    }
}

fn step(role: &str) -> String {
    format!("role {role}")
}

fn join(names: &BTreeSet<&str>) -> String {
    names
        .iter()
        .map(|name| format!("{name:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whether the server said no because of who asks, or to what is asked for.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error.code(),
        Some("42501" | "0A000" | "22023" | "42939" | "42704")
    )
}

/// Whether the server itself said no, and would again.
fn is_answer(error: &Error) -> bool {
    error.kind() == pghaul_stage::Kind::Permanent && error.code().is_some()
}
