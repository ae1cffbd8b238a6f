//! What a source says of itself: its server, its database, and what the target needs in order
//! to rebuild it.
//!
//! A catalog is stored on the target (so that an interrupted migration can go on without
//! asking the source again) and in the spool, therefore it can be serialised. Password hashes
//! cannot: they leave memory only as the statement that creates the role.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{Home, LeftOut, Needed, Omission, Packed, Selection, TableId, Tables};

/// The description of a source database.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Catalog {
    /// Which server.
    pub server: Server,
    /// Which database, with its properties.
    pub database: Database,
    /// The schema without data, as an archive in pg_dump's custom format. Empty if the source
    /// has none to offer. Whoever stores a catalog stores these bytes beside it.
    #[serde(skip)]
    pub archive: Packed,
    /// What the source knows of the distribution of values, as an archive in the same format;
    /// empty if the target would not take it. It may hold values, and is not stored.
    #[serde(skip)]
    pub statistics: Packed,
    /// Every table that can hold rows.
    pub tables: Tables,
    /// The types of their columns, by the names that columns call them. A source that knows
    /// nothing of them says nothing.
    #[serde(default)]
    pub types: BTreeMap<Arc<str>, Type>,
    /// The indexes of those among them that are so large that it is worth the while to build several
    /// at once, or to know which one takes longest. Of all others the archive says enough.
    pub indexes: Vec<Arc<Index>>,
    /// Constraints that rows are known to meet although the parent's are not.
    #[serde(default)]
    pub child_constraints: Vec<ChildConstraint>,
    /// What the archive leaves out although a statement can make it.
    #[serde(default)]
    pub supplements: Vec<Supplement>,
    /// Every sequence.
    pub sequences: Vec<Sequence>,
    /// Materialized views that hold rows and are to hold them on the target.
    #[serde(default)]
    pub populated: Vec<TableId>,
    /// How many large objects there are.
    pub large_objects: u64,
    /// The different owners and privileges that they have.
    #[serde(default)]
    pub large_object_rights: Vec<LargeObjectRights>,
    /// Whether it was read by a role that is no superuser, from whom a source hides secrets.
    #[serde(default)]
    pub limited: bool,
    /// Roles of the server, without the predefined ones.
    pub roles: Vec<Role>,
    /// Which role is a member of which.
    pub memberships: Vec<Membership>,
    /// Settings of roles in every database (`ALTER ROLE … SET`).
    pub role_settings: Vec<Setting>,
    /// Rights to set parameters.
    #[serde(default)]
    pub parameter_grants: Vec<ParameterGrant>,
    /// Extensions of the database.
    #[serde(default)]
    pub extensions: Vec<Extension>,
    /// Languages whose handlers come with an extension, and the statements that create them: the
    /// archive has them without their functions.
    #[serde(default)]
    pub languages: BTreeMap<String, String>,
    /// Tablespaces of the server.
    #[serde(default)]
    pub tablespaces: Vec<Tablespace>,
    /// The user's wish: tablespaces of the source, and those of the target in their place.
    #[serde(default)]
    pub tablespace_map: BTreeMap<String, String>,
    /// What of the database it describes; everything else is as if it were not there.
    #[serde(default)]
    pub selection: Selection,
    /// What of that cannot be carried over.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// What of it the source did not show, or no archive can carry. Whoever reads the source has
    /// told of it; whoever has the catalog from elsewhere tells of it again.
    #[serde(default)]
    pub omitted: Vec<Omission>,
    /// Schemas that are to be there for what is selected.
    #[serde(default)]
    pub homes: Vec<Home>,
    /// Extensions that are to be there for what is selected.
    #[serde(default)]
    pub needed: Vec<Needed>,
}

impl Catalog {
    /// The tablespace that the target's database is to be in; empty if that does not matter.
    pub fn database_tablespace(&self) -> &str {
        let own = &self.database.tablespace;
        self.tablespace_map.get(own).unwrap_or(own)
    }
}

