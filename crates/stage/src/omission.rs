//! What the target will lack after a migration.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something of the source that is not carried over, by name, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Omission {
    /// What the target lacks, for people: `attribute SUPERUSER of role "admin"`.
    pub object: String,
    /// Why, in one lower-case clause.
    pub reason: String,
    /// Statements that an administrator could run in the target database to make up for it, if
    /// there are any. No secret is in them.
    pub remedy: Option<String>,
    /// Whether it is the database's or the server's.
    pub scope: Scope,
}

/// What something belongs to.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One database, which it is migrated with.
    #[default]
    Database,
    /// The server, such as a role: migrated once with however many databases.
    Server,
}

impl Omission {
    /// An omission that no statement makes up for.
    pub fn new(object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            object: object.into(),
            reason: reason.into(),
            remedy: None,
            scope: Scope::Database,
        }
    }

    /// Makes it one of the server's.
    #[must_use]
    pub fn of_server(mut self) -> Self {
        self.scope = Scope::Server;
        self
    }

    /// Adds the statements that make up for it.
    #[must_use]
    pub fn remedy(mut self, sql: impl Into<String>) -> Self {
        let sql = sql.into();
        let sql = sql.trim().trim_end_matches(';').trim_end();
        self.remedy = (!sql.is_empty()).then(|| format!("{sql};"));
        self
    }
}

/// Object and reason.
impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::Omission;

    #[test]
    fn a_remedy_is_one_script_with_its_end() {
        let omission = Omission::new("a", "because");
        assert_eq!(omission.to_string(), "a: because");
        assert_eq!(omission.clone().remedy(" \n").remedy, None);
        let remedy = omission.remedy("ALTER ROLE \"a\" SUPERUSER;\n\n").remedy;
        assert_eq!(remedy.as_deref(), Some("ALTER ROLE \"a\" SUPERUSER;"));
    }
}
