//! Connection parameters as libpq reads them.
//!
//! Source: PostgreSQL's manual, section 32.1.

mod environment;
mod hosts;
mod keyword;
mod parameters;
mod passfile;
mod policy;
mod service;
mod uri;

use std::path::PathBuf;
use std::sync::Arc;

use pghaul_stage::{Error, Result};
use secrecy::{ExposeSecret, SecretString};

use crate::tls::TlsContext;
pub use environment::Environment;
pub(crate) use environment::user_name;
pub use hosts::{Address, Host};
use parameters::{KEYS, Parameters};
use passfile::Passfile;
pub(crate) use policy::{
    ChannelBinding, Identity, Negotiation, Policy, RootCert, SessionAttrs, SslMode,
};

/// What sessions are called when nobody says otherwise.
const APPLICATION_NAME: &str = "pghaul";

/// One complete set of connection parameters.
///
/// ```
/// use pghaul_wire::{Conninfo, Environment};
///
/// let env = Environment::default();
/// let info = Conninfo::parse_with("postgresql://ann:secret@db.example:5433/shop", &env)?;
/// assert_eq!(info.display(), "db.example:5433/shop user=ann");
/// # Ok::<(), pghaul_stage::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conninfo {
    hosts: Vec<Host>,
    policy: Policy,
    parameters: Parameters,
    password: Option<SecretString>,
    passfile: Arc<Passfile>,
    tls: TlsContext,
}

impl Conninfo {
    /// Reads a URI or key=value text and completes it as libpq does: what the text says, then
    /// the service file, then `PG*` variables, then defaults; at last the password file.
    ///
    /// Reads files, so call it outside an executor. Any mistake in the text, the environment or
    /// the service file is an `Input` error that names the key.
    pub fn parse(text: &str) -> Result<Conninfo> {
        Conninfo::parse_with(text, &Environment::process())
    }

    /// As [`Conninfo::parse`], in the given surroundings instead of this process's own.
    pub fn parse_with(text: &str, env: &Environment) -> Result<Conninfo> {
        let mut parameters = read(text)?;
        service::complete(&mut parameters, env)?;
        for (key, variable) in KEYS {
            if let Some(value) = variable.and_then(|variable| env.variable(variable)) {
                parameters.complete(key, value)?;
            }
        }
        let hosts = hosts::list(&parameters)?;
        let policy = Policy::read(&parameters, env.home.as_deref())?;

        if parameters.get("user").is_none() {
            let user = env.user.as_deref().ok_or_else(|| {
                Error::input("no user is given and the operating system's user has no name")
                    .remedy("add user=... to the connection string, or set PGUSER")
            })?;
            parameters.set("user", user)?;
        }
        if parameters.get("dbname").is_none() {
            let user = parameters.get("user").unwrap_or_default().to_owned();
            parameters.set("dbname", user)?;
        }
        if parameters.get("application_name").is_none() {
            let name = parameters
                .get("fallback_application_name")
                .unwrap_or(APPLICATION_NAME);
            let name = name.to_owned();
            parameters.set("application_name", name)?;
        }
        if parameters.get("passfile").is_none()
            && let Some(home) = &env.home
        {
            parameters.set("passfile", home.join(".pgpass").to_string_lossy())?;
        }
        let password: Option<SecretString> = parameters.take("password").map(Into::into);
        let passfile = match parameters.get("passfile") {
            Some(path) if password.is_none() => Passfile::read(&PathBuf::from(path)),
            _ => Passfile::default(),
        };
        Ok(Conninfo {
            hosts,
            policy,
            parameters,
            password,
            passfile: Arc::new(passfile),
            tls: TlsContext::default(),
        })
    }

    /// Whether this text itself carries a password; true as well if that cannot be told.
    pub fn has_password_in(text: &str) -> bool {
        match read(text) {
            Ok(parameters) => parameters
                .get("password")
                .or(parameters.get("sslpassword"))
                .is_some(),
            Err(_) => text.contains("password") || (uri::is_uri(text) && text.contains('@')),
        }
    }

    /// The database to connect to.
    pub fn dbname(&self) -> &str {
        self.parameters.get("dbname").unwrap_or_default()
    }

    /// The role to connect as.
    pub fn user(&self) -> &str {
        self.parameters.get("user").unwrap_or_default()
    }

    /// The name by which the server's activity view shows our sessions.
    pub fn application_name(&self) -> &str {
        self.parameters.get("application_name").unwrap_or_default()
    }

