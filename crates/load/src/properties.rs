//! The properties of the target database that do not matter to the copy: owner, limit,
//! comment, privileges, settings. They come last, so that none of them gets in its way.

use std::collections::HashSet;

use pghaul_stage::{Catalog, Database, Event, Observer, Omission, Result, Selection, Setting};
use pghaul_wire::{Client, quote, security_label};

use crate::acl::{Item, grants};
use crate::foresight::{ABSENT, ABSENT_GRANTOR, ABSENT_OR_CLOSED, CLOSED_GRANTOR};
use crate::power::Power;
use crate::present::Present;
use crate::session::failed;
use crate::setting;

const PRIVILEGES: &str = "privileges of the database";
const COMMENT: &str = "comment of the database";
const LIMIT: &str = "connection limit of the database";
const TEMPLATE: &str = "whether the database is a template";

const NOT_OWNED: &str = "the target's role does not own the database";
const MAY_NOT_SET: &str = "the target's role may not make settings for this role";
const MAY_NOT_GIVE: &str =
    "the target's role may not create databases, without which it cannot give one away";

/// The target database, as far as its properties depend on it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    name: String,
    owner: String,
    /// Whether the loading role has the owner's rights.
    owned: bool,
    limit: i32,
    is_template: bool,
}

impl Place {
    /// The current database.
    pub(crate) async fn read(client: &Client) -> Result<Place> {
        let row = client
            .query_one(
                "SELECT d.datname::text, pg_catalog.pg_get_userbyid(d.datdba)::text,
                        pg_catalog.pg_has_role(d.datdba, 'USAGE'), d.datconnlimit,
                        d.datistemplate
                 FROM pg_catalog.pg_database AS d
                 WHERE d.datname = pg_catalog.current_database()",
                &[],
            )
            .await
            .map_err(failed)?;
        Ok(Place {
            name: row.get(0),
            owner: row.get(1),
            owned: row.get(2),
            limit: row.get(3),
            is_template: row.get(4),
        })
    }

    /// One that the loading role is about to create.
    pub(crate) fn coming(name: &str, power: &Power) -> Place {
        Place {
            name: name.to_owned(),
            owner: power.name.clone(),
            owned: true,
            limit: -1,
            is_template: false,
        }
    }
}

/// What the properties of a source mean for a target.
struct Outlook<'a> {
    source: &'a Database,
    selection: &'a Selection,
    place: &'a Place,
    present: &'a Present,
}

/// What [`apply`] will leave out, in the order in which to make up for it.
///
/// # Errors
///
/// Kind permanent for privileges that cannot be read.
pub(crate) fn omissions(
    catalog: &Catalog,
    place: &Place,
    present: &Present,
) -> Result<Vec<Omission>> {
    let source = &catalog.database;
    let outlook = Outlook {
        source,
        selection: &catalog.selection,
        place,
        present,
    };
    let kept = outlook.owner();
    let owner = match &kept {
        None if !outlook.selection.no_owner => &source.owner,
        _ => &place.owner,
    };
    let mut omissions: Vec<Omission> = kept.iter().cloned().collect();
    omissions.extend(outlook.privileges(owner)?.0);
    omissions.extend(outlook.comment().and_then(|(_, refused)| refused));
    omissions.extend(outlook.labels().filter_map(|(_, _, refused)| refused));
    omissions.extend(
        source
            .settings
            .iter()
            .filter_map(|one| outlook.setting(one)),
    );
    omissions.extend(outlook.limit().and_then(|(_, refused)| refused));
    omissions.extend(outlook.template().and_then(|(_, refused)| refused));
    Ok(omissions)
}

