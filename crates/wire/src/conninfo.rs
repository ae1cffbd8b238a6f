//! Connection parameters as libpq reads them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pghaul_stage::{Error, Kind, Result};
use secrecy::SecretString;

/// One complete set of connection parameters.
#[derive(Clone, Debug)]
pub struct Conninfo {
    hosts: Vec<Host>,
}

/// One server to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where it listens.
    pub address: Address,
    /// Its port, also part of a Unix socket's file name.
    pub port: u16,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A network host: the name to verify and, if given, the address that saves the lookup.
    Tcp {
        /// The host's name or address.
        host: String,
        /// Its address, when given by `hostaddr`.
        hostaddr: Option<std::net::IpAddr>,
    },
    /// The directory of a Unix socket.
    Unix(PathBuf),
}

/// The variables and the home directory that complete a conninfo; injectable for tests.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The environment's variables.
    pub variables: BTreeMap<String, String>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
}

impl Conninfo {
    /// Reads a URI or key=value text and completes it as libpq does.
    pub fn parse(_text: &str) -> Result<Conninfo> {
        Err(Error::new(Kind::Permanent, "not built yet"))
    }

    /// As [`Conninfo::parse`], with a given environment.
    pub fn parse_with(_text: &str, _env: &Environment) -> Result<Conninfo> {
        Err(Error::new(Kind::Permanent, "not built yet"))
    }

    /// Whether this text itself carries a password.
    pub fn has_password_in(_text: &str) -> bool {
        false
    }

    /// The database to connect to.
    pub fn dbname(&self) -> &str {
        ""
    }

    /// The role to connect as.
    pub fn user(&self) -> &str {
        ""
    }

    /// The same server, another database.
    #[must_use]
    pub fn with_dbname(&self, _name: &str) -> Conninfo {
        self.clone()
    }

    /// The same, under another application name.
    #[must_use]
    pub fn with_application_name(&self, _name: &str) -> Conninfo {
        self.clone()
    }

    /// The same, with a setting for every session.
    #[must_use]
    pub fn with_option(&self, _guc: &str, _value: &str) -> Conninfo {
        self.clone()
    }

    /// The servers to try, in order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The target in words, without secrets.
    pub fn display(&self) -> String {
        String::new()
    }

    /// The `PG*` variables by which a libpq program reaches the same server.
    pub fn libpq_env(&self) -> Vec<(&'static str, SecretString)> {
        Vec::new()
    }
}