/// Whose some large objects are, and who may use them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeObjectRights {
    /// The owner's name.
    pub owner: String,
    /// Privileges, as items of `pg_largeobject_metadata.lomacl` in text; `None` is the default.
    pub acl: Option<Vec<String>>,
}

/// A server's identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// `system_identifier` of its control file; 0 where it cannot be read.
    pub system: u64,
    /// `server_version_num`, for example 150018.
    pub version: u32,
}

/// A database's properties.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its object identifier on its server.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// The owner's name.
    pub owner: String,
    /// Encoding, by PostgreSQL's name.
    pub encoding: String,
    /// `lc_collate`.
    pub collate: String,
    /// `lc_ctype`.
    pub ctype: String,
    /// Its default tablespace; empty if it is not known.
    #[serde(default)]
    pub tablespace: String,
    /// Locale provider: `c` (libc), `i` (icu) or `b` (builtin).
    pub provider: String,
    /// Locale of the icu or builtin provider.
    pub locale: Option<String>,
    /// Rules of the icu provider (PostgreSQL 16).
    pub icu_rules: Option<String>,
    /// Connection limit; -1 is none.
    pub connection_limit: i32,
    /// Whether whoever may create databases may copy it.
    #[serde(default)]
    pub is_template: bool,
    /// Comment.
    pub comment: Option<String>,
    /// Security labels.
    #[serde(default)]
    pub labels: Vec<SecurityLabel>,
    /// Privileges, as items of `pg_database.datacl` in text; `None` is the default.
    pub acl: Option<Vec<String>>,
    /// `ALTER DATABASE … SET` and `ALTER ROLE … IN DATABASE … SET`.
    pub settings: Vec<Setting>,
}

/// A tablespace's properties.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its name.
    pub name: String,
    /// The owner's name.
    pub owner: String,
    /// Privileges, as items of `pg_tablespace.spcacl` in text; `None` is the default.
    pub acl: Option<Vec<String>>,
    /// Costs and the like, as `name=value`.
    pub options: Vec<String>,
    /// Comment.
    pub comment: Option<String>,
    /// Security labels.
    #[serde(default)]
    pub labels: Vec<SecurityLabel>,
}

/// What a provider of labels is to know of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecurityLabel {
    /// The provider.
    pub provider: String,
    /// The label, which only the provider understands.
    pub label: String,
}

/// One configuration parameter set for a role, a database, or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The role, if it holds for one only.
    pub role: Option<String>,
    /// The parameter's name.
    pub name: String,
    /// Its value as stored; list-valued parameters are a quoted list.
    pub value: String,
}

/// A table that can hold rows: ordinary tables and leaf partitions, no views, no parents of
/// partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub id: TableId,
    /// Its object identifier on the source.
    pub oid: u32,
    /// The number of its file on the source; another one means that the table was rewritten,
    /// so its rows are in other blocks now. 0 where there is no such thing.
    #[serde(default)]
    pub filenode: u32,
    /// The columns COPY moves: neither dropped nor generated, by attribute number. Shared, because
    /// where there are many tables, many are alike.
    pub columns: Arc<[Column]>,
    /// The names of its generated columns, which COPY does not move.
    #[serde(default)]
    pub generated: Box<[String]>,
    /// Estimated rows.
    pub rows: u64,
    /// Bytes of the heap.
    pub heap: u64,
    /// Bytes of its TOAST table.
    pub toast: u64,
    /// Whether it is a partition or a child by inheritance.
    pub child: bool,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Its name; shared, because tables have columns of the same names.
    pub name: Arc<str>,
    /// Its type, as `format_type` prints it; shared, because few types serve many columns.
    pub type_name: Arc<str>,
}

