//! What the role may do on the target, by trying.

use pghaul_stage::{Check, Finding, Result, Side};

use super::{Intent, TargetFacts};
use crate::session::failed;

/// The name of what is created and rolled back.
const ATTEMPT: &str = "pghaul_validation";

/// Codes of a refusal: for want of a privilege, or by an event trigger or a service's hook.
const REFUSED: [&str; 4] = ["42501", "0A000", "P0001", "42939"];

pub(super) async fn check(facts: &mut TargetFacts, intent: Intent) -> Result<Vec<Finding>> {
    let overwrite = intent.overwrite;
    let mut findings = Vec::new();
    facts.role_refusal = attempt(facts, &format!("CREATE ROLE {ATTEMPT}")).await?;
    if facts.database.is_some() && !overwrite {
        findings.push(create_schema(facts, !intent.data_only).await?);
    } else {
        findings.push(create_database(facts));
    }
    if facts.database.is_some() && overwrite {
        findings.push(drop_database(facts).await?);
        findings.push(end_sessions(facts).await?);
    }
    findings.push(replication_role(facts).await?);
    Ok(findings)
}

/// What the server says against a statement; `None` if it would do it.
async fn attempt(facts: &TargetFacts, statement: &str) -> Result<Option<String>> {
    let script = format!("BEGIN; SET LOCAL lock_timeout = '2s'; {statement}; ROLLBACK");
    let Err(error) = facts.client.batch_execute(&script).await.map_err(failed) else {
        return Ok(None);
    };
    match error.code() {
        Some(code) => {
            facts
                .client
                .batch_execute("ROLLBACK")
                .await
                .map_err(failed)?;
            // Anything else (the name exists, a lock) says nothing about privileges.
            Ok(REFUSED.contains(&code).then(|| error.message().to_owned()))
        }
        None => Err(error),
    }
}

fn create_database(facts: &TargetFacts) -> Finding {
    if facts.create_db {
        return Finding::succeeded(
            Check::CreateObjects,
            Side::Target,
            "the role may create the database",
        );
    }
    Finding::failed(
        Check::CreateObjects,
        Side::Target,
        "the role may not create databases",
        "run ALTER ROLE … CREATEDB for the target's role, or create an empty database that it owns",
    )
}

async fn create_schema(facts: &TargetFacts, objects: bool) -> Result<Finding> {
    let refusal = attempt(facts, &format!("CREATE SCHEMA {ATTEMPT}")).await?;
    let public = "SELECT coalesce(bool_and(pg_catalog.has_schema_privilege(n.oid, 'CREATE')), true) \
                    FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public'";
    let row = facts.client.query_one(public, &[]).await.map_err(failed)?;
    let problem = match (refusal, row.get::<_, bool>(0) || !objects) {
        (Some(refusal), _) => {
            format!("the role may not create schemas in the database ({refusal})")
        }
        (None, false) => "the role may not create objects in the schema public".to_owned(),
        (None, true) => {
            return Ok(Finding::succeeded(
                Check::CreateObjects,
                Side::Target,
                "the role may create schemas, and objects in the schema public",
            ));
        }
    };
    Ok(Finding::failed(
        Check::CreateObjects,
        Side::Target,
        problem,
        "make the target's role the owner of the database (ALTER DATABASE … OWNER TO …)",
    ))
}

async fn drop_database(facts: &TargetFacts) -> Result<Finding> {
    let sql = "SELECT pg_catalog.pg_has_role(d.datdba, 'USAGE'), \
                      pg_catalog.pg_get_userbyid(d.datdba)::text \
                 FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
    let row = facts.client.query_one(sql, &[]).await.map_err(failed)?;
    if row.get(0) {
        return Ok(Finding::succeeded(
            Check::DropDatabase,
            Side::Target,
            "the role may drop the database",
        ));
    }
    Ok(Finding::failed(
        Check::DropDatabase,
        Side::Target,
        "only the owner of the database may drop it",
        "connect as its owner, make the target's role its owner, or drop it yourself",
    )
    .on([format!("role {:?}", row.get::<_, &str>(1))]))
}

/// DROP DATABASE ends the sessions in it.
async fn end_sessions(facts: &TargetFacts) -> Result<Finding> {
    let sql = "SELECT 'server process ' || a.pid || ' of \"' || a.usename || '\"' \
                 FROM pg_catalog.pg_stat_activity a \
                 JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid \
                WHERE a.datname = pg_catalog.current_database() \
                  AND a.pid <> pg_catalog.pg_backend_pid() \
                  AND CASE WHEN r.rolsuper THEN \
                        NOT (SELECT me.rolsuper FROM pg_catalog.pg_roles me \
                              WHERE me.rolname = current_user) \
                      ELSE NOT pg_catalog.pg_has_role(a.usesysid, 'USAGE') \
                       AND NOT pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') END \
                ORDER BY a.pid";
    let rows = facts.client.query(sql, &[]).await.map_err(failed)?;
    let sessions: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    if sessions.is_empty() {
        return Ok(Finding::succeeded(
            Check::EndSessions,
            Side::Target,
            "no session is in the way that the role may not end",
        ));
    }
    Ok(Finding::failed(
        Check::EndSessions,
        Side::Target,
        "sessions in the database must end before it is dropped, and the role may not end them",
        "GRANT pg_signal_backend to the target's role (sessions of superusers: end them yourself)",
    )
    .on(sessions))
}

async fn replication_role(facts: &TargetFacts) -> Result<Finding> {
    let refusal = attempt(facts, "SET LOCAL session_replication_role = replica").await?;
    Ok(Finding::succeeded(
        Check::ReplicationRole,
        Side::Target,
        match refusal {
            None => "the role may switch triggers off while it loads",
            Some(_) => {
                "the role may not set it, and need not: triggers and foreign keys are created \
                 after the rows"
            }
        },
    ))
}
