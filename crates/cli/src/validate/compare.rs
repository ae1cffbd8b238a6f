//! How the two servers fit: identity, versions, room, roles.

use pghaul_extract::SourceFacts;
use pghaul_load::TargetFacts;
use pghaul_stage::{Check, Finding, Result, Side};

use super::{Scope, content, locale};
use crate::output::bytes;

/// All comparisons.
pub(super) async fn both(
    source: &SourceFacts,
    target: &TargetFacts,
    scope: &Scope<'_>,
) -> Result<Vec<Finding>> {
    let mut findings = vec![
        two_databases(
            (source.started, source.database.oid),
            (target.started, target.database.as_ref().map(|own| own.oid)),
        ),
        version(source.version, target.version),
        disk(source.bytes, target.free),
        locks(source.tables, target.locks, scope.jobs),
    ];
    if !scope.selection.has_schema() {
        let mut locale = locale::compare(source, target, false).await?;
        locale.retain(|finding| finding.check() == Check::Encoding);
        findings.extend(locale);
        findings.push(content::with_oids(&source.with_oids));
        return Ok(findings);
    }
    let lacking = source.roles.iter().filter(|name| target.lacks_role(name));
    let lacking: Vec<String> = lacking.cloned().collect();
    findings.push(roles(&lacking, target.role_refusal.as_deref()));
    findings.push(administrators(
        target.administrators.as_ref(),
        target.superuser,
    ));
    findings.push(system_grants(&source.system_grants, target.superuser));
    findings.extend(content::extensions(
        &source.extensions,
        &source.preloaded,
        target,
    ));
    findings.push(content::types(&source.builtin_types(), &target.types));
    findings.push(content::binary(&source.text_types(target.version)));
    findings.push(content::with_oids(&source.with_oids));
    findings.push(content::tablespaces(
        &source.tablespaces,
        &target.tablespaces,
        scope.tablespace_map,
    ));
    findings.extend(locale::compare(source, target, scope.overwrite).await?);
    Ok(findings)
}

/// When the server started, and the database's object identifier: no two servers start in the
/// same microsecond.
fn two_databases(source: (i64, u32), target: (i64, Option<u32>)) -> Finding {
    if (source.0, Some(source.1)) == target {
        return Finding::failed(
            Check::TwoDatabases,
            Side::Link,
            "source and target are the same database",
            "name another server or another database as the target",
        );
    }
    Finding::succeeded(
        Check::TwoDatabases,
        Side::Link,
        if source.0 == target.0 {
            "source and target are two databases of one server"
        } else {
            "source and target are two servers"
        },
    )
}

fn version(source: u32, target: u32) -> Finding {
    let (from, to) = (source / 10_000, target / 10_000);
    if to < from {
        return Finding::failed(
            Check::TargetVersion,
            Side::Link,
            format!("the target is PostgreSQL {to}, older than the source's {from}"),
            "migrate to the same or a newer major version",
        );
    }
    Finding::succeeded(
        Check::TargetVersion,
        Side::Link,
        format!("from PostgreSQL {from} to {to}"),
    )
}

/// A fresh copy has no dead rows, but the write-ahead log and index builds need room too.
fn disk(source: u64, free: Option<u64>) -> Finding {
    let needed = source.saturating_add(source / 4);
    let Some(free) = free else {
        return Finding::succeeded(
            Check::Disk,
            Side::Target,
            format!(
                "about {} are needed; what is free cannot be seen from here",
                bytes(needed)
            ),
        );
    };
    let message = format!(
        "about {} are needed, {} are free",
        bytes(needed),
        bytes(free)
    );
    if needed <= free {
        return Finding::succeeded(Check::Disk, Side::Target, message);
    }
    Finding::failed(
        Check::Disk,
        Side::Target,
        message,
        "enlarge the target's disk, or free space on it",
    )
}

/// Every job fills a part of many small tables in one transaction, each table with its TOAST
/// table and the index of that.
fn locks(tables: u64, room: u64, jobs: usize) -> Finding {
    const EACH: u64 = 3;
    const OTHERS: u64 = 100;
    let most = u64::from(pghaul_extract::Config::default().bundle_tables);
    let jobs = u64::try_from(jobs).unwrap_or(u64::MAX);
    let needed = tables.min(most.saturating_mul(jobs)) * EACH + OTHERS;
    let message = format!("up to {needed} locks are held at once, and there is room for {room}");
    if needed <= room {
        return Finding::succeeded(Check::Locks, Side::Target, message);
    }
    Finding::failed(
        Check::Locks,
        Side::Target,
        message,
        "raise max_locks_per_transaction on the target and restart it, or use fewer --jobs",
    )
}

