//! Which part of a database a migration is about, and what is left out of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A choice of objects, by pg_dump's patterns, and of their properties.
/// The default is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// Only these schemas, with what is in them.
    pub schemas: Vec<String>,
    /// Not these schemas.
    pub exclude_schemas: Vec<String>,
    /// Only these tables, views and sequences, whatever is said of schemas.
    pub tables: Vec<String>,
    /// Not these tables, views and sequences.
    pub exclude_tables: Vec<String>,
    /// Not the rows of these tables.
    pub exclude_table_data: Vec<String>,
    /// Not these extensions.
    pub exclude_extensions: Vec<String>,
    /// Schema, rows, or both.
    pub content: Content,
    /// Whether tables that hold rows are emptied before rows alone are loaded.
    pub truncate: bool,
    /// Objects belong to the loading role.
    pub no_owner: bool,
    /// No privileges.
    pub no_acl: bool,
    /// No roles are created.
    pub no_roles: bool,
    /// Roles are created without passwords.
    pub no_role_passwords: bool,
    /// Everything goes to the default tablespace.
    pub no_tablespaces: bool,
    /// No comments.
    pub no_comments: bool,
    /// Planner statistics are neither carried nor collected.
    pub no_analyze: bool,
    /// Roles of the source, and by which role of the target they are replaced.
    pub role_map: BTreeMap<String, String>,
}

/// What of the selected objects is carried over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Definitions and rows.
    #[default]
    All,
    /// Definitions.
    SchemaOnly,
    /// Rows, into tables that are there.
    DataOnly,
}

impl Selection {
    /// Whether what is in no schema is carried over: nothing was asked for by name.
    pub fn is_of_everything(&self) -> bool {
        self.schemas.is_empty() && self.tables.is_empty()
    }

    /// Whether an object may need another one that is not carried over.
    pub fn is_partial(&self) -> bool {
        !self.is_of_everything()
            || [
                &self.exclude_schemas,
                &self.exclude_tables,
                &self.exclude_extensions,
            ]
            .iter()
            .any(|patterns| !patterns.is_empty())
    }

    /// Whether definitions are carried over.
    pub fn has_schema(&self) -> bool {
        self.content != Content::DataOnly
    }

    /// Whether rows are carried over.
    pub fn has_rows(&self) -> bool {
        self.content != Content::SchemaOnly
    }

    /// The role of the target that stands for a role of the source.
    pub fn role<'a>(&'a self, source: &'a str) -> &'a str {
        self.role_map.get(source).map_or(source, String::as_str)
    }
}

/// A piece of the schema that cannot be carried over, because what it refers to is not selected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its kind, as pg_dump calls it.
    pub kind: String,
    /// The schema that it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its object identifier on the source; 0 if its name says all.
    pub oid: u32,
    /// For people: what the target will lack.
    pub object: String,
    /// For people: why.
    pub reason: String,
}

/// A schema in which selected objects are, though it is not itself selected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
}

/// An extension that selected objects need, though it is not itself selected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needed {
    /// Its name.
    pub name: String,
    /// The schema that it is in.
    pub schema: String,
}
