//! The flags that select a part of a database, and of its properties.

use clap::Args;
use pghaul_stage::{Content, Selection};

use crate::args::parse_pair;
use crate::databases;

/// What to carry over, or to compare.
#[derive(Debug, Clone, Default, Args)]
#[command(
    next_help_heading = "Selection (patterns as for pg_dump; every flag with one may be repeated)"
)]
pub(crate) struct Selecting {
    /// Only schemas that match, with what is in them
    #[arg(long = "schema", value_name = "PATTERN")]
    schemas: Vec<String>,

    /// No schemas that match
    #[arg(long = "exclude-schema", value_name = "PATTERN")]
    exclude_schemas: Vec<String>,

    /// Only tables, views and sequences that match
    #[arg(long = "table", value_name = "PATTERN")]
    tables: Vec<String>,

    /// No tables, views and sequences that match
    #[arg(long = "exclude-table", value_name = "PATTERN")]
    exclude_tables: Vec<String>,

    /// No rows of tables that match
    #[arg(long = "exclude-table-data", value_name = "PATTERN")]
    exclude_table_data: Vec<String>,

    /// No extensions that match
    #[arg(
        long = "exclude-extension",
        value_name = "PATTERN",
        conflicts_with = "data_only"
    )]
    exclude_extensions: Vec<String>,

    /// Definitions without rows, values of sequences and large objects
    #[arg(long)]
    schema_only: bool,

    /// Rows, values of sequences and large objects, into a schema that the target has
    #[arg(long, conflicts_with = "schema_only")]
    data_only: bool,

    #[command(flatten)]
    properties: Properties,
}

/// Which properties objects have.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Properties {
    /// Do not set owners: all objects belong to the target's role
    #[arg(long)]
    no_owner: bool,

    /// No grants and no default privileges
    #[arg(long, alias = "no-privileges")]
    no_acl: bool,

    /// No comments
    #[arg(long)]
    no_comments: bool,

    /// A role of the source, and the role of the target that stands for it
    #[arg(long = "role-map", value_name = "OLD=NEW", value_parser = parse_pair)]
    role_map: Vec<(String, String)>,
}

/// What to do without, besides a selection, and what is not left alone.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Left alone")]
pub(crate) struct Leaving {
    /// Create no roles
    #[arg(long, conflicts_with = "data_only")]
    no_roles: bool,

    /// Create roles without passwords, and do not read those of the source
    #[arg(long, conflicts_with = "data_only")]
    no_role_passwords: bool,

    /// Create everything in the default tablespace
    #[arg(long, conflicts_with = "data_only")]
    no_tablespaces: bool,

    /// Neither carry planner statistics over nor collect them
    #[arg(long)]
    no_analyze: bool,

    /// With --data-only: first empty the selected tables, all together and once
    #[arg(long, requires = "data_only")]
    truncate: bool,
}

impl Selecting {
    /// The selection that these flags say.
    pub(crate) fn selection(&self) -> Selection {
        self.properties.apply(Selection {
            schemas: self.schemas.clone(),
            exclude_schemas: self.exclude_schemas.clone(),
            tables: self.tables.clone(),
            exclude_tables: self.exclude_tables.clone(),
            exclude_table_data: self.exclude_table_data.clone(),
            exclude_extensions: self.exclude_extensions.clone(),
            content: match (self.schema_only, self.data_only) {
                (true, _) => Content::SchemaOnly,
                (_, true) => Content::DataOnly,
                _ => Content::All,
            },
            ..Selection::default()
        })
    }
}

impl Properties {
    /// A selection without what these flags leave alone, too.
    pub(crate) fn apply(&self, selection: Selection) -> Selection {
        let mut role_map = selection.role_map;
        role_map.extend(self.role_map.iter().cloned());
        Selection {
            no_owner: selection.no_owner || self.no_owner,
            no_acl: selection.no_acl || self.no_acl,
            no_comments: selection.no_comments || self.no_comments,
            role_map,
            ..selection
        }
    }
}

impl Leaving {
    /// A selection without what these flags leave alone.
    pub(crate) fn apply(&self, selection: Selection) -> Selection {
        Selection {
            no_roles: self.no_roles,
            no_role_passwords: self.no_role_passwords,
            no_tablespaces: self.no_tablespaces,
            no_analyze: self.no_analyze,
            truncate: self.truncate,
            ..selection
        }
    }
}

/// The flags with which `verify` compares what was selected, for a shell.
pub(crate) fn flags(selection: &Selection) -> String {
    let mut flags = String::new();
    for (flag, patterns) in [
        ("schema", &selection.schemas),
        ("exclude-schema", &selection.exclude_schemas),
        ("table", &selection.tables),
        ("exclude-table", &selection.exclude_tables),
        ("exclude-table-data", &selection.exclude_table_data),
        ("exclude-extension", &selection.exclude_extensions),
    ] {
        for pattern in patterns {
            flags += &format!(" --{flag} {}", word(pattern));
        }
    }
    for (flag, set) in [
        ("schema-only", selection.content == Content::SchemaOnly),
        ("data-only", selection.content == Content::DataOnly),
        ("no-owner", selection.no_owner),
        ("no-acl", selection.no_acl),
        ("no-comments", selection.no_comments),
    ] {
        if set {
            flags += &format!(" --{flag}");
        }
    }
    for (old, new) in &selection.role_map {
        let name = |name: &str| match name.contains('=') || name.starts_with('"') {
            true => format!("\"{}\"", name.replace('"', "\"\"")),
            false => name.to_owned(),
        };
        let pair = format!("{}={}", name(old), name(new));
        flags += &format!(" --role-map {}", word(&pair));
    }
    flags
}

/// A word as a shell takes it.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-=".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => databases::quoted(text),
    }
}
