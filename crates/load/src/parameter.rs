//! Rights to set parameters (`GRANT … ON PARAMETER`, PostgreSQL 15): like roles, the server's.

use pghaul_stage::{Error, Event, Kind, Observer, Omission, ParameterGrant, Result};
use pghaul_wire::Client;
use pghaul_wire::quote::ident;

use crate::database;
use crate::power::Power;
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
    let roles = roles(client).await?;
    for grant in grants {
        let statement = statement(grant);
        let lacking = [&grant.grantee, &grant.grantor]
            .into_iter()
            .flatten()
            .find(|role| !roles.contains(*role));
        let reason = if !known {
            "PostgreSQL knows such grants since version 15".to_owned()
        } else if let Some(role) = lacking {
            format!("the target has no role {role:?}")
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
            omission.remedy(statement)
        } else {
            omission
        };
        observer.observe(&Event::Omitted(&omission));
    }
    Ok(())
}

/// What only a superuser may grant.
pub(crate) fn omissions(grants: &[ParameterGrant], power: &Power) -> Vec<Omission> {
    let grants = grants.iter().filter(|_| !power.superuser);
    grants
        .map(|grant| {
            let omission = Omission::new(name(grant), "only a superuser may grant it");
            omission.remedy(statement(grant)).of_server()
        })
        .collect()
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
