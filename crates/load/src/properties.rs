//! The properties of the target database that do not matter to the copy: owner, limit,
//! comment, privileges, settings. They come last, so that none of them gets in its way.

use std::collections::HashSet;

use pghaul_stage::{Database, Event, Observer, Omission, Result, Selection, Setting};
use pghaul_wire::{Client, quote};

use crate::acl::{Item, grants};
use crate::power::Power;
use crate::session::failed;
use crate::setting;

/// Why something of a role is left out.
const ABSENT: &str = "the role does not exist on the target";

/// What [`apply`] will leave out for lack of power, in the order in which to make up for it.
/// `acts_for` says whether the loading role will be able to act for a role.
pub(crate) fn omissions(
    source: &Database,
    selection: &Selection,
    name: &str,
    power: &Power,
    acts_for: impl Fn(&str) -> bool,
) -> Vec<Omission> {
    let owner = keeps_owner(source, name, power, acts_for).filter(|_| !selection.no_owner);
    let settings = source.settings.iter();
    owner
        .into_iter()
        .chain(settings.filter_map(|setting| unset(name, setting, power)))
        .collect()
}

fn keeps_owner(
    source: &Database,
    name: &str,
    power: &Power,
    acts_for: impl Fn(&str) -> bool,
) -> Option<Omission> {
    let owner = source.owner.as_str();
    if owner == power.name || acts_for(owner) {
        return None;
    }
    let omission = Omission::new(
        format!("owner {owner:?} of the database"),
        "the target has no such role, or does not let the loading role act for it",
    );
    Some(omission.remedy(give(name, owner)))
}

fn give(name: &str, owner: &str) -> String {
    format!(
        "ALTER DATABASE {} OWNER TO {}",
        quote::ident(name),
        quote::ident(owner)
    )
}

fn unset(name: &str, setting: &Setting, power: &Power) -> Option<Omission> {
    let reason = power.refuses_setting(setting)?;
    Some(Omission::new(setting_name(setting), reason).remedy(assign(name, setting)))
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
    let roles = roles(client).await?;
    let power = Power::read(client).await?;
    let row = client
        .query_one(
            "SELECT d.datname::text, pg_catalog.pg_get_userbyid(d.datdba)::text
             FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()",
            &[],
        )
        .await
        .map_err(failed)?;
    let (name, mut owner): (String, String) = (row.get(0), row.get(1));
    let database = format!("DATABASE {}", quote::ident(&name));

    if !selection.no_owner && source.owner != owner {
        let kept = keeps_owner(source, &name, &power, |role| power.acts_for(role));
        if let Some(omission) = kept {
            omit(observer, omission);
        } else if attempt(
            client,
            observer,
            "owner of the database",
            &give(&name, &source.owner),
        )
        .await?
        {
            owner.clone_from(&source.owner);
        }
    }
    privileges(
        client, observer, source, selection, &database, &owner, &roles,
    )
    .await?;
    if let Some(comment) = &source.comment {
        let statement = format!("COMMENT ON {database} IS {}", quote::literal(comment));
        attempt(client, observer, "comment of the database", &statement).await?;
    }
    for setting in &source.settings {
        let absent = setting.role.as_ref().filter(|role| !roles.contains(*role));
        if let Some(omission) = unset(&name, setting, &power) {
            omit(observer, omission);
        } else if absent.is_some() {
            omit(observer, Omission::new(setting_name(setting), ABSENT));
        } else {
            let (what, statement) = (setting_name(setting), assign(&name, setting));
            attempt(client, observer, &what, &statement).await?;
        }
    }
    let statement = format!(
        "ALTER {database} CONNECTION LIMIT {}",
        source.connection_limit
    );
    attempt(
        client,
        observer,
        "connection limit of the database",
        &statement,
    )
    .await?;
    Ok(())
}

async fn privileges(
    client: &Client,
    observer: &dyn Observer,
    source: &Database,
    selection: &Selection,
    database: &str,
    owner: &str,
    roles: &HashSet<String>,
) -> Result<()> {
    let Some(acl) = &source.acl else {
        return Ok(());
    };
    let items = acl
        .iter()
        .map(|item| Ok(Item::parse(item)?.renamed(selection)))
        .collect::<Result<Vec<_>>>()?;
    let grants = grants(database, &source.owner, owner, &items, |role| {
        roles.contains(role)
    })?;
    for role in &grants.missing {
        let what = format!("privileges of {role:?} on the database");
        omit(observer, Omission::new(what, ABSENT));
    }
    // One message is one transaction: nobody is locked out in between.
    let statements = grants.statements.join(";\n");
    attempt(client, observer, "privileges of the database", &statements).await?;
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
