//! `pghaul validate`, and its run before `pghaul migrate`.

mod refusals;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pghaul_stage::Check;
use serde_json::Value;

use crate::managed::by;
use crate::support::oracle::assert_migrated;
use crate::support::{Cluster, Output, Pair, Pghaul, fixture};

/// A page that names every code.
const DOC: &str = include_str!("../docs/validation.md");

/// The cells of the table of codes: code, check, side, severity, meaning, remedy.
fn documented() -> Vec<Vec<&'static str>> {
    let rows = DOC.lines().filter(|line| line.starts_with("| 6"));
    rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

#[test]
fn every_code_is_documented_and_no_other() {
    let documented: Vec<(u32, &str)> = documented()
        .iter()
        .map(|cells| (cells[0].parse().expect("a code"), cells[1]))
        .collect();
    let known: Vec<(u32, &str)> = Check::ALL
        .iter()
        .map(|check| (check.code(), check.name()))
        .collect();
    assert_eq!(documented, known);
}

/// The findings of a validation in JSON; checks that every line has its shape and that the sum
/// is right.
fn findings(output: &Output) -> Vec<Value> {
    let mut lines: Vec<Value> = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let sum = lines.pop().unwrap_or_else(|| panic!("{output:?}"));
    assert_eq!(sum["event"], "validation", "{output:?}");
    assert_eq!(lines.remove(0)["event"], "validation_started", "{output:?}");
    for line in &lines {
        assert_eq!(line["event"], "finding");
        let succeeded = line["severity"] == "Succeeded";
        assert_eq!(line["remedy"].is_null(), succeeded, "{line}");
        assert!(
            ["source", "target", "runtime"].contains(&line["side"].as_str().expect("a side")),
            "{line}"
        );
        assert!(line["objects"].is_array(), "{line}");
        let known = Check::ALL
            .iter()
            .any(|check| line["code"] == check.code() && line["check"] == check.name());
        assert!(known, "{line}");
    }
    for (severity, name) in [
        ("Succeeded", "succeeded"),
        ("Warning", "warnings"),
        ("Failed", "failed"),
    ] {
        let count = lines.iter().filter(|line| line["severity"] == severity);
        assert_eq!(sum[name], count.count(), "{output:?}");
    }
    lines
}

fn validate(args: &[&str], source: &str, target: &str) -> Pghaul {
    let args = [&["validate", "--output", "json"], args].concat();
    Pghaul::new(&args).source(source).target(target)
}

/// The codes of a severity.
fn codes(findings: &[Value], severity: &str) -> BTreeSet<u64> {
    let those = findings
        .iter()
        .filter(|finding| finding["severity"] == severity);
    those
        .filter_map(|finding| finding["code"].as_u64())
        .collect()
}

#[test]
fn a_clean_pair_succeeds_in_everything() {
    let pair = Pair::start();
    fixture::shop(&pair.source, "shop", 1);
    let output = pair
        .pghaul("shop", &["validate", "--output", "json"])
        .run()
        .expect(0);
    let found = findings(&output);
    let succeeded = codes(&found, "Succeeded");
    assert_eq!(
        codes(&found, "Warning"),
        BTreeSet::new(),
        "{}",
        output.stdout
    );
    // Those that only --overwrite asks for.
    let missing: Vec<_> = Check::ALL
        .iter()
        .filter(|check| !succeeded.contains(&u64::from(check.code())))
        .collect();
    assert_eq!(missing, [&Check::EndSessions, &Check::DropDatabase]);

    let text = pair.pghaul("shop", &["validate"]).run().expect(0);
    for word in ["source\n", "target\n", "runtime\n", " 0 failed in "] {
        assert!(text.stdout.contains(word), "{word}:\n{}", text.stdout);
    }
    // It has left nothing behind.
    assert!(!pair.target.databases().contains(&"shop".to_owned()));
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname ~ 'pghaul'";
    assert_eq!(pair.target.psql("postgres", roles), "0");
    assert_eq!(pair.source.psql("postgres", roles), "0");
}

