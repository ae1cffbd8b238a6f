//! The end-state oracle: are two databases the same, by PostgreSQL's own account?
//!
//! Nothing here uses the code under test. Definitions are compared as `pg_dump` prints them,
//! everything else as `facts.sql` reads it from the catalogs and the rows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::pg;

/// The schema in which pghaul keeps its progress on the target.
const OWN_SCHEMA: &str = "pghaul";

/// What pghaul itself must not leave on a server: replication slots, publications, prepared
/// transactions, replication origins and sessions.
const LEFTOVERS: &str = "
SELECT 'replication slot ' || slot_name FROM pg_replication_slots WHERE slot_name ~ '^pghaul'
UNION ALL SELECT 'publication ' || pubname FROM pg_publication WHERE pubname ~ '^pghaul'
UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts
UNION ALL SELECT 'replication origin ' || roname FROM pg_replication_origin
  WHERE roname !~ '^pg_' -- a subscription's own
UNION ALL SELECT 'session ' || pid || ': ' || state || ', ' || query FROM pg_stat_activity
  WHERE application_name ~ '^pghaul'";

/// Fails, with every difference, unless both databases are the same: definitions, rows,
/// sequences, large objects, roles, settings.
#[track_caller]
pub(crate) fn assert_same(source: &Cluster, source_db: &str, target: &Cluster, target_db: &str) {
    let differences = differences(source, source_db, target, target_db);
    assert!(
        differences.is_empty(),
        "source (-) and target (+) differ:\n{differences}"
    );
}

/// As [`assert_same`] after a finished migration; and the progress is complete, and nothing but
/// the progress is left behind.
#[track_caller]
pub(crate) fn assert_migrated(
    source: &Cluster,
    source_db: &str,
    target: &Cluster,
    target_db: &str,
) {
    assert_same(source, source_db, target, target_db);
    assert_progress(target, target_db);
    assert_no_leftovers(source, source_db);
    assert_no_leftovers(target, target_db);
}

/// Every difference between two databases, a line each; empty when they are the same.
pub(crate) fn differences(
    source: &Cluster,
    source_db: &str,
    target: &Cluster,
    target_db: &str,
) -> String {
    let mut lines = facts(source, source_db, target, target_db);
    let definitions = diff(
        &definitions(source, source_db),
        &definitions(target, target_db),
    );
    if !definitions.is_empty() {
        // Dump and restore alone do not reproduce everything; that much is forgiven.
        let mut forgiven = count(baseline(source, source_db, target));
        for line in definitions {
            match forgiven.get_mut(&line) {
                Some(left) if *left > 0 => *left -= 1,
                _ => lines.push(line),
            }
        }
    }
    lines.join("\n")
}

/// Fails unless the target's record tells of one complete migration, with each part of its plan
/// recorded once, and as finished.
#[track_caller]
pub(crate) fn assert_progress(target: &Cluster, db: &str) {
    let migrations = target.psql(db, "SELECT state FROM pghaul.migration");
    assert_eq!(migrations, "complete", "the migrations on the target");
    let parts = target.psql(
        db,
        "SELECT json_array_length(plan->'parts') FROM pghaul.migration
         UNION ALL SELECT count(part) FROM pghaul.progress WHERE finished_at IS NOT NULL
         UNION ALL SELECT count(DISTINCT part) FROM pghaul.progress
         UNION ALL SELECT count(*) FROM pghaul.progress",
    );
    let counts: Vec<&str> = parts.lines().collect();
    assert!(
        counts.iter().all(|count| *count == counts[0]),
        "parts in the plan, finished, different, recorded: {counts:?}"
    );
}

