//! Every key that a properties file may hold, and what becomes of it. `docs/properties.md` shows
//! this table, and a test compares the two.

/// Where in the file a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At the top of the file.
    Top,
    /// In `properties`.
    Properties,
    /// In `secretParameters`.
    Secrets,
    /// In `adminCredentials`.
    Credentials,
}

/// Where a key is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// At the top only: what stands around the properties in a request to the service.
    Around,
    /// At the top or in `properties`.
    Property,
    /// There, or in `secretParameters`.
    Anywhere,
    /// In `secretParameters` only.
    Secret,
    /// In `adminCredentials`, which stands in `secretParameters`.
    Credential,
}

impl Taken {
    /// Whether that place is one of them.
    pub(super) fn at(self, place: Place) -> bool {
        match self {
            Taken::Around => place == Place::Top,
            Taken::Property => matches!(place, Place::Top | Place::Properties),
            Taken::Anywhere => place != Place::Credentials,
            Taken::Secret => place == Place::Secrets,
            Taken::Credential => place == Place::Credentials,
        }
    }

    /// For people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Taken::Around => "the top of the file",
            Taken::Property => "the top of the file or `properties`",
            Taken::Anywhere => "the top of the file, `properties` or `secretParameters`",
            Taken::Secret => "`secretParameters`",
            Taken::Credential => "`adminCredentials` in `secretParameters`",
        }
    }
}

/// Declares the keys as an enum and as a table, so that neither can have one more than the other.
macro_rules! keys {
    ($($key:ident, $taken:ident, [$($name:literal),+], $becomes:literal;)*) => {
        /// A key by its meaning, however it is spelled.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(super) enum Key {
            $($key,)*
        }

        /// All keys.
        pub(super) const KEYS: &[Entry] = &[
            $(Entry {
                key: Key::$key,
                taken: Taken::$taken,
                names: &[$($name),+],
                #[cfg(test)]
                becomes: $becomes,
            },)*
        ];
    };
}

/// A key, its spellings, and what becomes of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) taken: Taken,
    /// The first one is used in messages. Capital and small letters are the same.
    pub(super) names: &'static [&'static str],
    /// In words; the test of the documentation reads it.
    #[cfg(test)]
    pub(super) becomes: &'static str,
}