impl Outlook<'_> {
    fn database(&self) -> String {
        format!("DATABASE {}", quote::ident(&self.place.name))
    }

    /// What cannot be changed without the owner's rights.
    fn unowned(&self, what: &str, statement: &str) -> Option<Omission> {
        let omission = || Omission::new(what, NOT_OWNED).remedy(statement);
        (!self.place.owned).then(omission)
    }

    /// The owner, if the database does not get it.
    fn owner(&self) -> Option<Omission> {
        let (owner, power) = (self.source.owner.as_str(), &self.present.power);
        if self.selection.no_owner || owner == self.place.owner {
            return None;
        }
        let reason = if !self.place.owned {
            NOT_OWNED
        } else if owner != power.name && !self.present.may_own(owner) {
            ABSENT_OR_CLOSED
        } else if !power.may_create_databases() {
            MAY_NOT_GIVE
        } else {
            return None;
        };
        let omission = Omission::new(format!("owner {owner:?} of the database"), reason);
        Some(omission.remedy(give(&self.place.name, owner)))
    }

    /// Privileges that are left out, and the statements that grant the others.
    fn privileges(&self, owner: &str) -> Result<(Vec<Omission>, String)> {
        let Some(acl) = &self.source.acl else {
            return Ok(Default::default());
        };
        let items = acl
            .iter()
            .map(|item| Ok(Item::parse(item)?.renamed(self.selection)))
            .collect::<Result<Vec<_>>>()?;
        let power = &self.present.power;
        let assume = !power.superuser && owner != power.name && self.present.may_own(owner);
        let grants = grants(
            &self.database(),
            &self.source.owner,
            owner,
            &items,
            assume,
            |role| self.present.reach(role),
        )?;
        let mut left_out = Vec::new();
        for (role, lost) in &grants.lost {
            let what = format!("privileges of {role:?} on the database");
            left_out.push(Omission::new(what, ABSENT).remedy(lost.join(";\n")));
        }
        let grantor = |role: &str| format!("grantor {role:?} of privileges of the database");
        for role in &grants.absent {
            left_out.push(Omission::new(grantor(role), ABSENT_GRANTOR));
        }
        for (role, theirs) in &grants.closed {
            let omission = Omission::new(grantor(role), CLOSED_GRANTOR);
            left_out.push(omission.remedy(theirs.join(";\n")));
        }
        // One message is one transaction: nobody is locked out in between.
        let statements = grants.statements.join(";\n");
        let refused = self.unowned(PRIVILEGES, &statements);
        let granted = if refused.is_none() {
            statements
        } else {
            String::new()
        };
        left_out.extend(refused);
        Ok((left_out, granted))
    }

    /// The statement for the comment, and why it will fail.
    fn comment(&self) -> Option<(String, Option<Omission>)> {
        let comment = self.source.comment.as_ref()?;
        let statement = format!(
            "COMMENT ON {} IS {}",
            self.database(),
            quote::literal(comment)
        );
        let refused = self.unowned(COMMENT, &statement);
        Some((statement, refused))
    }

    /// What each label is, the statement for it, and why it will fail.
    fn labels(&self) -> impl Iterator<Item = (String, String, Option<Omission>)> {
        self.source.labels.iter().map(|label| {
            let (database, provider) = (self.database(), label.provider.as_str());
            let what = format!("security label of the database for {provider}");
            let statement = security_label::statement(&database, provider, Some(&label.label));
            let absent = self.present.power.lacks_provider(provider);
            let absent = absent.map(|why| Omission::new(what.as_str(), why).remedy(&statement));
            let refused = absent.or_else(|| self.unowned(&what, &statement));
            (what, statement, refused)
        })
    }

    /// Why a setting is left out, if it is.
    fn setting(&self, setting: &Setting) -> Option<Omission> {
        let (power, present) = (&self.present.power, self.present);
        let omission = |reason: &str| Omission::new(setting_name(setting), reason);
        let statement = assign(&self.place.name, setting);
        if let Some(reason) = power.refuses_setting(setting) {
            return Some(omission(reason).remedy(statement));
        }
        match setting.role.as_deref() {
            Some(role) if !present.has_role(role) => Some(omission(ABSENT).remedy(statement)),
            Some(role) if !present.may_set_for(role) => {
                Some(omission(MAY_NOT_SET).remedy(statement))
            }
            None => self.unowned(&setting_name(setting), &statement),
            Some(_) => None,
        }
    }

    /// The statement for the connection limit, if it is another, and why it will fail.
    fn limit(&self) -> Option<(String, Option<Omission>)> {
        let limit = self.source.connection_limit;
        if limit == self.place.limit {
            return None;
        }
        let statement = format!("ALTER {} CONNECTION LIMIT {limit}", self.database());
        let refused = self.unowned(LIMIT, &statement);
        Some((statement, refused))
    }

    /// The statement that makes it a template or none, if it is not, and why it will fail.
    fn template(&self) -> Option<(String, Option<Omission>)> {
        let is_template = self.source.is_template;
        if is_template == self.place.is_template {
            return None;
        }
        let statement = format!("ALTER {} IS_TEMPLATE {is_template}", self.database());
        let refused = self.unowned(TEMPLATE, &statement);
        Some((statement, refused))
    }
}