/// What is no reason to stop is said, and the migration goes on.
#[test]
fn warnings_do_not_stop_a_migration() {
    let pair = Pair::start();
    let db = "warned";
    pair.source.create_db(db);
    pair.source.psql(
        db,
        "CREATE ROLE reader LOGIN;
         CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 10);
         CREATE TABLE waits (id int); GRANT SELECT ON t, waits TO reader;
         CREATE EXTENSION hstore; UPDATE pg_extension SET extversion = '0.0.1'
           WHERE extname = 'hstore'",
    );
    pair.source.psql(
        db,
        "BEGIN; INSERT INTO waits VALUES (1); PREPARE TRANSACTION 'forgotten'",
    );
    pair.target.psql(
        "postgres",
        "CREATE DATABASE warned TEMPLATE template0 LOCALE 'C'",
    );
    pair.target.psql(
        "postgres",
        "ALTER DATABASE warned SET default_transaction_read_only = on",
    );
    let source = by(&pair.source.dsn(db), "reader");
    let target = pair.target.dsn(db);

    let output = validate(&[], &source, &target).run().expect(0);
    let warned = codes(&findings(&output), "Warning");
    let expected = [603_112, 603_401, 613_101, 613_105, 613_204, 613_401];
    assert_eq!(warned, BTreeSet::from(expected), "{}", output.stdout);

    let migrated = Pghaul::new(&["migrate"])
        .source(&source)
        .target(&target)
        .run()
        .expect(0);
    for word in [
        "warning 613204 prepared transactions, source",
        "forgotten",
        "remedy: ",
    ] {
        assert!(
            migrated.stderr.contains(word),
            "{word}:\n{}",
            migrated.stderr
        );
    }
    assert_eq!(pair.target.psql(db, "SELECT count(*) FROM t"), "10");
}

/// The finding of this code on this side.
fn finding<'a>(findings: &'a [Value], code: u64, side: &str) -> &'a Value {
    findings
        .iter()
        .find(|finding| finding["code"] == code && finding["side"] == side)
        .unwrap_or_else(|| panic!("no {code} of the {side}"))
}

fn message<'a>(findings: &'a [Value], code: u64, side: &str) -> &'a str {
    let message = finding(findings, code, side)["message"].as_str();
    message.expect("a message")
}

#[test]
fn the_ways_and_the_largest_table_are_measured() {
    let pair = Pair::start();
    let db = "sized";
    pair.source.create_db(db);
    pair.source.psql(
        db,
        "CREATE TABLE small (id int); INSERT INTO small VALUES (1);
         CREATE TABLE \"Large\" (id int PRIMARY KEY, filler text);
         INSERT INTO \"Large\" SELECT n, repeat('x', 500) FROM generate_series(1, 100000) n;
         ANALYZE",
    );
    let output = validate(&[], &pair.source.dsn(db), &pair.target.dsn(db));
    let found = findings(&output.run().expect(0));
    for side in ["source", "target"] {
        let message = message(&found, 613_002, side);
        assert!(message.contains("/s over one connection"), "{message}");
    }
    let expected = message(&found, 613_302, "runtime");
    let tables = "SELECT sum(pg_table_size(oid)) / 1048576 FROM pg_class \
                   WHERE relname IN ('small', 'Large')";
    let megabytes = pair.source.psql(db, tables);
    let whole = megabytes.split('.').next().expect("a number");
    for word in [
        &format!("{whole} MB of tables"),
        "public.\"Large\"",
        "between",
    ] {
        assert!(expected.contains(word), "{word}: {expected}");
    }

    // Nothing of it stays, on either side.
    let temporary = "SELECT count(*) FROM pg_class WHERE relname ~ 'pghaul'";
    assert_eq!(pair.target.psql("postgres", temporary), "0");

    let output = validate(
        &["--measure", "0"],
        &pair.source.dsn(db),
        &pair.target.dsn(db),
    );
    let measured = [613_002, 613_301, 613_302];
    let found = findings(&output.run().expect(0));
    assert!(
        !found
            .iter()
            .any(|finding| measured.iter().any(|code| finding["code"] == *code))
    );
}

#[test]
fn a_target_without_temporary_tables_is_not_measured() {
    let pair = Pair::start();
    pair.source.create_db("d");
    pair.target.psql(
        "postgres",
        "CREATE ROLE maker LOGIN CREATEDB CREATEROLE; CREATE DATABASE d OWNER maker;
         CREATE ROLE rds_superuser; REVOKE TEMPORARY ON DATABASE d FROM public, maker",
    );
    let target = by(&pair.target.dsn("d"), "maker");
    let output = validate(&[], &pair.source.dsn("d"), &target);
    let found = findings(&output.run().expect(0));
    let refusal = message(&found, 613_002, "target");
    assert!(refusal.contains("cannot be measured"), "{refusal}");
    // Nor is the role one of the service's administrators.
    let outsider = finding(&found, 603_115, "target");
    assert_eq!(outsider["severity"], "Warning", "{outsider}");
    assert!(outsider.to_string().contains("rds_superuser"), "{outsider}");
}

