//! Rights to set parameters (`GRANT … ON PARAMETER`, PostgreSQL 15): like roles, the server's.

use pghaul_stage::{Error, Event, Kind, Observer, Omission, ParameterGrant, Result};
use pghaul_wire::Client;
use pghaul_wire::quote::ident;

use crate::database;
use crate::power::Power;
use crate::present::Present;
use crate::properties::roles;
use crate::session::failed;

/// The first version that knows them.
const SINCE: u32 = 150_000;

/// Grants what the source's roles were granted; harmless when done before. What the target does
/// not allow is told to `observer`.
pub(crate) async fn grant(
    client: &Client,
    grants: &[ParameterGrant],
    observer: &dyn Observer,
) -> Result<()> {
    if grants.is_empty() {
        return Ok(());
    }
    let known = database::version(client).await? >= SINCE;
    let (roles, power) = (roles(client).await?, Power::read(client).await?);
    for grant in grants {
        let statement = statement(grant);
        let reason = if !known {
            "PostgreSQL knows such grants since version 15".to_owned()
        } else if let Some(reason) = obstacle(grant, &power, |role| roles.contains(role)) {
            reason
        } else {
            match execute(client, grant, &statement).await {
                Ok(()) => continue,
                Err(error) if error.kind() == Kind::Permanent && error.code().is_some() => {
                    error.message().to_owned()
                }
                Err(error) => return Err(error),
            }
        };
        let omission = Omission::new(name(grant), reason).of_server();
        let omission = if known {
            omission.remedy(remedy(grant))
        } else {
            omission
        };
        observer.observe(&Event::Omitted(&omission));
    }
    Ok(())
}

/// What cannot be granted. A source that has such grants is as new as they are, and so is the
/// target.
pub(crate) fn omissions(grants: &[ParameterGrant], present: &Present) -> Vec<Omission> {
    let lost = grants.iter().filter_map(|grant| {
        let reason = obstacle(grant, &present.power, |role| present.has_role(role))?;
        let omission = Omission::new(name(grant), reason);
        Some(omission.remedy(remedy(grant)).of_server())
    });
    lost.collect()
}

/// Why something cannot be granted, as far as that is known without trying.
fn obstacle(
    grant: &ParameterGrant,
    power: &Power,
    exists: impl Fn(&str) -> bool,
) -> Option<String> {
    let roles = [&grant.grantee, &grant.grantor].into_iter().flatten();
    let absent = roles.clone().find(|role| !exists(role));
    match absent {
        Some(role) => Some(format!("the target has no role {role:?}")),
        None if !power.superuser => Some("only a superuser may grant it".to_owned()),
        None => None,
    }
}

fn name(grant: &ParameterGrant) -> String {
    let to = grant.grantee.as_deref().unwrap_or("PUBLIC");
    format!(
        "{} on parameter {} for {to:?}",
        grant.privilege, grant.parameter
    )
}

async fn execute(client: &Client, grant: &ParameterGrant, statement: &str) -> Result<(), Error> {
    let script = match &grant.grantor {
        None => statement.to_owned(),
        Some(role) => format!("SET LOCAL ROLE {}; {statement}", ident(role)),
    };
    client.batch_execute(&script).await.map_err(failed)
}

/// The statements of a superuser.
fn remedy(grant: &ParameterGrant) -> String {
    let statement = statement(grant);
    match &grant.grantor {
        None => statement,
        Some(role) => format!(
            "SET SESSION AUTHORIZATION {};\n{statement};\nRESET SESSION AUTHORIZATION",
            ident(role)
        ),
    }
}

/// Source: PostgreSQL's manual, GRANT.
fn statement(grant: &ParameterGrant) -> String {
    let name: Vec<String> = grant.parameter.split('.').map(ident).collect();
    let to = grant.grantee.as_deref().map_or("PUBLIC".to_owned(), ident);
    let option = if grant.grantable {
        " WITH GRANT OPTION"
    } else {
        ""
    };
    format!(
        "GRANT {} ON PARAMETER {} TO {to}{option}",
        grant.privilege,
        name.join(".")
    )
}
