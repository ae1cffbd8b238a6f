//! Checks of the source before a migration, and the facts that are compared with the target's.
//!
//! Nothing here asks once per table, needs more than a role that can read, or fails for want of
//! a privilege: what cannot be seen is said to be unknown.

mod activity;
mod facts;
mod privileges;
mod room;
mod sample;

use pghaul_stage::{Check, Finding, Result, Selection, Side};
use pghaul_wire::checkup::{self, Sessions};
use pghaul_wire::{Chosen, Client, Conninfo, search_path};

use crate::probe::{self, Probe};
use crate::schema;
use crate::session::{begin, execute};

pub use facts::{Extension, SourceFacts, UserCollation};
pub use sample::{Read, Sample, sample};

/// The oldest source, as `server_version_num`.
const OLDEST: u32 = 100_000;

/// The checks of a source that needs these connections; its facts too, unless a connection
/// or the version made that impossible.
///
/// # Errors
///
/// Those of a session that breaks, and kind input for a pattern that matches nothing; a server
/// that cannot be reached is a finding.
pub async fn validate(
    info: &Conninfo,
    connections: Sessions,
    selection: &Selection,
) -> Result<(Vec<Finding>, Option<SourceFacts>)> {
    let info = info.with_application_name("pghaul");
    let client = match Client::try_connect(&info, Side::Source).await {
        Ok(client) => client,
        Err(unconnected) => return Ok((checkup::unreachable(Side::Source, &unconnected), None)),
    };
    let mut findings = checkup::connected(&client).await?;
    let server = probe::ask(&client).await?;
    findings.push(Finding::succeeded(
        Check::DatabaseExists,
        Side::Source,
        format!("the database is {:?}", server.database),
    ));
    findings.push(version(server.version));
    if server.version < OLDEST {
        return Ok((findings, None));
    }
    let program = schema::find(server.version, None, None);
    let (dump, examined) = tokio::join!(program, examine(&client, &server, connections, selection));
    let (more, facts) = examined?;
    findings.extend(more);
    findings.push(match dump {
        Ok(program) => Finding::succeeded(Check::PgDump, Side::Link, format!("{program} is there")),
        Err(error) => Finding::failed(
            Check::PgDump,
            Side::Link,
            error.message(),
            error.hint().unwrap_or("install pg_dump").to_owned(),
        ),
    });
    Ok((findings, Some(facts)))
}

/// Everything that is read in one transaction.
async fn examine(
    client: &Client,
    server: &Probe,
    connections: Sessions,
    selection: &Selection,
) -> Result<(Vec<Finding>, SourceFacts)> {
    let path = search_path(client).await?;
    execute(client, "the validation", &begin(server.version)).await?;
    let chosen = &Chosen::resolve(client, selection, &path, false).await?;
    let mut findings = vec![checkup::connections(client, connections).await?];
    findings.extend(privileges::check(client, chosen, wants_passwords(selection)).await?);
    findings.extend(room::check(client, chosen, server.in_recovery).await?);
    findings.extend(activity::check(client, chosen).await?);
    let facts = facts::read(client, server, chosen, selection).await?;
    execute(client, "the validation", "COMMIT").await?;
    Ok((findings, facts))
}

/// Whether roles are to arrive with their passwords.
fn wants_passwords(selection: &Selection) -> bool {
    selection.has_schema() && !selection.no_roles && !selection.no_role_passwords
}

fn version(version: u32) -> Finding {
    let name = release(version);
    if version < OLDEST {
        return Finding::failed(
            Check::SourceVersion,
            Side::Source,
            format!("PostgreSQL {name} is too old: 10 is the oldest that is supported"),
            "upgrade the source first, or move it with its own pg_dump",
        );
    }
    Finding::succeeded(
        Check::SourceVersion,
        Side::Source,
        format!("PostgreSQL {name}"),
    )
}

/// `15.18` for 150018, `9.6.24` for 90624.
fn release(version: u32) -> String {
    match version {
        OLDEST.. => format!("{}.{}", version / 10_000, version % 10_000),
        _ => format!(
            "{}.{}.{}",
            version / 10_000,
            version / 100 % 100,
            version % 100
        ),
    }
}

#[cfg(test)]
mod tests {
    use pghaul_stage::Verdict;

    use super::*;

    #[test]
    fn sources_before_10_are_refused() {
        assert_eq!(version(90_624).verdict(), Verdict::Failed);
        assert!(version(90_624).message().contains("9.6.24"));
        assert_eq!(version(100_000).verdict(), Verdict::Succeeded);
        assert_eq!(version(150_018).message(), "PostgreSQL 15.18");
    }
}