fn roles(lacking: &[String], refusal: Option<&str>) -> Finding {
    match refusal {
        Some(refusal) if !lacking.is_empty() => Finding::warning(
            Check::CreateRoles,
            Side::Target,
            format!(
                "the role may not create roles ({refusal}), so what belongs to these will belong \
                 to it, and their privileges are left out"
            ),
            "run ALTER ROLE … CREATEROLE for the target's role, or create these roles there",
        )
        .on(lacking),
        Some(_) => Finding::succeeded(
            Check::CreateRoles,
            Side::Target,
            "the role may not create roles, and the target lacks none",
        ),
        None => Finding::succeeded(
            Check::CreateRoles,
            Side::Target,
            format!("the role may create roles, {} are needed", lacking.len()),
        ),
    }
}

/// Whether the role has what a managed service gives instead of a superuser.
fn administrators(role: Option<&(String, bool)>, superuser: bool) -> Finding {
    let (check, side) = (Check::AdminMember, Side::Target);
    match role {
        Some((name, false)) if !superuser => Finding::warning(
            check,
            side,
            format!("the role does not belong to {name}, so it may create less than it could"),
            "let an administrator of the target grant that role to it",
        ),
        Some((name, _)) => {
            Finding::succeeded(check, side, format!("the role has the rights of {name}"))
        }
        None => Finding::succeeded(check, side, "the target has no role of that kind"),
    }
}

fn system_grants(changed: &[String], superuser: bool) -> Finding {
    let (check, side) = (Check::SystemGrants, Side::Target);
    if changed.is_empty() || superuser {
        return Finding::succeeded(check, side, "nothing is in the way");
    }
    Finding::warning(
        check,
        side,
        "privileges on these system catalogs were changed, which only a superuser of the target \
         can repeat",
        "revoke them on the source, or let an administrator of the target grant them",
    )
    .on(changed)
}

#[cfg(test)]
mod tests {
    use pghaul_stage::Verdict::{Failed, Succeeded, Warning};

    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn one_database_is_not_two() {
        let verdict = |target| two_databases((7, 100), target).verdict();
        assert_eq!(verdict((7, Some(100))), Failed);
        assert_eq!(verdict((7, Some(101))), Succeeded);
        assert_eq!(verdict((8, Some(100))), Succeeded);
        assert_eq!(verdict((7, None)), Succeeded);
    }

    #[test]
    fn only_major_versions_count_and_only_downwards() {
        let verdict = |source, target| version(source, target).verdict();
        assert_eq!(verdict(150_018, 140_011), Failed);
        assert_eq!(verdict(100_023, 100_001), Succeeded);
        assert_eq!(verdict(100_023, 180_000), Succeeded);
        assert!(version(150_018, 140_011).message().contains("14"));
    }

    #[test]
    fn a_quarter_more_than_the_source_must_be_free() {
        assert_eq!(disk(800, Some(1000)).verdict(), Succeeded);
        assert_eq!(disk(801, Some(1000)).verdict(), Failed);
        assert_eq!(disk(u64::MAX, None).verdict(), Succeeded);
        assert_eq!(disk(u64::MAX, Some(1)).verdict(), Failed);
    }

    #[test]
    fn locks_on_the_target_grow_with_the_jobs() {
        assert_eq!(locks(1_000_000, 7_808, 8).verdict(), Succeeded);
        assert_eq!(locks(1_000_000, 7_808, 64).verdict(), Failed);
        assert_eq!(locks(10, 200, 64).verdict(), Succeeded);
    }

    #[test]
    fn roles_matter_only_if_some_are_lacking() {
        assert_eq!(roles(&owned(&["a"]), None).verdict(), Succeeded);
        assert_eq!(roles(&[], Some("no")).verdict(), Succeeded);
        let warned = roles(&owned(&["a"]), Some("no"));
        assert_eq!(warned.verdict(), Warning);
        assert_eq!(warned.objects(), ["a"]);
    }

    #[test]
    fn who_is_no_administrator_is_warned() {
        let role = |member| ("azure_pg_admin".to_owned(), member);
        assert_eq!(administrators(Some(&role(false)), false).verdict(), Warning);
        assert_eq!(
            administrators(Some(&role(true)), false).verdict(),
            Succeeded
        );
        assert_eq!(
            administrators(Some(&role(false)), true).verdict(),
            Succeeded
        );
        assert_eq!(administrators(None, false).verdict(), Succeeded);
    }

    #[test]
    fn grants_on_catalogs_are_for_superusers() {
        let function = owned(&["table pg_catalog.pg_class"]);
        assert_eq!(system_grants(&function, false).verdict(), Warning);
        assert_eq!(system_grants(&function, true).verdict(), Succeeded);
    }
}
