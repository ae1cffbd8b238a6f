//! What the loading role may do on the target: with a managed service it is no superuser.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use pghaul_stage::{Kind, Membership, Result, SecurityLabel, Setting};
use pghaul_wire::quote::ident;
use pghaul_wire::{Client, security_label};

use crate::database;
use crate::label;
use crate::role::is_reserved;
use crate::session::failed;
use crate::setting::assignment;
use crate::tablespace;

/// The first version in which creating a role does not give everything over it.
pub(crate) const ADMIN_OPTION: u32 = 160_000;

/// The role itself.
const ITSELF: &str = "SELECT rolname::text, rolsuper, rolcreaterole, rolcreatedb, rolreplication,
        rolbypassrls,
        CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000
             THEN pg_catalog.pg_has_role('pg_create_subscription', 'USAGE') ELSE false END,
        pg_catalog.current_database()::text,
        (SELECT pg_catalog.pg_get_userbyid(d.datdba)::text FROM pg_catalog.pg_database AS d
          WHERE d.datname = pg_catalog.current_database()), rolinherit
    FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER";

/// All roles: superuser or not, whether the session may act for it, whether it may grant it.
const ROLES: &str = "SELECT rolname::text, rolsuper,
        pg_catalog.pg_has_role(oid, 'USAGE') AND pg_catalog.pg_has_role(oid,
            CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000
                 THEN 'SET' ELSE 'MEMBER' END),
        pg_catalog.pg_has_role(oid, 'MEMBER WITH ADMIN OPTION')
    FROM pg_catalog.pg_roles";

/// Memberships that stand: role, member, whether it may be granted on, is inherited, may be assumed.
const MEMBERSHIPS: &str =
    "SELECT r.rolname::text, u.rolname::text, pg_catalog.bool_or(m.admin_option),
        pg_catalog.bool_or((pg_catalog.to_jsonb(m) ->> 'inherit_option')::bool),
        pg_catalog.bool_or((pg_catalog.to_jsonb(m) ->> 'set_option')::bool)
    FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS r ON r.oid = m.roleid
    JOIN pg_catalog.pg_roles AS u ON u.oid = m.member GROUP BY 1, 2";

/// What is set for every role in every database.
const DEFAULTS: &str = "SELECT pg_catalog.unnest(setconfig) FROM pg_catalog.pg_db_role_setting
    WHERE setdatabase = 0 AND setrole = 0";

/// Parameters that the role was granted the right to set, known to the server or not.
const GRANTED: &str = "SELECT parname FROM pg_catalog.pg_parameter_acl
    WHERE pg_catalog.has_parameter_privilege(parname, 'SET')";

/// Parameters that everybody may set and no catalog lists.
const UNLISTED: [&str; 6] = [
    "role",
    "seed",
    "session_authorization",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
];

/// What nobody but a superuser may do, except where a managed service says otherwise, which only
/// trying tells.
const ATTEMPTS: [(&str, &str); 3] = [
    (
        "EVENT TRIGGER",
        "CREATE FUNCTION pg_temp.pghaul_attempt() RETURNS event_trigger LANGUAGE plpgsql
             AS 'BEGIN END';
         CREATE EVENT TRIGGER pghaul_attempt ON ddl_command_end
             EXECUTE PROCEDURE pg_temp.pghaul_attempt()",
    ),
    (
        "FOREIGN DATA WRAPPER",
        "CREATE FOREIGN DATA WRAPPER pghaul_attempt",
    ),
    (
        "PUBLICATION",
        "CREATE PUBLICATION pghaul_attempt FOR ALL TABLES",
    ),
];

/// A role that the target has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Standing {
    superuser: bool,
    acts: bool,
    admin: bool,
}

/// What a member may do with a role, whoever has granted it; what is not an option before
/// version 16 is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Options {
    admin: bool,
    inherit: Option<bool>,
    set: Option<bool>,
}

/// What the loading role may do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Power {
    /// `server_version_num`.
    pub(crate) version: u32,
    /// Everything.
    pub(crate) superuser: bool,
    /// Its name.
    pub(crate) name: String,
    /// The database it was asked in.
    pub(crate) database: String,
    /// Who owns that.
    pub(crate) database_owner: String,
    create_role: bool,
    create_db: bool,
    replication: bool,
    bypass_rls: bool,
    inherit: bool,
    subscribe: bool,
    /// Kinds that only superusers create, and this role all the same.
    exempt: HashSet<&'static str>,
    roles: HashMap<String, Standing>,
    memberships: HashMap<(String, String), Options>,
    defaults: HashSet<String>,
    /// Parameters, and whether the role may set them for others.
    settings: HashMap<String, bool>,
    /// Parameters and values that the server does not take, and what it says.
    refused: HashMap<(String, String), String>,
    /// Labels of roles.
    labels: BTreeMap<String, Vec<SecurityLabel>>,
    /// Providers of labels, and whether the server has loaded them.
    providers: HashMap<String, bool>,
    /// Every tablespace of the server.
    tablespaces: HashSet<String>,
    /// Languages that not everybody may use.
    untrusted: HashSet<String>,
    /// Extensions that the server offers, and whether the role may create them.
    extensions: HashMap<String, bool>,
    /// Their versions.
    versions: HashSet<(String, String)>,
    /// Whether the server was built without a way to compress that columns may ask for.
    pub(crate) lacks_lz4: bool,
}

