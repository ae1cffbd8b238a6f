//! What the target's server is and has.

use std::collections::{BTreeMap, BTreeSet};

use pghaul_stage::Result;
use pghaul_wire::{Client, checkup, quote};
use tokio_postgres::types::FromSql;

use crate::role::is_reserved;
use crate::session::failed;

/// What is compared with the source.
#[derive(Debug)]
pub struct TargetFacts {
    /// `server_version_num`.
    pub version: u32,
    /// When its server process started, in microseconds since 1970.
    pub started: i64,
    /// The database's object identifier and locale; `None` if it is absent.
    pub database: Option<Locale>,
    /// Whether the role is a superuser.
    pub superuser: bool,
    /// The extensions that the server offers, by name; `None` where it does not say.
    pub available: Option<BTreeMap<String, Available>>,
    /// The extensions that the administrator of a managed service allows; `None` where there is
    /// no such list.
    pub allowed: Option<Vec<String>>,
    /// `shared_preload_libraries`; `None` where the role may not see it.
    pub preloaded: Option<Vec<String>>,
    /// The names of built-in collations.
    pub collations: BTreeSet<String>,
    /// Whether the server was built with ICU.
    pub icu: bool,
    /// The names of built-in types.
    pub types: BTreeSet<String>,
    /// Encodings between which the server converts, from and to.
    pub conversions: BTreeSet<(String, String)>,
    /// Tablespaces.
    pub tablespaces: BTreeSet<String>,
    /// The role that a managed service gives its administrators, and whether this role belongs to
    /// it; `None` where the server has no such role.
    pub administrators: Option<(String, bool)>,
    /// Why the role may not create roles, if it may not.
    pub role_refusal: Option<String>,
    /// Locks for which the lock table has room.
    pub locks: u64,
    /// Bytes free on the disk of the data directory, where that can be known.
    pub free: Option<u64>,
    roles: BTreeSet<String>,
    pub(super) in_recovery: bool,
    pub(super) read_only: bool,
    pub(super) create_db: bool,
    pub(super) client: Client,
}

/// A database's locale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locale {
    /// The database's object identifier.
    pub oid: u32,
    /// Its encoding, by PostgreSQL's name.
    pub encoding: String,
    /// `lc_collate`.
    pub collate: String,
    /// `lc_ctype`.
    pub ctype: String,
    /// `c` (libc), `i` (icu) or `b` (builtin).
    pub provider: String,
    /// Locale of the icu or builtin provider.
    pub locale: Option<String>,
}

/// An extension that a server offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Available {
    /// The versions that can be installed.
    pub versions: BTreeSet<String>,
    /// Whether this role may install it, as far as the server itself decides.
    pub permitted: bool,
}

impl TargetFacts {
    /// Whether a migration would have to create a role of this name.
    pub fn lacks_role(&self, name: &str) -> bool {
        !self.roles.contains(name) && !is_reserved(name)
    }