/// Fails unless [`leftovers`] are gone from this server, or go within five seconds.
#[track_caller]
pub(crate) fn assert_no_leftovers(cluster: &Cluster, db: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = leftovers(cluster, db);
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left behind on the server:\n{left}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Sessions, slots, publications, origins and prepared transactions of pghaul, a line each.
pub(crate) fn leftovers(cluster: &Cluster, db: &str) -> String {
    cluster.psql(db, LEFTOVERS)
}

/// The facts that only one of the databases shows. Roles that only the target has are its own.
fn facts(source: &Cluster, source_db: &str, target: &Cluster, target_db: &str) -> Vec<String> {
    let versions = [source.version(), target.version()];
    let [oldest, newest] = [versions[0].min(versions[1]), versions[0].max(versions[1])];
    // Attributes change from version to version.
    let catalogs = if oldest == newest && oldest >= 14 {
        include_str!("catalogs.sql")
    } else {
        ""
    };
    let read = |cluster: &Cluster, db: &str, skip: &str| {
        let script = format!(
            "\\set skip '{skip}'\n\\set oldest {oldest}\n\\set newest {newest}\n{}{catalogs}",
            include_str!("facts.sql")
        );
        count(
            cluster
                .psql(db, &script)
                .lines()
                .map(str::to_owned)
                .collect(),
        )
    };
    let expected = read(source, source_db, "");
    let found = read(target, target_db, OWN_SCHEMA);
    let missing = expected
        .iter()
        .filter(|(line, times)| found.get(*line) != Some(*times));
    let surplus = found.iter().filter(|(line, times)| {
        expected.get(*line) != Some(*times) && !is_foreign_role(line, &expected)
    });
    missing
        .map(|(line, _)| format!("- {line}"))
        .chain(surplus.map(|(line, _)| format!("+ {line}")))
        .chain(extensions(source, source_db, target, target_db))
        .collect()
}

/// The extensions whose version is not the source's, or where the target does not offer that one,
/// the target's default.
fn extensions(source: &Cluster, source_db: &str, target: &Cluster, target_db: &str) -> Vec<String> {
    // A server's package may hold a control file that the server itself cannot read.
    let read = |query: &str| target.try_psql(target_db, query).unwrap_or_default();
    let offered = read("SELECT name || ' ' || version FROM pg_available_extension_versions");
    let defaults = read("SELECT name || ' ' || default_version FROM pg_available_extensions");
    let installed = "SELECT extname || ' ' || extversion FROM pg_extension";
    let found = target.psql(target_db, installed);
    let source = source.psql(source_db, installed);
    let expected = source.lines().map(|line| {
        let name = line.split(' ').next();
        let default = defaults
            .lines()
            .find(|other| other.split(' ').next() == name);
        // plpgsql comes with the database.
        match default {
            Some(default) if name == Some("plpgsql") => default,
            Some(default) if !offered.lines().any(|other| other == line) => default,
            _ => line,
        }
    });
    expected
        .filter(|line| !found.lines().any(|other| other == *line))
        .map(|line| format!("- extension {line}"))
        .collect()
}

/// Whether this line tells of a role which the source does not have.
fn is_foreign_role(line: &str, expected: &BTreeMap<String, usize>) -> bool {
    line.strip_prefix("role ")
        .and_then(|rest| rest.split_once(": "))
        .is_some_and(|(name, _)| {
            let prefix = format!("role {name}: ");
            !expected.keys().any(|known| known.starts_with(&prefix))
        })
}

/// The definitions as `pg_dump` prints them, without what differs from run to run.
fn definitions(cluster: &Cluster, db: &str) -> String {
    let mut dump = cluster.client("pg_dump", db);
    dump.args(["--schema-only", "--exclude-schema", OWN_SCHEMA])
        .env("PGTZ", "UTC");
    let text = pg::run(&mut dump).unwrap_or_else(|error| panic!("{error}"));
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        let passing = line.is_empty()
            || line.starts_with("--")
            || line.starts_with("\\restrict")
            || line.starts_with("\\unrestrict");
        if let Some(line) = without_note(line).filter(|_| !passing) {
            kept.push_str(&line);
            kept.push('\n');
        }
    }
    kept
}

/// A line without the version of a column, which servers keep for themselves and a pg_dump that is
/// older than they are prints as an option; `None` if it sets nothing else.
fn without_note(line: &str) -> Option<Cow<'_, str>> {
    let Some((head, rest)) = line.split_once("pg_attver=") else {
        return Some(Cow::Borrowed(line));
    };
    let rest = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
    match (head.strip_suffix(" SET ("), rest) {
        (Some(_), ");") => None,
        (Some(_), rest) => Some(format!("{head}{}", rest.trim_start_matches(", ")).into()),
        (None, rest) => Some(format!("{}{rest}", head.trim_end_matches(", ")).into()),
    }
}

/// What differs after `pg_dump | pg_restore` of the source's definitions, without pghaul.
fn baseline(source: &Cluster, db: &str, target: &Cluster) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive");
    let mut dump = source.client("pg_dump", db);
    dump.args(["--schema-only", "--format=custom", "--file"])
        .arg(&archive);
    pg::run(&mut dump).unwrap_or_else(|error| panic!("{error}"));
    let scratch = "pghaul oracle";
    target.create_db(scratch);
    let mut restore = target.client("pg_restore", scratch);
    let restored = pg::run(restore.arg(&archive));
    let found = definitions(target, scratch);
    // A database with subscriptions is not dropped.
    let subscriptions = "SELECT format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subname),
        format('DROP SUBSCRIPTION %I', subname)
        FROM pg_subscription JOIN pg_database AS d ON d.oid = subdbid
        WHERE d.datname = current_database() \\gexec";
    target.psql(scratch, subscriptions);
    target.psql("postgres", &format!("DROP DATABASE \"{scratch}\""));
    // What these programs write is not meant for servers older than they are.
    let version = pg::run(source.client("pg_restore", db).arg("--version")).unwrap_or_default();
    let newer = !version.contains(&format!(") {}.", target.version()));
    match restored {
        Err(error) if newer && error.contains("errors ignored on restore") => {}
        restored => drop(restored.expect("the baseline can be restored")),
    }
    diff(&definitions(source, db), &found)
}

/// The lines that `diff` removes (`-`) and adds (`+`).
fn diff(before: &str, after: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("the file is written");
        path
    };
    let (before, after) = (write("before", before), write("after", after));
    let output = run_diff(&before, &after);
    output
        .lines()
        .filter_map(|line| match line.split_at_checked(2)? {
            ("< ", text) => Some(format!("- {text}")),
            ("> ", text) => Some(format!("+ {text}")),
            _ => None,
        })
        .collect()
}

/// The output of `diff`, whose exit code 1 only says that there are differences.
fn run_diff(before: &Path, after: &Path) -> String {
    let output = Command::new("diff")
        .arg("--text")
        .arg(before)
        .arg(after)
        .output()
        .expect("diff");
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "diff failed: {output:?}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How often each line occurs.
fn count(lines: Vec<String>) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for line in lines {
        *counted.entry(line).or_insert(0) += 1;
    }
    counted
}