impl Power {
    /// Asks the target; what cannot be asked is tried, in transactions that are rolled back.
    pub(crate) async fn read(client: &Client) -> Result<Power> {
        let version = database::version(client).await?;
        let row = client.query_one(ITSELF, &[]).await.map_err(failed)?;
        let mut power = Power {
            version,
            name: row.get(0),
            superuser: row.get(1),
            create_role: row.get(2),
            create_db: row.get(3),
            replication: row.get(4),
            bypass_rls: row.get(5),
            subscribe: row.get(6),
            database: row.get(7),
            database_owner: row.get(8),
            inherit: row.get(9),
            ..Power::default()
        };
        for row in client.query(ROLES, &[]).await.map_err(failed)? {
            let standing = Standing {
                superuser: row.get(1),
                acts: row.get(2),
                admin: row.get(3),
            };
            power.roles.insert(row.get(0), standing);
        }
        for row in client.query(MEMBERSHIPS, &[]).await.map_err(failed)? {
            let of = (row.get(0), row.get(1));
            let options = Options {
                admin: row.get(2),
                inherit: row.get(3),
                set: row.get(4),
            };
            power.memberships.insert(of, options);
        }
        let labels = security_label::shared(client, "pg_authid").await;
        power.labels = labels.map_err(failed)?;
        let defaults = client.query(DEFAULTS, &[]).await.map_err(failed)?;
        power.defaults = defaults.iter().map(|row| row.get(0)).collect();
        let granted = if version >= 150_000 {
            "pg_catalog.has_parameter_privilege(name, 'SET')"
        } else {
            "false"
        };
        let settings = format!(
            "SELECT name, context = 'user' OR {granted} OR
                    context LIKE 'superuser%' AND (SELECT rolsuper FROM pg_catalog.pg_roles
                                                    WHERE rolname = CURRENT_USER)
               FROM pg_catalog.pg_settings"
        );
        for row in client.query(&settings, &[]).await.map_err(failed)? {
            power.settings.insert(row.get(0), row.get(1));
        }
        if version >= 150_000 {
            let granted = client.query(GRANTED, &[]).await.map_err(failed)?;
            let granted = granted.iter().map(|row| (row.get(0), true));
            power.settings.extend(granted);
        }
        let unlisted = UNLISTED.map(|name| (name.to_owned(), true));
        power.settings.extend(unlisted);
        let lz4 = "SELECT 'lz4' <> ALL (enumvals) FROM pg_catalog.pg_settings \
                    WHERE name = 'default_toast_compression'";
        let lz4 = client.query_opt(lz4, &[]).await.map_err(failed)?;
        power.lacks_lz4 = lz4.is_some_and(|row| row.get(0));
        let tablespaces = "SELECT spcname::text FROM pg_catalog.pg_tablespace";
        let tablespaces = client.query(tablespaces, &[]).await.map_err(failed)?;
        power.tablespaces = tablespaces.iter().map(|row| row.get(0)).collect();
        if !power.superuser {
            power.read_limits(client).await?;
        }
        let versions = "SELECT name::text, version FROM pg_catalog.pg_available_extension_versions";
        // Some builds of a server fail to list them, which is no reason to stop.
        if let Ok(rows) = client.query(versions, &[]).await {
            power.versions = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        }
        Ok(power)
    }

    /// Whether a membership stands as the source has it.
    pub(crate) fn has_membership(&self, wanted: &Membership) -> bool {
        let of = (wanted.role.clone(), wanted.member.clone());
        let stands = self.memberships.get(&of);
        let lacks = |there: Option<bool>, wanted| there == Some(false) && wanted == Some(true);
        stands.is_some_and(|there| {
            (there.admin || !wanted.admin)
                && !lacks(there.inherit, wanted.inherit)
                && !lacks(there.set, wanted.set)
        })
    }

    /// Whether this is set for every role in every database.
    pub(crate) fn has_default(&self, setting: &Setting) -> bool {
        let text = format!("{}={}", setting.name, setting.value);
        self.defaults.contains(&text)
    }

