//! One end of a migration: where it is, and how to log in.

use std::fmt;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::words::words;

words! {
    /// How much a connection insists on TLS, as libpq's `sslmode`.
    pub SslMode {
        /// Never TLS.
        Disable = "disable",
        /// TLS if the server insists.
        Allow = "allow",
        /// TLS if the server offers it.
        Prefer = "prefer",
        /// TLS, whoever the server is.
        Require = "require",
        /// TLS, and a certificate of an authority that is trusted.
        VerifyCa = "verifyCa",
        /// As `verifyCa`, and the certificate is for this host.
        VerifyFull = "verifyFull",
    }
}

impl SslMode {
    /// What libpq calls it.
    pub fn libpq(self) -> &'static str {
        match self {
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
            other => other.word(),
        }
    }
}

words! {
    /// What runs the source, by the names of Azure's migration service. For those who read it:
    /// pghaul finds out by itself what a server can do.
    pub SourceType {
        /// A server of one's own.
        OnPremises = "OnPremises",
        /// Amazon Web Services.
        Aws = "AWS",
        /// Amazon RDS.
        AwsRds = "AWS_RDS",
        /// Amazon Aurora.
        AwsAurora = "AWS_AURORA",
        /// A virtual machine of Amazon.
        AwsEc2 = "AWS_EC2",
        /// Google Cloud.
        Gcp = "GCP",
        /// Google Cloud SQL.
        GcpCloudSql = "GCP_CloudSQL",
        /// Google AlloyDB.
        GcpAlloyDb = "GCP_AlloyDB",
        /// A virtual machine of Google.
        GcpCompute = "GCP_Compute",
        /// A virtual machine of Azure.
        AzureVm = "AzureVM",
        /// Azure Database for PostgreSQL, single server.
        PostgreSqlSingleServer = "PostgreSQLSingleServer",
        /// Azure Database for PostgreSQL, flexible server.
        PostgreSqlFlexibleServer = "PostgreSQLFlexibleServer",
        /// Azure Cosmos DB for PostgreSQL.
        PostgreSqlCosmosDb = "PostgreSQLCosmosDB",
        /// EnterpriseDB.
        Edb = "EDB",
        /// EnterpriseDB with compatibility to Oracle.
        EdbOracleServer = "EDB_Oracle_Server",
        /// EnterpriseDB's PostgreSQL.
        EdbPostgreSql = "EDB_PostgreSQL",
        /// ApsaraDB RDS.
        ApsaraDbRds = "ApsaraDB_RDS",
        /// Crunchy Data.
        CrunchyPostgreSql = "Crunchy_PostgreSQL",
        /// A virtual machine of Digital Ocean.
        DigitalOceanDroplets = "Digital_Ocean_Droplets",
        /// Digital Ocean's managed PostgreSQL.
        DigitalOceanPostgreSql = "Digital_Ocean_PostgreSQL",
        /// Heroku.
        HerokuPostgreSql = "Heroku_PostgreSQL",
        /// A virtual machine of Huawei.
        HuaweiCompute = "Huawei_Compute",
        /// Huawei's managed PostgreSQL.
        HuaweiRds = "Huawei_RDS",
        /// Supabase.
        SupabasePostgreSql = "Supabase_PostgreSQL",
    }
}

/// One end of a migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Its name, address, or the folder of its Unix socket.
    pub host: String,
    /// Its port.
    #[serde(default = "port")]
    #[schema(minimum = 1)]
    pub port: u16,
    /// The role to log in as.
    pub user: String,
    /// How much to insist on TLS.
    #[serde(default = "prefer")]
    pub ssl_mode: SslMode,
    /// Its password. Can be written and never read.
    // With `skip_serializing` alone the schema would not have it.
    #[serde(
        default,
        skip_serializing_if = "is_secret",
        serialize_with = "withhold"
    )]
    #[schema(value_type = Option<String>, format = Password, write_only)]
    pub password: Option<Password>,
    /// Certificates of the authorities to trust, as PEM; absent: those that this host trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<String>,
    /// The database to be in while all of them are looked at.
    #[serde(default = "postgres")]
    pub database: String,
    /// What runs it; of a source only.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub source_type: Option<SourceType>,
}

/// Always: a password is never written.
fn is_secret(_: &Option<Password>) -> bool {
    true
}

fn withhold<S: Serializer>(_: &Option<Password>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_none()
}

fn port() -> u16 {
    5432
}

fn prefer() -> SslMode {
    SslMode::Prefer
}

fn postgres() -> String {
    "postgres".to_owned()
}

impl Endpoint {
    /// The connection string, with the password in it: for the environment of a process, and
    /// for nothing that can be read by others. `authorities` is the file that holds
    /// [`Endpoint::ca_certificate`].
    pub fn conninfo(&self, authorities: Option<&Path>) -> SecretString {
        let mut text = String::new();
        let mut add = |key: &str, value: &str| {
            text += key;
            text += "='";
            for character in value.chars() {
                if matches!(character, '\'' | '\\') {
                    text.push('\\');
                }
                text.push(character);
            }
            text += "' ";
        };
        add("host", &self.host);
        add("port", &self.port.to_string());
        add("user", &self.user);
        add("dbname", &self.database);
        add("sslmode", self.ssl_mode.libpq());
        if let Some(password) = &self.password {
            add("password", password.expose());
        }
        match authorities {
            Some(file) => add("sslrootcert", &file.to_string_lossy()),
            // To libpq, this is no file but what the host trusts.
            None if self.ssl_mode == SslMode::VerifyFull => add("sslrootcert", "system"),
            None => {}
        }
        text.into()
    }
}

/// A password. It is read, and never printed or written.
#[derive(Clone)]
pub struct Password(SecretString);

impl Password {
    /// The password itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Password {
    fn from(password: String) -> Self {
        Self(password.into())
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Password::from)
    }
}
