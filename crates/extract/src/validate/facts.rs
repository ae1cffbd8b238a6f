//! What the source is and has that a target may lack.

use pghaul_stage::{Database, Result, Selection, TableId};
use pghaul_wire::{Chosen, Client};
use serde::{Deserialize, Serialize};

use crate::catalog::tables::{FROM, copied};
use crate::catalog::{database, left_out, types};
use crate::portable::{Types, Versions};
use crate::probe::Probe;
use crate::session::{field, row, rows, size};

/// What is compared with the target.
#[derive(Debug, Serialize, Deserialize)]
pub struct SourceFacts {
    /// `server_version_num`.
    pub version: u32,
    /// When its server process started, in microseconds since 1970; with the database's object
    /// identifier, this tells whether two databases are one.
    pub started: i64,
    /// The database and its locale.
    pub database: Database,
    /// How many tables it has whose rows are copied.
    pub tables: u64,
    /// Its size on disk in bytes.
    pub bytes: u64,
    /// Roles that a migration creates.
    pub roles: Vec<String>,
    /// Extensions, but for plpgsql.
    pub extensions: Vec<Extension>,
    /// `shared_preload_libraries`; empty where this role may not see it.
    pub preloaded: Vec<String>,
    /// Built-in collations that columns, indexes or domains use.
    pub collations: Vec<String>,
    /// Collations that users defined.
    pub user_collations: Vec<UserCollation>,
    /// Tablespaces of the database and of its objects, but for the two that every server has.
    pub tablespaces: Vec<String>,
    /// Tables with the system column oid.
    pub with_oids: Vec<String>,
    /// System catalogs whose privileges were changed.
    pub system_grants: Vec<String>,
    types: Types,
}

/// An extension as it is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A collation that somebody defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserCollation {
    /// Its name with its schema.
    pub name: String,
    /// `c` (libc), `i` (icu) or `b` (builtin).
    pub provider: String,
    /// The locales of libc that it needs.
    pub locales: Vec<String>,
}

impl SourceFacts {
    /// The built-in types that columns use, directly or inside others.
    pub fn builtin_types(&self) -> Vec<&str> {
        self.types.builtin()
    }

    /// The types that columns use and that are no binary form for a target of this version,
    /// each with the reason.
    pub fn text_types(&self, target: u32) -> Vec<String> {
        self.types.obstacles(Versions {
            source: self.version,
            target: Some(target),
        })
    }
}

pub(super) async fn read(
    client: &Client,
    server: &Probe,
    chosen: &Chosen,
    selection: &Selection,
) -> Result<SourceFacts> {
    let one = row(
        client,
        "the size of the database",
        "SELECT pg_catalog.pg_database_size(pg_catalog.current_database()), \
                (SELECT s.setting FROM pg_catalog.pg_settings s \
                  WHERE s.name = 'shared_preload_libraries')",
    )
    .await?;
    let tables = format!("SELECT count(*) FROM {FROM} WHERE {}", copied('r', chosen));
    let tables = size(&row(client, "the number of tables", &tables).await?, 0)?;
    let preloaded: Option<&str> = field(&one, 1)?;
    Ok(SourceFacts {
        version: server.version,
        started: server.started,
        database: database::read(client, server).await?,
        tables,
        bytes: size(&one, 0)?,
        roles: if selection.no_roles || !selection.has_schema() {
            Vec::new()
        } else {
            roles(client).await?
        },
        extensions: extensions(client, chosen).await?,
        preloaded: preloaded
            .unwrap_or_default()
            .split(',')
            .map(|library| library.trim().trim_matches('"').to_owned())
            .filter(|library| !library.is_empty())
            .collect(),
        collations: collations(client).await?,
        user_collations: user_collations(client).await?,
        tablespaces: if selection.no_tablespaces || !selection.has_schema() {
            Vec::new()
        } else {
            tablespaces(client).await?
        },
        with_oids: with_oids(client, server.version, chosen).await?,
        system_grants: objects(client, "privileges on catalogs", SYSTEM_GRANTS).await?,
        types: types::read(client, server.version, chosen).await?,
    })
}

async fn objects(client: &Client, what: &'static str, sql: &str) -> Result<Vec<String>> {
    let rows = rows(client, what, sql).await?;
    rows.iter().map(|row| field(row, 0)).collect()
}