    async fn read_limits(&mut self, client: &Client) -> Result<()> {
        let untrusted = "SELECT lanname::text FROM pg_catalog.pg_language WHERE NOT lanpltrusted";
        let untrusted = client.query(untrusted, &[]).await.map_err(failed)?;
        self.untrusted = untrusted.iter().map(|row| row.get(0)).collect();
        let trusted = if self.version >= 130_000 {
            "trusted"
        } else {
            "false"
        };
        // A service decides by a list of its own, and lets its administrators do the rest.
        let extensions = format!(
            "SELECT name::text, pg_catalog.bool_or(installed OR NOT superuser OR {trusted} OR EXISTS (
                 SELECT FROM pg_catalog.pg_settings AS s WHERE s.name IN
                     ('azure.extensions', 'rds.extensions', 'cloudsql.supported_extensions')))
               FROM pg_catalog.pg_available_extension_versions GROUP BY 1"
        );
        if let Ok(rows) = client.query(&extensions, &[]).await {
            self.extensions = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        }
        for (kind, statement) in ATTEMPTS {
            let script = format!("BEGIN; SET LOCAL lock_timeout = '2s'; {statement}; ROLLBACK");
            if client.batch_execute(&script).await.is_ok() {
                self.exempt.insert(kind);
            } else {
                client.batch_execute("ROLLBACK").await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Tries settings on itself, in transactions that are rolled back: the server takes the same
    /// values for every role and database.
    pub(crate) async fn try_settings<'s>(
        &mut self,
        client: &Client,
        settings: impl IntoIterator<Item = &'s Setting>,
    ) -> Result<()> {
        for setting in settings {
            let value = (setting.name.clone(), setting.value.clone());
            // Whether it names a role that is there is known when the source's have been created.
            let of_role = ["role", "session_authorization"].contains(&setting.name.as_str());
            if of_role
                || self.refused.contains_key(&value)
                || self.refuses_setting(setting).is_some()
            {
                continue;
            }
            let script = format!(
                "BEGIN; ALTER ROLE {} SET {}; ROLLBACK",
                ident(&self.name),
                assignment(&setting.name, &setting.value)
            );
            let Err(error) = client.batch_execute(&script).await.map_err(failed) else {
                continue;
            };
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            if error.kind() == Kind::Permanent && error.code().is_some() {
                self.refused.insert(value, error.message().to_owned());
            }
        }
        Ok(())
    }

    /// Asks which of these providers of labels the server has loaded.
    pub(crate) async fn try_providers(
        &mut self,
        client: &Client,
        providers: BTreeSet<&str>,
    ) -> Result<()> {
        for provider in providers {
            if !self.providers.contains_key(provider) {
                let loaded = label::is_loaded(client, provider, &self.name).await?;
                self.providers.insert(provider.to_owned(), loaded);
            }
        }
        Ok(())
    }

    /// Why a label of this provider cannot be; `None` if it can.
    pub(crate) fn lacks_provider(&self, provider: &str) -> Option<String> {
        let absent = self.providers.get(provider) == Some(&false);
        absent.then(|| format!("the target has not loaded the provider {provider:?}"))
    }

    /// Whether a role that is there has this label.
    pub(crate) fn has_label(&self, role: &str, label: &SecurityLabel) -> bool {
        let labels = self.labels.get(role);
        labels.is_some_and(|labels| labels.contains(label))
    }

    /// Whether it may create what only a superuser may, unless a service says otherwise.
    pub(crate) fn may_create(&self, kind: &str) -> bool {
        self.superuser || self.exempt.contains(kind)
    }

    /// Whether it may create subscriptions.
    pub(crate) fn may_subscribe(&self) -> bool {
        self.superuser || self.subscribe
    }

    /// Whether it may create an extension; one that the server does not list is not known.
    pub(crate) fn may_extend(&self, name: &str) -> bool {
        self.superuser || self.extensions.get(name).copied().unwrap_or(true)
    }

    /// Whether the server offers an extension, but not in this version.
    pub(crate) fn lacks_version(&self, name: &str, version: &str) -> bool {
        let wanted = (name.to_owned(), version.to_owned());
        !self.versions.contains(&wanted) && self.versions.iter().any(|(one, _)| one == name)
    }

    /// Whether functions in this language are for everybody to create.
    pub(crate) fn trusts(&self, language: &str) -> bool {
        self.superuser || !self.untrusted.contains(language)
    }

    /// Whether it may give a role this attribute.
    ///
    /// Source: PostgreSQL's manual, CREATE ROLE; before version 16 whoever may create roles gives
    /// CREATEROLE and CREATEDB without having them.
    pub(crate) fn may_give(&self, attribute: &str) -> bool {
        let own = self.version < ADMIN_OPTION;
        self.superuser
            || self.create_role
                && match attribute {
                    "CREATEROLE" => true,
                    "CREATEDB" => own || self.create_db,
                    "REPLICATION" => !own && self.replication,
                    "BYPASSRLS" => !own && self.bypass_rls,
                    _ => false,
                }
    }

    /// Whether a role is there already.
    pub(crate) fn has_role(&self, name: &str) -> bool {
        self.roles.contains_key(name)
    }

    /// Whether it may create databases.
    pub(crate) fn may_create_databases(&self) -> bool {
        self.superuser || self.create_db
    }

    /// Whether it may create roles.
    pub(crate) fn may_create_roles(&self) -> bool {
        self.superuser || self.create_role
    }

    /// Whether it may create a role of this name.
    pub(crate) fn may_create_role(&self, name: &str) -> bool {
        !is_reserved(name) && self.may_create_roles()
    }

    /// Whether it acts for the roles that it joins.
    pub(crate) fn inherits(&self) -> bool {
        self.inherit || self.version >= ADMIN_OPTION
    }

    /// Whether a role that is there is a superuser.
    pub(crate) fn is_superuser(&self, name: &str) -> bool {
        self.roles.get(name).is_some_and(|role| role.superuser)
    }

    /// Whether it may act for a role that is there.
    pub(crate) fn acts_for(&self, name: &str) -> bool {
        self.roles.get(name).is_some_and(|role| role.acts)
    }

    /// Whether it may grant a role that is there.
    pub(crate) fn may_grant(&self, name: &str) -> bool {
        self.roles.get(name).is_some_and(|role| {
            let creator = self.version < ADMIN_OPTION && self.create_role;
            self.superuser || !role.superuser && (creator || role.admin)
        })
    }

    /// Whether it will be able to grant a role once the source's roles are created.
    pub(crate) fn will_grant(&self, name: &str) -> bool {
        if self.has_role(name) {
            self.may_grant(name)
        } else {
            self.may_create_role(name)
        }
    }

    /// Why it may not make a setting of a role or a database, or should not; `None` if it may.
    pub(crate) fn refuses_setting(&self, setting: &Setting) -> Option<&str> {
        let name = setting.name.as_str();
        let refused = || {
            let value = (setting.name.clone(), setting.value.clone());
            self.refused.get(&value).map(String::as_str)
        };
        let mut places = tablespace::named(setting).into_iter();
        if let Some(reason) = self.refuses_parameter(name) {
            return Some(reason);
        }
        // The server would take it, and warn whoever logs in.
        if places.any(|place| !self.tablespaces.contains(&place)) {
            return Some("the target has no such tablespace");
        }
        refused()
    }

    /// Why it may not set a parameter for others, or in a function; `None` if it may.
    pub(crate) fn refuses_parameter(&self, name: &str) -> Option<&'static str> {
        match self.settings.get(name) {
            Some(true) => None,
            Some(false) => Some("the target's role may not set this parameter"),
            None if !name.contains('.') => Some("the target does not know this parameter"),
            None if self.superuser => None,
            None => Some("only a superuser may set a parameter that the server does not know"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creator(version: u32) -> Power {
        let standing = |superuser, admin| Standing {
            superuser,
            acts: false,
            admin,
        };
        Power {
            version,
            create_role: true,
            create_db: true,
            roles: HashMap::from([
                ("root".to_owned(), standing(true, false)),
                ("pg_monitor".to_owned(), standing(false, false)),
                ("mine".to_owned(), standing(false, true)),
            ]),
            settings: HashMap::from([
                ("work_mem".to_owned(), true),
                ("log_statement".to_owned(), false),
            ]),
            ..Power::default()
        }
    }

    #[test]
    fn whoever_creates_roles_could_do_more_with_them_before_16() {
        let (old, new) = (creator(150_000), creator(160_000));
        assert!(old.may_grant("pg_monitor") && !new.may_grant("pg_monitor"));
        assert!(!old.may_grant("root") && !new.may_grant("root"));
        assert!(old.may_grant("mine") && new.may_grant("mine"));
        assert!(old.will_grant("new") && new.will_grant("new"));
        assert!(!new.will_grant("rds_superuser"));
        assert!(new.may_give("CREATEDB") && !new.may_give("BYPASSRLS"));
        assert!(!old.may_give("SUPERUSER"));
    }

    #[test]
    fn parameters_are_for_some() {
        let power = creator(160_000);
        let setting = |name: &str| Setting {
            role: None,
            name: name.to_owned(),
            value: String::new(),
        };
        assert_eq!(power.refuses_setting(&setting("work_mem")), None);
        for name in ["log_statement", "absent", "shop.motto"] {
            assert!(power.refuses_setting(&setting(name)).is_some(), "{name}");
        }
        let superuser = Power {
            superuser: true,
            ..power
        };
        assert_eq!(superuser.refuses_setting(&setting("shop.motto")), None);
    }
}
