//! What the target has, as far as archive entries and statistics depend on it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pghaul_stage::{Catalog, Omission, Result, Role, TableId};
use pghaul_wire::Client;

use crate::acl::Reach;
use crate::archive::{Archive, Entry};
use crate::foresight::Foresight;
use crate::label;
use crate::power::Power;
use crate::role::is_reserved;
use crate::session::failed;
use crate::tablespace;

/// Tables that are partitions or have children, and whether they are the former.
const FAMILIES: &str = "SELECT n.nspname, c.relname, c.relispartition
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pghaul')
      AND (c.relispartition OR c.relkind = 'p'
           OR EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid))";

/// Who owns the schema `public`, if the session may not act for that role.
const PUBLIC: &str =
    "SELECT pg_catalog.pg_get_userbyid(nspowner)::text FROM pg_catalog.pg_namespace
    WHERE nspname = 'public' AND NOT pg_catalog.pg_has_role(nspowner, 'USAGE')";

/// The same of a new database: that of the server's first role before version 15, and since then
/// the database's owner's.
const NEW_PUBLIC: &str = "SELECT rolname::text FROM pg_catalog.pg_roles
    WHERE oid = 10 AND pg_catalog.current_setting('server_version_num')::int < 150000
      AND NOT pg_catalog.pg_has_role(oid, 'USAGE')";

/// What the target has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Present {
    /// What the loading role may do.
    pub(crate) power: Power,
    /// Whether what an object needs may be missing, because only a part was selected.
    pub(crate) partial: bool,
    /// Tablespaces.
    pub(crate) tablespaces: HashSet<String>,
    /// Those that take the place of the source's.
    pub(crate) tablespace_map: BTreeMap<String, String>,
    /// The source's extensions, with their versions.
    pub(crate) extensions: BTreeMap<String, String>,
    /// The source's languages whose handlers come with an extension, and how they are created.
    pub(crate) languages: BTreeMap<String, String>,
    /// Who owns the schema `public`, if the loading role may not give it to another owner.
    pub(crate) public_of: Option<String>,
    /// Roles of the source that are yet to be created.
    pub(crate) coming: HashSet<String>,
    /// Roles that the loading role will join if it may, because they are the source's.
    pub(crate) joined: HashSet<String>,
}