async fn roles(client: &Client) -> Result<Vec<String>> {
    let sql = "SELECT r.rolname::text FROM pg_catalog.pg_roles r \
                WHERE r.rolname !~ '^pg_' ORDER BY 1";
    objects(client, "the roles", sql).await
}

async fn extensions(client: &Client, chosen: &Chosen) -> Result<Vec<Extension>> {
    let sql = format!(
        "SELECT e.extname::text, e.extversion FROM pg_catalog.pg_extension e \
          WHERE e.extname <> 'plpgsql' AND {} ORDER BY 1",
        chosen.extensions("e")
    );
    let needed = left_out::needed(client, chosen).await?;
    let wanted = |name: &str| {
        chosen.is_of_everything() || needed.iter().any(|extension| extension.name == name)
    };
    let mut rows = rows(client, "the extensions", &sql).await?;
    rows.retain(|row| wanted(row.get(0)));
    rows.iter()
        .map(|row| {
            Ok(Extension {
                name: field(row, 0)?,
                version: field(row, 1)?,
            })
        })
        .collect()
}

async fn collations(client: &Client) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT co.collname::text \
                 FROM (SELECT a.attcollation AS oid FROM pg_catalog.pg_attribute a \
                         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
                         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                        WHERE a.attnum > 0 AND NOT a.attisdropped AND n.nspname !~ '^pg_' \
                       UNION SELECT t.typcollation FROM pg_catalog.pg_type t \
                        WHERE t.typtype = 'd') used \
                 JOIN pg_catalog.pg_collation co ON co.oid = used.oid \
                 JOIN pg_catalog.pg_namespace n ON n.oid = co.collnamespace \
                WHERE n.nspname = 'pg_catalog' ORDER BY 1";
    objects(client, "the collations", sql).await
}

async fn user_collations(client: &Client) -> Result<Vec<UserCollation>> {
    let locale = "ARRAY[c.collcollate::text, c.collctype::text]";
    let sql = format!(
        "SELECT n.nspname::text, c.collname::text, c.collprovider::text, \
                CASE WHEN c.collprovider = 'c' THEN pg_catalog.array_remove({locale}, NULL) \
                     ELSE '{{}}' END \
           FROM pg_catalog.pg_collation c \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace \
          WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
            AND {} ORDER BY 1, 2",
        not_of_extension("pg_collation", "c.oid")
    );
    let rows = rows(client, "the collations", &sql).await?;
    rows.iter()
        .map(|row| {
            let name = TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?);
            Ok(UserCollation {
                name: name.to_string(),
                provider: field(row, 2)?,
                locales: field(row, 3)?,
            })
        })
        .collect()
}

async fn tablespaces(client: &Client) -> Result<Vec<String>> {
    let sql = "SELECT t.spcname::text FROM pg_catalog.pg_tablespace t \
                WHERE t.spcname NOT IN ('pg_default', 'pg_global') \
                  AND t.oid IN (SELECT d.dattablespace FROM pg_catalog.pg_database d \
                                 WHERE d.datname = pg_catalog.current_database() \
                                UNION SELECT c.reltablespace FROM pg_catalog.pg_class c) \
                ORDER BY 1";
    objects(client, "the tablespaces", sql).await
}

async fn with_oids(client: &Client, version: u32, chosen: &Chosen) -> Result<Vec<String>> {
    if version >= 120_000 {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT n.nspname, c.relname FROM {FROM} WHERE ({} OR {}) AND c.relhasoids ORDER BY 1, 2",
        copied('r', chosen),
        copied('p', chosen)
    );
    let rows = rows(client, "tables with oids", &sql).await?;
    rows.iter()
        .map(|row| {
            let table = TableId::new(field::<&str>(row, 0)?, field::<&str>(row, 1)?);
            Ok(table.to_string())
        })
        .collect()
}

/// The condition that no extension owns an object, which would create it again on the target.
fn not_of_extension(catalog: &str, oid: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_catalog.pg_depend x \
                      WHERE x.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass \
                        AND x.objid = {oid} AND x.deptype = 'e')"
    )
}

/// Relations of pg_catalog whose privileges are not those of a new server.
const SYSTEM_GRANTS: &str = "SELECT 'table pg_catalog.' || c.relname \
    FROM pg_catalog.pg_class c \
    LEFT JOIN pg_catalog.pg_init_privs i \
      ON i.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     AND i.objoid = c.oid AND i.objsubid = 0 \
   WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace \
     AND c.relacl::text IS DISTINCT FROM i.initprivs::text ORDER BY 1";
