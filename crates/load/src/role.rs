//! Creates the roles that the target lacks, with their memberships and settings.
//!
//! Roles belong to the server, not to the database: those that exist are left alone, and what
//! the loading role may not do becomes an omission, because a migration can go on without it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pghaul_stage::{
    Catalog, Error, Event, Membership, Observer, Omission, Result, Role, Setting, Severity,
};
use pghaul_wire::Client;
use pghaul_wire::quote::{ident, literal};
use secrecy::ExposeSecret;

use crate::ledger::Ledger;
use crate::session::failed;
use crate::setting::assignment;

/// Beginnings of names that PostgreSQL and managed services keep for themselves.
const RESERVED: [&str; 4] = ["pg_", "rds", "cloudsql", "azure_"];

/// The first version whose memberships say whether they are inherited and may be assumed.
const WITH_OPTIONS: u32 = 160_000;

/// How a setting reads that holds in every database.
const PRESENT: &str = "SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb,
        rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil::text
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

    /// Creates what is missing. Harmless when done before.
    pub(crate) async fn create(&self, ledger: &Ledger, observer: &dyn Observer) -> Result<()> {
        let client = ledger.session().await?;
        let version = "SELECT pg_catalog.current_setting('server_version_num')::int";
        let version: i32 = client.query_one(version, &[]).await.map_err(failed)?.get(0);
        let with_options = u32::try_from(version).is_ok_and(|version| version >= WITH_OPTIONS);
        let done = ledger.steps().await?;
        let work = Work {
            client,
            ledger,
            observer,
            with_options,
            done,
        };
        let present = work.present().await?;
        let mut made: HashSet<&str> = HashSet::new();
        let mut without_password: BTreeSet<&str> = BTreeSet::new();
        let mut skipped: BTreeSet<&str> = BTreeSet::new();
        for role in &self.roles {
            let name = role.name.as_str();
            let own = work.done.contains(&step(name));
            match present.get(name) {
                _ if own => drop(made.insert(name)),
                Some(there) => work.compare(role, there),
                None if is_reserved(name) => drop(skipped.insert(name)),
                None => {
                    if work.create(role).await? {
                        made.insert(name);
                        if role.login && !role.password_readable {
                            without_password.insert(name);
                        }
                    }
                }
            }
        }
        if !skipped.is_empty() {
            let names = join(&skipped);
            work.note(&format!("reserved roles are not created: {names}"));
        }
        for name in without_password {
            work.omit(Omission::new(
                format!("password of role {name:?}"),
                "the source does not show passwords to the role that reads it",
            ));
        }
        for role in self
            .roles
            .iter()
            .filter(|role| made.contains(role.name.as_str()))
        {
            work.describe(role, &self.settings).await?;
        }
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
                if there.contains(role) && there.contains(member) {
                    let grantor = there.contains(membership.grantor.as_str());
                    work.grant(membership, grantor).await?;
                } else {
                    let omission =
                        Omission::new(membership_name(membership), "the target has not both roles");
                    let statement = membership_statement(membership, with_options);
                    work.omit(omission.remedy(statement));
                }
            }
        }
        Ok(())
    }
}

struct Work<'a> {
    client: Client,
    ledger: &'a Ledger,
    observer: &'a dyn Observer,
    with_options: bool,
    done: HashSet<String>,
}

