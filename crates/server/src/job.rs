//! What is asked of a migration: the body of a PUT, and the content of a job file.

mod arguments;
mod check;
mod endpoint;
mod schema;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use arguments::quoted;
pub use check::Fault;
pub use endpoint::{Endpoint, Password, SourceType, SslMode};
pub use schema::schema;

use crate::words::words;
use chrono::{DateTime, Utc};

words! {
    /// Whether the source may be written to meanwhile.
    pub Mode {
        /// Nothing writes to the source, or what is written after the start does not matter.
        Offline = "offline",
        /// Changes are carried over until a cutover. Not possible yet.
        Online = "online",
    }
}

words! {
    /// How far to go.
    pub Extent {
        /// Check both ends and change nothing.
        Validate = "validate",
        /// Migrate without checks.
        Migrate = "migrate",
        /// Check, then migrate unless a check failed.
        ValidateAndMigrate = "validateAndMigrate",
    }
}

words! {
    /// Who connects to the databases.
    pub Topology {
        /// This server connects to both.
        Server = "server",
        /// An agent at each side connects to its database and to this server.
        Agents = "agents",
    }
}

/// A migration as somebody wants it. Keys that are not known are refused by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Job {
    /// Whether the source may be written to meanwhile; `online` is not possible yet.
    pub mode: Mode,
    /// How far to go.
    pub option: Extent,
    /// Who connects to the databases.
    pub topology: Topology,
    /// The server that is read; absent if agents connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Endpoint>,
    /// The server that is written; absent if agents connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Endpoint>,
    /// The databases, by name; none means all but templates and those of the service.
    pub databases: Vec<String>,
    /// Whether a target database that exists is dropped first, with everything in it.
    pub overwrite: bool,
    /// Whether roles are created that the target lacks.
    pub roles: bool,
    /// Whether roles get the passwords they have on the source.
    pub role_passwords: bool,
    /// Which part of each database.
    pub selection: Selected,
    /// Whether all objects are to belong to the target's role.
    pub no_owner: bool,
    /// Whether to leave privileges out.
    pub no_acl: bool,
    /// Whether to put everything into the default tablespace.
    pub no_tablespaces: bool,
    /// Tablespaces of the source, and which of the target stand for them.
    pub tablespace_map: BTreeMap<String, String>,
    /// Roles of the source, and which of the target stand for them.
    pub role_map: BTreeMap<String, String>,
    /// Parts copied at the same time, 1 to 256; absent: by the runtime host's processors.
    #[schema(minimum = 1, maximum = 256)]
    pub jobs: Option<u16>,
    /// Indexes built at the same time, 1 to 256; absent: as many as `jobs`.
    #[schema(minimum = 1, maximum = 256)]
    pub index_jobs: Option<u16>,
    /// At most so many bytes of rows a second, all databases together.
    #[schema(minimum = 1)]
    pub bytes_per_second: Option<u64>,
    /// Whether to refuse to begin if anything would not be carried over.
    pub strict: bool,
    /// Whether to compare source and target afterwards.
    pub verify: bool,
    /// Not before this time.
    pub start_at: Option<DateTime<Utc>>,
    /// Only within these times.
    pub window: Option<Window>,
    /// Whatever the operator wants to note.
    pub tags: BTreeMap<String, String>,
}

/// A part of a database, by the patterns of pg_dump.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selected {
    /// Only these schemas.
    pub schemas: Vec<String>,
    /// Not these schemas.
    pub exclude_schemas: Vec<String>,
    /// Only these tables.
    pub tables: Vec<String>,
    /// Not these tables.
    pub exclude_tables: Vec<String>,
    /// Not the rows of these tables.
    pub exclude_table_data: Vec<String>,
    /// Definitions without rows.
    pub schema_only: bool,
}

/// A time in which rows may be copied. Outside of it a migration waits, or is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// Its beginning.
    pub from: DateTime<Utc>,
    /// Its end.
    pub to: DateTime<Utc>,
}

impl Default for Job {
    /// An offline migration of everything, with checks before it and a comparison after it.
    fn default() -> Self {
        Self {
            mode: Mode::Offline,
            option: Extent::ValidateAndMigrate,
            topology: Topology::Server,
            source: None,
            target: None,
            databases: Vec::new(),
            overwrite: false,
            roles: true,
            role_passwords: true,
            selection: Selected::default(),
            no_owner: false,
            no_acl: false,
            no_tablespaces: false,
            tablespace_map: BTreeMap::new(),
            role_map: BTreeMap::new(),
            jobs: None,
            index_jobs: None,
            bytes_per_second: None,
            strict: false,
            verify: true,
            start_at: None,
            window: None,
            tags: BTreeMap::new(),
        }
    }
}

impl Job {
    /// Reads a job from JSON. Nothing is checked yet but the form; see [`Job::check`].
    ///
    /// # Errors
    ///
    /// What is wrong and at which key. The message never repeats a password.
    pub fn from_json(json: &[u8]) -> Result<Job, Fault> {
        Job::read(&mut serde_json::Deserializer::from_slice(json))
    }

    /// Reads a job from any form that serde knows.
    ///
    /// # Errors
    ///
    /// As [`Job::from_json`].
    pub fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Job, Fault>
    where
        D::Error: std::fmt::Display,
    {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let key = error.path().to_string();
            let message = match key.as_str() {
                // What stands there may be a secret of which the type is wrong.
                key if key.ends_with("assword") => "must be a text".to_owned(),
                _ => error.into_inner().to_string(),
            };
            Fault { key, message }
        })
    }

    /// The passwords of both ends, source first.
    pub fn passwords(&self) -> [Option<&Password>; 2] {
        [&self.source, &self.target].map(|end| end.as_ref().and_then(|end| end.password.as_ref()))
    }

    /// The same job with these passwords, source first; what comes from where jobs are kept,
    /// has none.
    #[must_use]
    pub fn with_passwords(mut self, passwords: [Option<Password>; 2]) -> Job {
        let ends = [&mut self.source, &mut self.target];
        for (end, password) in ends.into_iter().zip(passwords) {
            if let Some(end) = end {
                end.password = password;
            }
        }
        self
    }
}