    /// Which of these locales of libc the server's host does not have.
    ///
    /// # Errors
    ///
    /// Those of a session that breaks.
    pub async fn missing_locales(&self, names: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let mut missing = BTreeSet::new();
        for name in names.iter().filter(|name| !name.is_empty()) {
            // This setting takes any locale of the host, whatever the database's encoding, and
            // from everybody.
            let sql = format!(
                "SET lc_monetary = {}; SET lc_monetary = 'C'",
                quote::literal(name)
            );
            match self.client.batch_execute(&sql).await.map_err(failed) {
                Ok(()) => {}
                Err(error) if error.code() == Some("22023") => {
                    missing.insert(name.clone());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(missing)
    }
}

/// Reads everything in a session with pinned settings; `present` says whether it
/// is in the target database.
pub(super) async fn read(client: Client, present: bool) -> Result<TargetFacts> {
    let row = client.query_one(SERVER, &[]).await.map_err(failed)?;
    let version: i32 = row.get(0);
    let version = version.unsigned_abs();
    let managed: [Option<&str>; 2] = [row.get(5), row.get(6)];
    Ok(TargetFacts {
        version,
        started: row.get(1),
        database: if present {
            Some(locale(&client, version).await?)
        } else {
            None
        },
        superuser: row.get(2),
        available: available(&client, version).await,
        allowed: managed
            .iter()
            .flatten()
            .find(|list| !list.is_empty())
            .map(|list| names(list)),
        preloaded: row.get::<_, Option<&str>>(4).map(names),
        collations: set(
            &client,
            "SELECT c.collname::text FROM pg_catalog.pg_collation c \
             WHERE c.collnamespace = 'pg_catalog'::pg_catalog.regnamespace",
        )
        .await?,
        icu: row.get(7),
        types: set(
            &client,
            "SELECT t.typname::text FROM pg_catalog.pg_type t \
             WHERE t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace",
        )
        .await?,
        conversions: conversions(&client).await?,
        tablespaces: set(
            &client,
            "SELECT t.spcname::text FROM pg_catalog.pg_tablespace t",
        )
        .await?,
        roles: set(&client, "SELECT r.rolname::text FROM pg_catalog.pg_roles r").await?,
        administrators: administrators(&client).await?,
        role_refusal: None,
        locks: checkup::lock_room(&client).await?,
        free: free(row.get(8), row.get(9)),
        in_recovery: row.get(10),
        read_only: row.get(11),
        create_db: row.get(3),
        client,
    })
}

/// The server, the role, and settings, some of which only some servers know or show. Whether it has
/// ICU its collations tell, but for `unicode`, which every server lists from PostgreSQL 16 on.
const SERVER: &str = "
SELECT pg_catalog.current_setting('server_version_num')::int4,
       (1e6 * pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()))::int8,
       r.rolsuper, r.rolsuper OR r.rolcreatedb,
       (SELECT s.setting FROM pg_catalog.pg_settings s WHERE s.name = 'shared_preload_libraries'),
       pg_catalog.current_setting('azure.extensions', true),
       pg_catalog.current_setting('rds.allowed_extensions', true),
       EXISTS (SELECT FROM pg_catalog.pg_collation c WHERE c.collprovider = 'i'
                  AND c.collnamespace = 'pg_catalog'::pg_catalog.regnamespace
                  AND c.collname <> 'unicode'),
       (SELECT s.setting FROM pg_catalog.pg_settings s WHERE s.name = 'data_directory'),
       pg_catalog.inet_client_addr() IS NULL,
       pg_catalog.pg_is_in_recovery(),
       coalesce((SELECT s.reset_val FROM pg_catalog.pg_settings s
                  WHERE s.name = 'default_transaction_read_only') = 'on', false)
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";

/// Managed services have no superuser for their customers but a role with the most of its rights.
async fn administrators(client: &Client) -> Result<Option<(String, bool)>> {
    let sql = "SELECT r.rolname::text, pg_catalog.pg_has_role(r.oid, 'member') \
                 FROM pg_catalog.pg_roles r \
                WHERE r.rolname IN ('azure_pg_admin', 'rds_superuser', 'cloudsqlsuperuser', \
                                    'alloydbsuperuser') \
                ORDER BY 2 DESC, 1 LIMIT 1";
    let row = client.query_opt(sql, &[]).await.map_err(failed)?;
    Ok(row.map(|row| (row.get(0), row.get(1))))
}

async fn locale(client: &Client, version: u32) -> Result<Locale> {
    let (provider, locale) = match version {
        170_000.. => ("d.datlocprovider::text", "d.datlocale"),
        150_000.. => ("d.datlocprovider::text", "d.daticulocale"),
        _ => ("'c'::text", "NULL::text"),
    };
    let sql = format!(
        "SELECT d.oid, pg_catalog.pg_encoding_to_char(d.encoding)::text, d.datcollate::text, \
                d.datctype::text, {provider}, {locale} \
           FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
    );
    let row = client.query_one(&sql, &[]).await.map_err(failed)?;
    Ok(Locale {
        oid: row.get(0),
        encoding: row.get(1),
        collate: row.get(2),
        ctype: row.get(3),
        provider: row.get(4),
        locale: row.get(5),
    })
}

/// What can be installed. Some builds of a server fail to list it, which is no reason to stop.
async fn available(client: &Client, version: u32) -> Option<BTreeMap<String, Available>> {
    let trusted = if version >= 130_000 {
        "v.trusted"
    } else {
        "false"
    };
    let sql = format!(
        "SELECT v.name::text, v.version, v.installed OR NOT v.superuser OR \
                (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user) \
                OR {trusted} \
           FROM pg_catalog.pg_available_extension_versions v"
    );
    let rows = match client.query(&sql, &[]).await {
        Ok(rows) => rows,
        Err(error) => {
            tracing::debug!(%error, "the extensions are not listed");
            return None;
        }
    };
    let mut available: BTreeMap<String, Available> = BTreeMap::new();
    for row in &rows {
        let extension = available.entry(row.get(0)).or_default();
        extension.versions.insert(row.get(1));
        extension.permitted |= row.get::<_, bool>(2);
    }
    Some(available)
}

async fn conversions(client: &Client) -> Result<BTreeSet<(String, String)>> {
    let sql = "SELECT pg_catalog.pg_encoding_to_char(c.conforencoding)::text, \
                      pg_catalog.pg_encoding_to_char(c.contoencoding)::text \
                 FROM pg_catalog.pg_conversion c WHERE c.condefault";
    let rows = client.query(sql, &[]).await.map_err(failed)?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

pub(super) async fn set<T>(client: &Client, sql: &str) -> Result<BTreeSet<T>>
where
    T: for<'a> FromSql<'a> + Ord,
{
    let rows = client.query(sql, &[]).await.map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The items of a list in a setting.
fn names(list: &str) -> Vec<String> {
    list.split(',')
        .map(|name| name.trim().trim_matches('"').to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Bytes free where the data directory is, if its server runs on this host, as a connection by
/// a Unix socket proves. A mount that this process cannot see is not known.
fn free(directory: Option<&str>, same_host: bool) -> Option<u64> {
    let found = rustix::fs::statvfs(directory.filter(|_| same_host)?).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn lists_in_settings_are_split() {
        assert_eq!(names(" a, \"b\",c,"), ["a", "b", "c"]);
        assert!(names("").is_empty());
    }
}