#[test]
fn a_page_shows_findings_and_runs_nothing() {
    let pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE ROLE plain LOGIN; CREATE TABLE \"<img src=x onerror=alert(1)>\" (id int)",
    );
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page.html");
    let name = page.to_str().expect("a path");
    let source = by(&pair.source.dsn("d"), "plain");
    validate(&["--html", name], &source, &pair.target.dsn("d"))
        .run()
        .expect(1);
    let html = fs::read_to_string(&page).expect("a page");
    assert!(html.contains("603110 readable tables"), "{html}");
    assert!(
        html.contains("&lt;img src=x onerror=alert(1)&gt;"),
        "{html}"
    );
    assert!(
        !html.contains("<img") && !html.contains("<script"),
        "{html}"
    );

    let nowhere = folder.path().join("no such folder/page.html");
    let output = validate(
        &["--html", nowhere.to_str().expect("a path")],
        &source,
        &pair.target.dsn("d"),
    );
    assert!(output.run().expect(2).stdout.contains("cannot be written"));
}

/// Neither a migration that is told not to, nor one that goes on, repeats the checks.
#[test]
fn a_migration_stops_at_a_failed_check_unless_told_not_to() {
    let pair = Pair::start();
    let db = "d";
    pair.source.create_db(db);
    pair.source
        .psql(db, "CREATE TABLE t AS SELECT generate_series(1, 10) AS id");
    inflate(&pair.source, db);
    let refused = pair.pghaul(db, &["migrate"]).run().expect(1);
    for word in [
        "failed 613202 disk space, target: ",
        "remedy: ",
        "--skip-validation",
    ] {
        assert!(refused.stderr.contains(word), "{word}:\n{}", refused.stderr);
    }
    assert!(!pair.target.databases().contains(&db.to_owned()));
    let json = ["migrate", "--output", "json"];
    let json = pair.pghaul(db, &json).run().expect(1);
    let finding = json
        .stdout
        .lines()
        .find(|line| line.contains(r#""code":613202"#));
    assert!(
        finding.is_some_and(|line| line.contains("Failed")),
        "{}",
        json.stdout
    );

    pair.pghaul(db, &["migrate", "--skip-validation"])
        .run()
        .expect(0);
    assert_migrated(&pair.source, db, &pair.target, db);
    pair.target.psql(
        db,
        "UPDATE pghaul.migration SET state = 'prepared', finished_at = NULL",
    );
    pair.pghaul(db, &["migrate", "--resume"]).run().expect(0);

    // What is dropped first must be checked first.
    pair.pghaul(db, &["migrate", "--overwrite"]).run().expect(1);
    assert_eq!(pair.target.psql(db, "SELECT count(*) FROM t"), "10");
}

/// Makes a database look large by a file with a hole.
fn inflate(cluster: &Cluster, db: &str) {
    let folder = "SELECT current_setting('data_directory') || '/base/' || oid
        FROM pg_database WHERE datname = current_database()";
    let hole = Path::new(&cluster.psql(db, folder)).join("hole");
    let file = fs::File::create(hole).expect("a file");
    file.set_len(8 << 40).expect("a large file");
}

/// The checks that the code can let fail, function by function.
fn can_fail(file: &Path, failing: &mut BTreeSet<String>) {
    let text = fs::read_to_string(file).expect("a source file");
    let code = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    // What a step on the way to a session ends with becomes a finding, too.
    let failing_words = ["Finding::failed(", "step: Check::"];
    let functions = code.split("\n}\n");
    for function in functions.filter(|one| failing_words.iter().any(|word| one.contains(word))) {
        for (at, _) in function.match_indices("Check::") {
            let name = function[at + "Check::".len()..].split(|c: char| !c.is_alphanumeric());
            failing.extend(name.take(1).map(str::to_owned));
        }
    }
}

/// What the code can let fail is documented so, and then `preflight_refusals` demands that it
/// was seen to fail.
#[test]
fn whatever_can_fail_is_documented_so() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root];
    let mut failing = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                can_fail(&path, &mut failing);
            }
        }
    }
    let documented: BTreeSet<String> = documented()
        .iter()
        .filter(|cells| cells[3].contains("Failed"))
        .map(|cells| cells[1].to_owned())
        .collect();
    let found: BTreeSet<String> = Check::ALL
        .iter()
        .filter(|check| failing.contains(&format!("{check:?}")))
        .map(|check| check.name().to_owned())
        .collect();
    assert_eq!(found, documented);
}