keys! {
    Source, Property, ["sourceDbServerResourceId"],
        "The source as `host:port@user`; the port may be left out (5432). The resource ID of a server says neither host nor user: it is refused, unless `sourceDbServerFullyQualifiedDomainName` and `sourceServerUsername` say both.";
    SourceHost, Property, ["sourceDbServerFullyQualifiedDomainName"],
        "The source's host name or address, in place of the one in `sourceDbServerResourceId`.";
    SourceType, Property, ["sourceType"],
        "Kept with the migration and shown. A type that the service does not have is refused, with the list of those that it has.";
    SslMode, Property, ["sslMode"],
        "For both connections: `Disable`, `Allow`, `Prefer`, `Require`, `VerifyCA`, `VerifyFull`. Default: `VerifyFull` if `sourceType` is `PostgreSQLSingleServer`, else `Prefer`.";
    Target, Property, ["targetDbServerResourceId"],
        "The target, written as the source is. Where the file has none, `--target` names it.";
    TargetHost, Property, ["targetDbServerFullyQualifiedDomainName"],
        "The target's host name or address, in place of the one in `targetDbServerResourceId`.";
    SecretParameters, Property, ["secretParameters"],
        "Holds `adminCredentials` and the names of the users.";
    AdminCredentials, Secret, ["adminCredentials"],
        "Holds both passwords.";
    SourcePassword, Credential, ["sourceServerPassword"],
        "The password of the source's user. It travels to the runtime server and is never shown again.";
    TargetPassword, Credential, ["targetServerPassword"],
        "The password of the target's user, likewise.";
    SourceUser, Anywhere, ["sourceServerUsername"],
        "The source's user, in place of the one in `sourceDbServerResourceId`. `sourceServerUserName` is the same key.";
    TargetUser, Anywhere, ["targetServerUsername"],
        "The target's user, in place of the one in `targetDbServerResourceId`. `targetServerUserName` is the same key.";
    Databases, Property, ["dbsToMigrate"],
        "The databases, as many as you like. Without the key: all that the source has, but templates. An empty list, an empty name and a name given twice are refused.";
    Overwrite, Property, ["overwriteDbsInTarget"],
        "`True`: databases of the target with these names are dropped first, with all that is in them. `False`, or no key: such a database is refused unless it is empty.";
    Roles, Property, ["migrateRoles"],
        "`False`: no roles are created. Default: `True`, from any source.";
    Runtime, Property, ["migrationRuntimeResourceId", "migrationInstanceResourceId"],
        "The address of the runtime server that does the work, such as `https://runtime.example:8432`. A resource ID is refused. Without the key: `--server`, else `PGHAUL_SERVER`, else the migration runs in the process that reads the file.";
    Mode, Property, ["migrationMode"],
        "`Offline`. `Online` is refused: changes made while the copy runs are not carried yet.";
    Option, Property, ["migrationOption"],
        "`Validate`, `Migrate` or `ValidateAndMigrate`, the default.";
    WindowStart, Property, ["migrationWindowStartTimeInUtc"],
        "The time at which the migration may begin, such as `2030-01-31T22:00:00Z`. A time without a zone is UTC. Without an end it is the job's `startAt`, with one its `window`.";
    WindowEnd, Property, ["migrationWindowEndTimeInUtc"],
        "The end of the window, written like its start. Refused without a start.";
    StartData, Property, ["startDataMigration"],
        "`True`: begin at once, which is the default; refused together with a window. `False` is refused: nothing would start the migration later, so give it a window instead.";
    SetupReplication, Property, ["setupLogicalReplicationOnSourceDbIfNeeded"],
        "Both values are taken: an offline migration never needs logical replication, and the source is not changed.";
    Cutover, Property, ["triggerCutover"],
        "`False` is taken. `True` is refused: an offline migration has no cutover.";
    CutoverDatabases, Property, ["dbsToTriggerCutoverOn"],
        "An empty list is taken. Names are refused for the same reason.";
    Cancel, Property, ["cancel"],
        "`False` is taken. `True` is refused: what does not exist yet cannot be cancelled; see `pghaul migration update --cancel`.";
    CancelDatabases, Property, ["dbsToCancelMigrationOn"],
        "An empty list is taken. Names are refused for the same reason.";
    MigrationId, Property, ["migrationId"],
        "Refused: the runtime server gives it.";
    Status, Property, ["currentStatus"],
        "Refused: the runtime server gives it.";
    SourceMetadata, Property, ["sourceDbServerMetadata"],
        "Refused: `pghaul validate` asks the source.";
    TargetMetadata, Property, ["targetDbServerMetadata"],
        "Refused: `pghaul validate` asks the target.";
    Properties, Around, ["properties"],
        "Holds the properties, if they do not stand at the top themselves.";
    Tags, Around, ["tags"],
        "Kept with the migration and shown: an object of strings.";
    Location, Around, ["location"],
        "Taken, with a notice: the work is done where the runtime server is.";
    Id, Around, ["id"],
        "Refused: the service gives it.";
    Name, Around, ["name"],
        "Refused: `--name` gives the migration its name.";
    Type, Around, ["type"],
        "Refused: the service gives it.";
    SystemData, Around, ["systemData"],
        "Refused: the service gives it.";
}

impl Entry {
    /// The entry of a key that is spelled like this.
    pub(super) fn of(name: &str) -> Option<&'static Entry> {
        KEYS.iter().find(|entry| {
            let mut names = entry.names.iter();
            names.any(|known| known.eq_ignore_ascii_case(name))
        })
    }

    /// The name to use in messages.
    pub(super) fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }
}

impl Key {
    /// The name to use in messages.
    pub(super) fn name(self) -> &'static str {
        let entry = KEYS.iter().find(|entry| entry.key == self);
        entry.map(Entry::name).unwrap_or_default()
    }
}