fn give(name: &str, owner: &str) -> String {
    format!(
        "ALTER DATABASE {} OWNER TO {}",
        quote::ident(name),
        quote::ident(owner)
    )
}

fn setting_name(setting: &Setting) -> String {
    match &setting.role {
        None => format!("setting {} of the database", setting.name),
        Some(role) => format!("setting {} of role {role:?} in the database", setting.name),
    }
}

fn assign(name: &str, setting: &Setting) -> String {
    let database = format!("DATABASE {}", quote::ident(name));
    let assignment = setting::assignment(&setting.name, &setting.value);
    match &setting.role {
        None => format!("ALTER {database} SET {assignment}"),
        Some(role) => format!(
            "ALTER ROLE {} IN {database} SET {assignment}",
            quote::ident(role)
        ),
    }
}

/// Gives the current database the properties of the source's. What this server or this role
/// does not allow is told to `observer` and left out.
pub(crate) async fn apply(
    client: &Client,
    source: &Database,
    selection: &Selection,
    observer: &dyn Observer,
) -> Result<()> {
    let place = Place::read(client).await?;
    let mut present = Present::read(client).await?;
    present.power.try_settings(client, &source.settings).await?;
    let providers = source.labels.iter().map(|label| label.provider.as_str());
    let providers = providers.collect();
    present.power.try_providers(client, providers).await?;
    let outlook = Outlook {
        source,
        selection,
        place: &place,
        present: &present,
    };
    let mut owner = place.owner.as_str();
    if let Some(omission) = outlook.owner() {
        omit(observer, omission);
    } else if !selection.no_owner && source.owner != owner {
        let statement = give(&place.name, &source.owner);
        if attempt(client, observer, "owner of the database", &statement).await? {
            owner = &source.owner;
        }
    }
    let (omissions, statements) = outlook.privileges(owner)?;
    for omission in omissions {
        omit(observer, omission);
    }
    attempt(client, observer, PRIVILEGES, &statements).await?;
    if let Some((statement, refused)) = outlook.comment() {
        attempt_unless(client, observer, COMMENT, &statement, refused).await?;
    }
    for (what, statement, refused) in outlook.labels() {
        attempt_unless(client, observer, &what, &statement, refused).await?;
    }
    for setting in &source.settings {
        let (what, statement) = (setting_name(setting), assign(&place.name, setting));
        let refused = outlook.setting(setting);
        attempt_unless(client, observer, &what, &statement, refused).await?;
    }
    if let Some((statement, refused)) = outlook.limit() {
        attempt_unless(client, observer, LIMIT, &statement, refused).await?;
    }
    if let Some((statement, refused)) = outlook.template() {
        attempt_unless(client, observer, TEMPLATE, &statement, refused).await?;
    }
    Ok(())
}

/// Tells of what is refused already, or tries.
async fn attempt_unless(
    client: &Client,
    observer: &dyn Observer,
    what: &str,
    statement: &str,
    refused: Option<Omission>,
) -> Result<()> {
    match refused {
        Some(omission) => omit(observer, omission),
        None => drop(attempt(client, observer, what, statement).await?),
    }
    Ok(())
}

/// The names of all roles.
pub(crate) async fn roles(client: &Client) -> Result<HashSet<String>> {
    let rows = client
        .query("SELECT rolname::text FROM pg_catalog.pg_roles", &[])
        .await
        .map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Runs a statement whose refusal is no reason to fail; says whether it worked.
async fn attempt(
    client: &Client,
    observer: &dyn Observer,
    what: &str,
    statement: &str,
) -> Result<bool> {
    let Err(error) = client.batch_execute(statement).await.map_err(failed) else {
        return Ok(true);
    };
    match error.code() {
        // Not allowed; not known; not a value that this server takes.
        Some("42501" | "42704" | "22023" | "0A000" | "55P02" | "42602" | "22P02") => {
            let omission = Omission::new(what, error.message());
            omit(observer, omission.remedy(statement));
            Ok(false)
        }
        _ => Err(error.on(what.to_owned())),
    }
}

fn omit(observer: &dyn Observer, omission: Omission) {
    observer.observe(&Event::Omitted(&omission));
}