impl Present {
    /// Asks the target after the source's roles were created.
    pub(crate) async fn read(client: &Client) -> Result<Present> {
        Ok(Present {
            power: Power::read(client).await?,
            tablespaces: tablespace::read(client).await?,
            public_of: first(client, PUBLIC).await?,
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

    /// Asks the target before that; these roles of the source would be created, and the database, too,
    /// if it comes `anew`.
    pub(crate) async fn foresee(client: &Client, roles: &[Role], anew: bool) -> Result<Present> {
        let mut present = Present::read(client).await?;
        if anew {
            present.public_of = first(client, NEW_PUBLIC).await?;
        }
        let names = roles.iter().map(|role| role.name.clone());
        let (joined, coming) = names
            .filter(|role| !is_reserved(role))
            .partition(|role| present.power.has_role(role));
        let creates = present.power.may_create_roles();
        Ok(Present {
            joined,
            coming: if creates { coming } else { HashSet::new() },
            ..present
        })
    }

    /// Asks which providers of the source's security labels the server has.
    pub(crate) async fn ask_providers(
        &mut self,
        client: &Client,
        catalog: &Catalog,
        archive: &Archive,
    ) -> Result<()> {
        let labels = archive
            .entries()
            .filter(|entry| entry.desc == "SECURITY LABEL");
        let providers: BTreeSet<String> = labels
            .filter_map(|entry| label::provider(&entry.definition))
            .collect();
        let supplements = catalog.supplements.iter();
        let of_roles = catalog.roles.iter().flat_map(|role| &role.labels);
        let shared = catalog.database.labels.iter().chain(of_roles);
        let providers = providers
            .iter()
            .chain(supplements.filter_map(|one| one.provider.as_ref()))
            .chain(shared.map(|label| &label.provider));
        let providers = providers.map(String::as_str).collect();
        self.power.try_providers(client, providers).await
    }

    /// Whether the target has a role, or will have it.
    pub(crate) fn has_role(&self, role: &str) -> bool {
        self.power.has_role(role) || self.coming.contains(role)
    }

    /// Whether objects can be given to this role.
    pub(crate) fn may_own(&self, role: &str) -> bool {
        let joins =
            self.coming.contains(role) || self.joined.contains(role) && self.power.may_grant(role);
        joins && self.power.inherits() || self.power.acts_for(role)
    }

    /// Who owns what an entry describes and will go on to, whatever the entry says.
    fn stays_with(&self, entry: &Entry) -> Option<&str> {
        let public = entry.desc == "SCHEMA" && entry.tag == "public";
        let owner = self.public_of.as_deref().filter(|_| public)?;
        (entry.owner != owner).then_some(owner)
    }

    /// Whether what an entry describes can be given to its owner.
    pub(crate) fn may_give(&self, entry: &Entry) -> bool {
        self.may_own(&entry.owner) && self.stays_with(entry).is_none()
    }

    /// What can be done with a role.
    pub(crate) fn reach(&self, role: &str) -> Reach {
        match self.has_role(role) {
            false => Reach::Absent,
            true if self.may_own(role) => Reach::Open,
            true => Reach::Closed,
        }
    }

    /// Whether a role that is there is no superuser.
    pub(crate) fn is_lesser(&self, role: &str) -> bool {
        self.power.has_role(role) && !self.power.is_superuser(role)
    }

    /// Whether settings can be made for this role.
    pub(crate) fn may_set_for(&self, role: &str) -> bool {
        let power = &self.power;
        power.superuser || self.coming.contains(role) || power.may_grant(role) || power.name == role
    }

    /// Which owners and tablespaces of the archive the target cannot provide, leaving out the
    /// entries that are `omitted` as a whole.
    pub(crate) fn omissions(&self, archive: &Archive, omitted: &Foresight) -> Vec<Omission> {
        let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut tablespaces: BTreeMap<String, usize> = BTreeMap::new();
        let mut public = None;
        let entries = (0..).zip(archive.entries());
        for (_, entry) in entries.filter(|(at, _)| !omitted.omits(*at)) {
            if let Some(owner) = self.stays_with(&entry) {
                let reason =
                    format!("it belongs to {owner:?}, for whom the loading role may not act");
                let omission = Omission::new("owner of schema public", reason);
                let statement = crate::owner::alter(&entry, self.power.version);
                public = statement.map(|statement| omission.remedy(statement));
            } else if !self.may_own(&entry.owner)
                && entry.owner != self.power.name
                && let Some(statement) = crate::owner::alter(&entry, self.power.version)
            {
                owners
                    .entry(entry.owner.clone())
                    .or_default()
                    .push(statement);
            }
            if let (Some(name), Some("")) = (&entry.tablespace, self.tablespace(&entry))
                && !name.is_empty()
            {
                *tablespaces.entry(name.clone()).or_default() += 1;
            }
        }
        let owners = owners.into_iter().map(|(owner, statements)| {
            Omission::new(
                format!("owner {owner:?} of {} objects", statements.len()),
                "the target has no such role, or does not let the loading role act for it, so \
                 they belong to the loading role",
            )
            .remedy(statements.join("\n"))
        });
        let tablespaces = tablespaces.into_iter().map(|(tablespace, count)| {
            Omission::new(
                format!("tablespace {tablespace:?} of {count} objects"),
                "the target has no such tablespace for its role, so they are in the database's \
                 default",
            )
        });
        owners.chain(public).chain(tablespaces).collect()
    }
}

/// The name that a query finds, if it finds one.
async fn first(client: &Client, query: &str) -> Result<Option<String>> {
    let row = client.query_opt(query, &[]).await.map_err(failed)?;
    Ok(row.map(|row| row.get(0)))
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