impl Work<'_> {
    async fn present(&self) -> Result<BTreeMap<String, Role>> {
        let rows = self.client.query(PRESENT, &[]).await.map_err(failed)?;
        let roles = rows.iter().map(|row| Role {
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
            ..Role::default()
        });
        Ok(roles.map(|role| (role.name.clone(), role)).collect())
    }

    fn compare(&self, wanted: &Role, there: &Role) {
        let differences = differences(wanted, there);
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
        let password = role
            .password
            .as_ref()
            .map(|password| password.expose_secret());
        let step = step(&role.name);
        let Err(error) = self.record(&definition(role, true, password), &step).await else {
            return Ok(true);
        };
        if !is_refusal(&error) {
            return Err(error.on(format!("role {:?}", role.name)));
        }
        let outcome = self.record(&definition(role, false, password), &step).await;
        match outcome {
            Ok(()) => {
                let attributes = privileges(role);
                let what = format!("{} of role {:?}", attributes.join(", "), role.name);
                let remedy = format!("ALTER ROLE {} {}", ident(&role.name), attributes.join(" "));
                self.omit(Omission::new(what, error.message()).remedy(remedy));
            }
            Err(error) if is_refusal(&error) => {
                let omission = Omission::new(format!("role {:?}", role.name), error.message());
                self.omit(omission.remedy(definition(role, true, None)));
                return Ok(false);
            }
            Err(error) => return Err(error.on(format!("role {:?}", role.name))),
        }
        Ok(true)
    }

    /// Its comment and settings.
    async fn describe(&self, role: &Role, settings: &[Setting]) -> Result<()> {
        let step = format!("describe role {}", role.name);
        if self.done.contains(&step) {
            return Ok(());
        }
        let name = ident(&role.name);
        let settings = settings
            .iter()
            .filter(|setting| setting.role.as_ref() == Some(&role.name));
        let settings = settings.map(|setting| {
            let assignment = assignment(&setting.name, &setting.value);
            (
                format!("setting {} of role {:?}", setting.name, role.name),
                format!("ALTER ROLE {name} SET {assignment}"),
            )
        });
        let comment = role.comment.iter();
        let comment = comment.map(|text| {
            (
                format!("comment of role {:?}", role.name),
                format!("COMMENT ON ROLE {name} IS {}", literal(text)),
            )
        });
        for (what, statement) in settings.chain(comment) {
            if let Err(error) = self.execute(&statement).await {
                self.pass(what, &statement, error)?;
            }
        }
        self.record("", &step).await
    }

    async fn grant(&self, membership: &Membership, with_grantor: bool) -> Result<()> {
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
        let grant = membership_statement(membership, self.with_options);
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
        self.observer.observe(&Event::Omitted(&omission));
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

/// Whether a name belongs to the server or to a managed service.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|beginning| name.starts_with(beginning))
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

/// The statement that creates a role; without `privileged` it has no attribute that only
/// superusers may give.
///
/// Source: PostgreSQL's manual, CREATE ROLE.
fn definition(role: &Role, privileged: bool, password: Option<&str>) -> String {
    let mut statement = format!("CREATE ROLE {}", ident(&role.name));
    let attributes = [(!role.inherit, " NOINHERIT"), (role.login, " LOGIN")];
    for (_, keyword) in attributes.iter().filter(|(given, _)| *given) {
        statement += keyword;
    }
    if privileged {
        for keyword in privileges(role) {
            statement += &format!(" {keyword}");
        }
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

/// The attributes of a role that not everybody who may create roles may give.
fn privileges(role: &Role) -> Vec<&'static str> {
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

fn membership_name(membership: &Membership) -> String {
    format!(
        "membership of role {:?} in {:?}",
        membership.member, membership.role
    )
}

/// The statement that makes a role a member; the options are those of PostgreSQL 16.
///
/// Source: PostgreSQL's manual, GRANT, "GRANT on Roles".
fn membership_statement(membership: &Membership, with_options: bool) -> String {
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

/// The attributes in which two roles differ.
fn differences(wanted: &Role, there: &Role) -> Vec<&'static str> {
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
            definition(&role(), true, Some("SCRAM-SHA-256$x'y")),
            "CREATE ROLE \"a\"\"b\" NOINHERIT LOGIN SUPERUSER CONNECTION LIMIT 3 \
             VALID UNTIL '2030-01-01 00:00:00+00' PASSWORD 'SCRAM-SHA-256$x''y'"
        );
        assert!(!definition(&role(), false, None).contains("SUPERUSER"));
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

    #[test]
    fn reserved_names_are_known() {
        assert!(
            ["pg_x", "rdsadmin", "cloudsqlsuperuser", "azure_pg_admin"]
                .iter()
                .all(|name| is_reserved(name))
        );
        assert!(!is_reserved("postgres"));
    }
}