/// What a column's type is to those who read values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Type {
    /// Its object identifier on the source.
    pub oid: u32,
    /// The column's modifier as in `pg_attribute.atttypmod`; -1 is none.
    pub modifier: i32,
    /// The built-in type whose binary form its values have, by object identifier: itself, what it
    /// is a domain over, or `text` for an enumeration and whatever else is sent as plain text. 0
    /// if there is none.
    pub sent_as: u32,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Its object identifier on the source.
    pub oid: u32,
    /// Its name; its schema is the table's.
    pub name: Box<str>,
    /// The table it is on.
    pub table: TableId,
    /// The statement that creates it, as `pg_get_indexdef` prints it; may be empty unless it is
    /// separable.
    pub definition: Box<str>,
    /// The constraint it implements, by object identifier.
    pub constraint: Option<u32>,
    /// `p` primary key, `u` unique, `x` exclusion; `None` for a plain index.
    pub constraint_type: Option<char>,
    /// Whether the constraint can be added `USING INDEX` once the index stands, and the table is
    /// large enough for that to be of use.
    pub separable: bool,
    /// Bytes on the source's disk; may be 0 for an index of a small table.
    pub bytes: u64,
}

/// A constraint that a table has from a parent whose own was never checked (`NOT VALID`), and that
/// was checked for this table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildConstraint {
    /// The table.
    pub table: TableId,
    /// The constraint's name.
    pub name: String,
}

/// Something that a dump leaves out although a statement can make it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supplement {
    /// For people: what it is.
    pub subject: String,
    /// The statement.
    pub sql: String,
    /// Whether only a superuser may run it.
    pub superuser: bool,
    /// The first version of a target that does not need it, if there is one.
    pub until: Option<u32>,
    /// The provider of security labels that it takes, if it is a label.
    #[serde(default)]
    pub provider: Option<String>,
    /// Whether rows and indexes depend on it, so that it must stand before them.
    #[serde(default)]
    pub early: bool,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Its name.
    pub id: TableId,
    /// Its object identifier on the source.
    pub oid: u32,
}

/// A sequence's present value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceValue {
    /// Which sequence.
    pub id: TableId,
    /// The last value handed out, or the first one if none was.
    pub last_value: i64,
    /// Whether `last_value` was handed out.
    pub is_called: bool,
}

/// A role.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// `SUPERUSER`.
    pub superuser: bool,
    /// `INHERIT`.
    pub inherit: bool,
    /// `CREATEROLE`.
    pub create_role: bool,
    /// `CREATEDB`.
    pub create_db: bool,
    /// `LOGIN`.
    pub login: bool,
    /// `REPLICATION`.
    pub replication: bool,
    /// `BYPASSRLS`.
    pub bypass_rls: bool,
    /// `CONNECTION LIMIT`; -1 is none.
    pub connection_limit: i32,
    /// `VALID UNTIL`, as text in ISO form.
    pub valid_until: Option<String>,
    /// Comment.
    pub comment: Option<String>,
    /// Security labels.
    #[serde(default)]
    pub labels: Vec<SecurityLabel>,
    /// The password's hash. Never serialised, never printed.
    #[serde(skip)]
    pub password: Option<SecretString>,
    /// Whether the source let us read password hashes at all.
    pub password_readable: bool,
    /// Whether it was left behind on the way, where secrets must not lie.
    #[serde(default)]
    pub password_withheld: bool,
}

/// A role's right to set a parameter, or to set it for the whole server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterGrant {
    /// The parameter.
    pub parameter: String,
    /// Who may; `None` is everybody.
    pub grantee: Option<String>,
    /// Who granted it; `None` is the server's first role, which owns every parameter.
    pub grantor: Option<String>,
    /// `SET` or `ALTER SYSTEM`.
    pub privilege: String,
    /// `WITH GRANT OPTION`.
    pub grantable: bool,
}

/// An extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Its version, as the extension numbers them.
    pub version: String,
}

/// A role's membership in another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The role that has members.
    pub role: String,
    /// The member.
    pub member: String,
    /// Who granted it.
    pub grantor: String,
    /// `WITH ADMIN OPTION`.
    pub admin: bool,
    /// `WITH INHERIT` (PostgreSQL 16; `None` before).
    pub inherit: Option<bool>,
    /// `WITH SET` (PostgreSQL 16; `None` before).
    pub set: Option<bool>,
}
