//! What the target has, as far as archive entries and statistics depend on it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pghaul_stage::{Event, Observer, Omission, Result, TableId};
use pghaul_wire::Client;

use crate::archive::{Archive, Entry};
use crate::database;
use crate::session::failed;
use crate::tablespace;

/// Roles that the session may make owners; a superuser may all of them.
const OWNERS: &str = "SELECT rolname FROM pg_catalog.pg_roles
    WHERE pg_catalog.pg_has_role(oid,
        CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000
             THEN 'SET' ELSE 'MEMBER' END)";

/// Tables that are partitions or have children, and whether they are the former.
const FAMILIES: &str = "SELECT n.nspname, c.relname, c.relispartition
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pghaul')
      AND (c.relispartition OR c.relkind = 'p'
           OR EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid))";

/// What the target has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Present {
    /// `server_version_num`.
    pub(crate) version: u32,
    /// Roles that may be made owners.
    pub(crate) owners: HashSet<String>,
    /// Tablespaces.
    pub(crate) tablespaces: HashSet<String>,
    /// Those that take the place of the source's.
    pub(crate) tablespace_map: BTreeMap<String, String>,
    /// The source's extensions, with their versions.
    pub(crate) extensions: BTreeMap<String, String>,
}

impl Present {
    /// Asks the target.
    pub(crate) async fn read(client: &Client) -> Result<Present> {
        let owners = client.query(OWNERS, &[]).await.map_err(failed)?;
        Ok(Present {
            version: database::version(client).await?,
            owners: owners.iter().map(|row| row.get(0)).collect(),
            tablespaces: tablespace::read(client).await?,
            ..Present::default()
        })
    }

    /// The tablespace that the statements of an entry shall expect; empty is the database's own.
    pub(crate) fn tablespace<'a>(&'a self, entry: &'a Entry) -> Option<&'a str> {
        let name = tablespace::mapped(&self.tablespace_map, entry.tablespace.as_deref()?);
        Some(if self.tablespaces.contains(name) {
            name
        } else {
            ""
        })
    }

    /// Says which owners and tablespaces of the archive the target cannot provide.
    pub(crate) fn tell(&self, archive: &Archive, observer: &dyn Observer) {
        let mut owners: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut tablespaces: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in &archive.entries {
            if !self.owners.contains(&entry.owner)
                && let Some(statement) = crate::owner::alter(entry)
            {
                owners.entry(&entry.owner).or_default().push(statement);
            }
            if let (Some(name), Some("")) = (&entry.tablespace, self.tablespace(entry))
                && !name.is_empty()
            {
                *tablespaces.entry(name).or_default() += 1;
            }
        }
        for (owner, statements) in owners {
            let omission = Omission::new(
                format!("owner {owner:?} of {} objects", statements.len()),
                "the target has no such role, or does not let the loading role act for it, so \
                 they belong to the loading role",
            );
            observer.observe(&Event::Omitted(&omission.remedy(statements.join("\n"))));
        }
        for (tablespace, count) in tablespaces {
            let omission = Omission::new(
                format!("tablespace {tablespace:?} of {count} objects"),
                "the target has no such tablespace, so they are in the database's default",
            );
            observer.observe(&Event::Omitted(&omission));
        }
    }
}

/// Tables whose statistics cannot be collected one table at a time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Families {
    /// Tables that are covered by the statistics run of an ancestor, or that must wait for
    /// their children's rows.
    pub(crate) postponed: HashSet<TableId>,
    /// Those to analyze when all rows are there; partitions go with their root.
    pub(crate) heads: BTreeSet<TableId>,
}

impl Families {
    /// Asks the target.
    pub(crate) async fn read(client: &Client) -> Result<Families> {
        let mut families = Families::default();
        for row in client.query(FAMILIES, &[]).await.map_err(failed)? {
            let table = TableId::new(row.get::<_, String>(0), row.get::<_, String>(1));
            if !row.get::<_, bool>(2) {
                families.heads.insert(table.clone());
            }
            families.postponed.insert(table);
        }
        Ok(families)
    }
}
