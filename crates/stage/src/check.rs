//! What is checked before a migration: one list of all checks, with their codes.
//!
//! A code never changes its meaning. Those from 603000 are Azure's migration service's, with its
//! meaning, so that scripts and runbooks written for that service go on working. Those from
//! 613000 are our own; the hundreds say what they are about, as they do in the service's range:
//! 0 connections, 1 privileges and parameters, 2 room and activity, 3 this machine, 4 what the
//! databases hold.

use std::fmt;

macro_rules! checks {
    ($($(#[$doc:meta])* $check:ident = $code:literal, $name:literal;)*) => {
        /// One check; `docs/validation.md` describes each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Check {
            $($(#[$doc])* $check,)*
        }

        impl Check {
            /// All of them, by code.
            pub const ALL: &[Check] = &[$(Check::$check),*];

            /// The check of a code; `None` if none has it.
            pub fn of(code: u32) -> Option<Check> {
                Self::ALL.iter().copied().find(|check| check.code() == code)
            }

            /// Its stable code.
            pub fn code(self) -> u32 {
                match self {
                    $(Check::$check => $code,)*
                }
            }

            /// Its name for people.
            pub fn name(self) -> &'static str {
                match self {
                    $(Check::$check => $name,)*
                }
            }
        }
    };
}

checks! {
    /// A server answers at this address.
    Reachable = 603_000, "server reachable";
    /// The connection is encrypted.
    Encryption = 603_001, "encryption";
    /// The server lets the role in.
    Login = 603_100, "login";
    /// The target database is absent or empty.
    TargetEmpty = 603_101, "target empty";
    /// The source database exists.
    DatabaseExists = 603_102, "database exists";
    /// The target's administrator allows the source's extensions.
    ExtensionAllowed = 603_108, "extensions allowed";
    /// The target loads the libraries that extensions need at its start.
    ExtensionPreloaded = 603_109, "libraries preloaded";
    /// The role may read every table, sequence and large object.
    Readable = 603_110, "readable tables";
    /// The role may end the sessions that are in the way.
    EndSessions = 603_111, "ending sessions";
    /// The target takes writes.
    Writable = 603_112, "target writable";
    /// The role belongs to the administrators of a managed target.
    AdminMember = 603_115, "member of administrators";
    /// The role may create the roles that the target lacks.
    CreateRoles = 603_116, "creating roles";
    /// The role may drop the target database.
    DropDatabase = 603_117, "dropping the database";
    /// The source is of a supported version.
    SourceVersion = 603_400, "source version";
    /// The target can have the database's locale.
    DatabaseLocale = 603_401, "database locale";
    /// The target has the built-in collations that columns use.
    Collations = 603_402, "collations";
    /// The target can have the collations that users defined.
    UserCollations = 603_403, "user-defined collations";
    /// No table has the system column oid.
    WithOids = 603_404, "tables with oids";
    /// The target's server has the source's extensions.
    ExtensionAvailable = 603_405, "extensions available";
    /// The target's PostGIS is not older than the source's.
    PostgisVersion = 603_406, "PostGIS version";
    /// No privileges on system catalogs were changed that the target would not take.
    SystemGrants = 603_410, "grants on system catalogs";
    /// How long a round trip takes.
    RoundTrip = 613_000, "round trip";
    /// Source and target are two databases.
    TwoDatabases = 613_001, "two databases";
    /// How many bytes a second pass between this machine and the server.
    Bandwidth = 613_002, "bandwidth";
    /// No policy hides rows from the role.
    RowSecurity = 613_100, "row-level security";
    /// The role may read the passwords of roles.
    RolePasswords = 613_101, "passwords of roles";
    /// The role may create the database, or schemas in it.
    CreateObjects = 613_102, "creating objects";
    /// The role may switch triggers off while it loads.
    ReplicationRole = 613_103, "session_replication_role";
    /// No table needs what only a superuser can create on the target.
    SuperuserOnly = 613_104, "superuser-only objects";
    /// Everything of the source will be on the target.
    Complete = 613_105, "completeness";
    /// Enough connections are free.
    Connections = 613_200, "free connections";
    /// The lock table has room for a lock on every table.
    Locks = 613_201, "lock table";
    /// The target's disk has room for the database.
    Disk = 613_202, "disk space";
    /// No transaction has been open for long.
    LongTransactions = 613_203, "long transactions";
    /// No prepared transaction waits for its end.
    PreparedTransactions = 613_204, "prepared transactions";
    /// No table is locked exclusively.
    LockedTables = 613_205, "locked tables";
    /// A source that is a standby lets long queries run.
    Standby = 613_206, "standby";
    /// This machine has a pg_dump for the source's version.
    PgDump = 613_300, "pg_dump";
    /// This machine has processors and memory enough.
    Host = 613_301, "this machine";
    /// How long the migration will take.
    Duration = 613_302, "expected duration";
    /// The target is not older than the source.
    TargetVersion = 613_400, "target version";
    /// The target offers the versions of the extensions that the source has.
    ExtensionVersion = 613_401, "extension versions";
    /// The target knows the built-in types that columns use.
    Types = 613_402, "types";
    /// Which types travel as text.
    BinaryTypes = 613_403, "binary copy";
    /// The target's encoding holds the source's characters.
    Encoding = 613_404, "encoding";
    /// The target has the source's tablespaces.
    Tablespaces = 613_405, "tablespaces";
}

/// Code and name, as in `603110 readable tables`.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Check;

    #[test]
    fn codes_and_names_are_unique_and_in_order() {
        assert!(Check::ALL.is_sorted_by(|a, b| a.code() < b.code()));
        let names: std::collections::HashSet<_> = Check::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Check::ALL.len());
    }
}
