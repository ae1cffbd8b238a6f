//! The properties of the target database that do not matter to the copy: owner, limit,
//! comment, privileges, settings. They come last, so that none of them gets in its way.

use std::collections::HashSet;

use pghaul_stage::{Database, Event, Observer, Omission, Result};
use pghaul_wire::{Client, quote};

use crate::acl::{Item, grants};
use crate::session::failed;
use crate::setting;

/// Why something of a role is left out.
const ABSENT: &str = "the role does not exist on the target";

/// Gives the current database the properties of the source's. What this server or this role
/// does not allow is told to `observer` and left out.
pub(crate) async fn apply(
    client: &Client,
    source: &Database,
    observer: &dyn Observer,
) -> Result<()> {
    let roles = roles(client).await?;
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

    if !roles.contains(&source.owner) {
        let reason = format!("the role does not exist; the database keeps {owner:?}");
        omit(
            observer,
            Omission::new(format!("owner {:?} of the database", source.owner), reason),
        );
    } else if source.owner != owner {
        let statement = format!("ALTER {database} OWNER TO {}", quote::ident(&source.owner));
        if attempt(client, observer, "owner of the database", &statement).await? {
            owner.clone_from(&source.owner);
        }
    }
    privileges(client, observer, source, &database, &owner, &roles).await?;
    if let Some(comment) = &source.comment {
        let statement = format!("COMMENT ON {database} IS {}", quote::literal(comment));
        attempt(client, observer, "comment of the database", &statement).await?;
    }
    for setting in &source.settings {
        let assignment = setting::assignment(&setting.name, &setting.value);
        let statement = match &setting.role {
            None => format!("ALTER {database} SET {assignment}"),
            Some(role) if roles.contains(role) => {
                format!(
                    "ALTER ROLE {} IN {database} SET {assignment}",
                    quote::ident(role)
                )
            }
            Some(role) => {
                let what = format!("setting {} of role {role:?} in the database", setting.name);
                omit(observer, Omission::new(what, ABSENT));
                continue;
            }
        };
        let what = format!("setting {} of the database", setting.name);
        attempt(client, observer, &what, &statement).await?;
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
    database: &str,
    owner: &str,
    roles: &HashSet<String>,
) -> Result<()> {
    let Some(acl) = &source.acl else {
        return Ok(());
    };
    let items = acl
        .iter()
        .map(|item| Item::parse(item))
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