    /// The servers to try, in order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The same server and role, another database.
    #[must_use]
    pub fn with_dbname(&self, name: &str) -> Conninfo {
        self.with("dbname", name.to_owned())
    }

    /// The same, under another application name.
    #[must_use]
    pub fn with_application_name(&self, name: &str) -> Conninfo {
        self.with("application_name", name.to_owned())
    }

    /// The same, with a setting for every session, as if by `-c guc=value`; the last one wins.
    ///
    /// Source: PostgreSQL's manual, section 32.1.2, `options`.
    #[must_use]
    pub fn with_option(&self, guc: &str, value: &str) -> Conninfo {
        let mut options = self.options().to_owned();
        if !options.is_empty() {
            options.push(' ');
        }
        options.push_str("-c ");
        for character in format!("{guc}={value}").chars() {
            if character.is_ascii_whitespace() || character == '\\' {
                options.push('\\');
            }
            options.push(character);
        }
        self.with("options", options)
    }

    /// The same, with the servers at these addresses.
    #[must_use]
    pub(crate) fn with_hosts(&self, hosts: Vec<Host>) -> Conninfo {
        Conninfo {
            hosts,
            ..self.clone()
        }
    }

    fn with(&self, key: &str, value: String) -> Conninfo {
        let mut changed = self.clone();
        // A zero byte cannot travel in any parameter; the server would cut the value there.
        let set = changed.parameters.set(key, value.replace('\0', ""));
        debug_assert!(set.is_ok(), "{key} is a known key");
        changed
    }

    /// Where the sessions go, in words and without secrets: `host:port/dbname user=name`.
    pub fn display(&self) -> String {
        let mut hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
        // A name that was looked up stands there once for each of its addresses.
        hosts.dedup();
        format!("{}/{} user={}", hosts.join(","), self.dbname(), self.user())
    }

    /// The `PG*` variables by which a libpq program reaches the same server.
    ///
    /// Start the program without the `PG*` variables of this process: `PGSERVICE` and the like
    /// are worked in already. The keepalive keys have no variables.
    ///
    /// Source: PostgreSQL's manual, section 32.15.
    pub fn libpq_env(&self) -> Vec<(&'static str, SecretString)> {
        let mut variables: Vec<(&'static str, SecretString)> = KEYS
            .iter()
            .filter(|(key, _)| !matches!(*key, "service" | "servicefile" | "client_encoding"))
            .filter(|(key, _)| !matches!(*key, "host" | "hostaddr" | "port" | "connect_timeout"))
            .filter_map(|(key, variable)| {
                let value = self.parameters.get(key)?;
                Some(((*variable)?, value.into()))
            })
            .collect();
        let list = |part: fn(&Host) -> String| {
            self.hosts
                .iter()
                .map(part)
                .collect::<Vec<_>>()
                .join(",")
                .into()
        };
        variables.push(("PGHOST", list(Host::name)));
        if self.hosts.iter().any(|host| host.hostaddr().is_some()) {
            let address =
                |host: &Host| host.hostaddr().map(|ip| ip.to_string()).unwrap_or_default();
            variables.push(("PGHOSTADDR", list(address)));
        }
        variables.push(("PGPORT", list(|host| host.port.to_string())));
        let timeout = self
            .policy
            .connect_timeout
            .map_or(0, |timeout| timeout.as_secs());
        variables.push(("PGCONNECT_TIMEOUT", timeout.to_string().into()));
        variables.push(("PGCLIENTENCODING", "UTF8".into()));
        if let Some(password) = &self.password {
            variables.push(("PGPASSWORD", password.clone()));
        }
        variables
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn tls(&self) -> &TlsContext {
        &self.tls
    }

    pub(crate) fn options(&self) -> &str {
        self.parameters.get("options").unwrap_or_default()
    }

    /// The password for one of the hosts: the given one, else the password file's.
    pub(crate) fn password(&self, host: &Host) -> Option<&SecretString> {
        self.password
            .as_ref()
            .or_else(|| {
                let port = host.port.to_string();
                self.passfile
                    .find([&host.passfile_name(), &port, self.dbname(), self.user()])
            })
            .filter(|password| !password.expose_secret().is_empty())
    }
}

fn read(text: &str) -> Result<Parameters> {
    if uri::is_uri(text) {
        uri::parse(text)
    } else {
        keyword::parse(text)
    }
}

#[cfg(test)]
mod tests;
