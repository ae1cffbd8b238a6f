//! `pghaul validate`, and its run before `pghaul migrate`.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use pghaul_stage::Check;
use serde_json::Value;

use crate::support::oracle::assert_migrated;
use crate::support::{Cluster, Output, Pair, Pghaul, fixture, pg};

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

/// Collects the codes that were seen to fail.
struct Refusals {
    pair: Pair,
    seen: BTreeSet<u64>,
}

impl Refusals {
    /// Expects that this code fails, and names one of these objects if any are given.
    #[track_caller]
    fn expect(&mut self, code: u64, object: &str, call: Pghaul) {
        let output = call.run().expect(1);
        let found = findings(&output);
        let finding = found
            .iter()
            .find(|finding| finding["code"] == code && finding["severity"] == "Failed");
        let Some(finding) = finding else {
            panic!("{code} does not fail:\n{}", output.stdout);
        };
        assert!(finding.to_string().contains(object), "{object}: {finding}");
        self.seen.insert(code);
    }

    /// A call from and to the database of this name, created on the source with this content.
    fn database(&self, db: &str, sql: &str) -> Pghaul {
        self.pair.source.create_db(db);
        self.pair.source.psql(db, sql);
        self.between(db)
    }

    fn between(&self, db: &str) -> Pghaul {
        validate(&[], &self.pair.source.dsn(db), &self.pair.target.dsn(db))
    }
}

/// The same database as another role.
fn by(dsn: &str, role: &str) -> String {
    dsn.replace("postgres@", &format!("{role}@"))
}

/// Every finding that can fail, produced on real servers.
#[test]
fn preflight_refusals() {
    let mut refusals = Refusals {
        pair: Pair::start(),
        seen: BTreeSet::new(),
    };
    for cluster in [&refusals.pair.source, &refusals.pair.target] {
        cluster.create_db("d");
        cluster.psql(
            "d",
            "CREATE ROLE plain LOGIN; CREATE ROLE maker LOGIN CREATEDB CREATEROLE",
        );
    }
    connections(&mut refusals);
    source_side(&mut refusals);
    target_side(&mut refusals);
    contents(&mut refusals);
    locales(&mut refusals);
    room(&mut refusals);
    versions(&mut refusals);

    let failing: BTreeSet<u64> = documented()
        .iter()
        .filter(|cells| cells[3].contains("Failed"))
        .filter_map(|cells| cells[0].parse().ok())
        .collect();
    assert_eq!(refusals.seen, failing);
}

fn connections(refusals: &mut Refusals) {
    let (source, target) = (refusals.pair.source.dsn("d"), refusals.pair.target.dsn("d"));
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = closed.local_addr().expect("an address").port();
    drop(closed);
    let nobody = format!("postgresql://postgres@127.0.0.1:{port}/d");
    refusals.expect(603_000, &port.to_string(), validate(&[], &nobody, &target));
    refusals.expect(603_000, "target", validate(&[], &source, &nobody));
    let unknown = "postgresql://postgres@no-such-host.invalid/d";
    refusals.expect(603_000, "no-such-host", validate(&[], unknown, &target));

    let tcp = refusals.pair.source.tcp_dsn("d");
    let encrypted = format!("{tcp}?sslmode=require");
    refusals.expect(603_001, "TLS", validate(&[], &encrypted, &target));
    let stranger = tcp.replacen("postgres:", "postgres:not-", 1);
    refusals.expect(603_100, "password", validate(&[], &stranger, &target));
    let absent = refusals.pair.source.dsn("nowhere");
    refusals.expect(603_102, "nowhere", validate(&[], &absent, &target));

    refusals.expect(613_001, "same database", validate(&[], &source, &source));
    let call = validate(&[], &source, &target).env("PGHAUL_PG_BINDIR", "/nonexistent");
    refusals.expect(613_300, "pg_dump 15", call);
}

fn source_side(refusals: &mut Refusals) {
    let reader = |refusals: &Refusals, db: &str| {
        validate(
            &[],
            &by(&refusals.pair.source.dsn(db), "plain"),
            &refusals.pair.target.dsn(db),
        )
    };
    refusals.database(
        "unreadable",
        "CREATE TABLE open (id int); CREATE TABLE closed (id int); CREATE SEQUENCE numbers;
         CREATE SCHEMA hidden; CREATE TABLE hidden.away (id int);
         SELECT lo_create(4711);
         GRANT SELECT ON open, hidden.away TO plain",
    );
    for object in [
        "public.closed",
        "sequence public.numbers",
        "hidden.away",
        "large object 4711",
    ] {
        let call = reader(refusals, "unreadable");
        refusals.expect(603_110, object, call);
    }
    refusals.database(
        "policies",
        "CREATE TABLE guarded (id int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
         GRANT SELECT ON guarded TO plain",
    );
    let call = reader(refusals, "policies");
    refusals.expect(613_100, "public.guarded", call);

    // A role may have fewer connections than the server.
    let source = &refusals.pair.source;
    source.psql("d", "CREATE ROLE limited LOGIN CONNECTION LIMIT 3");
    let call = validate(
        &["--jobs", "2"],
        &by(&source.dsn("d"), "limited"),
        &refusals.pair.target.dsn("d"),
    );
    refusals.expect(613_200, "CONNECTION LIMIT", call);
}

fn target_side(refusals: &mut Refusals) {
    let target = &refusals.pair.target;
    let source = refusals.pair.source.dsn("d");
    target.create_db("full");
    target.psql("full", "CREATE TABLE precious (id int)");
    let (empty, full) = (target.dsn("d"), target.dsn("full"));
    let absent = target.dsn("absent");
    let overwrite = ["--overwrite"];
    refusals.expect(603_101, "precious", validate(&[], &source, &full));
    validate(&overwrite, &source, &full).run().expect(0);

    refusals.expect(
        613_102,
        "CREATEDB",
        validate(&[], &source, &by(&absent, "plain")),
    );
    refusals.expect(
        613_102,
        "schemas",
        validate(&[], &source, &by(&empty, "plain")),
    );
    refusals.expect(
        603_117,
        "postgres",
        validate(&overwrite, &source, &by(&full, "maker")),
    );

    // A superuser's session in the database of somebody who may drop it.
    refusals
        .pair
        .target
        .psql("postgres", "ALTER DATABASE \"full\" OWNER TO maker");
    let mut session = refusals.pair.target.client("psql", "full");
    let session = session.args(["-c", "SELECT pg_sleep(60)"]).spawn();
    let mut session = session.expect("psql starts");
    let there = "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep'";
    while refusals.pair.target.psql("postgres", there) != "1" {}
    let call = validate(&overwrite, &source, &by(&full, "maker"));
    refusals.expect(603_111, "server process", call);
    session.kill().expect("psql is killed");
    session.wait().expect("psql ends");

    let list = "ALTER ROLE postgres SET azure.extensions = 'PG_TRGM,CITEXT'";
    refusals.pair.target.psql("postgres", list);
    refusals.database("allowed", "CREATE EXTENSION citext");
    refusals.between("allowed").run().expect(0);
    let call = refusals.database(
        "forbidden",
        "CREATE EXTENSION citext; CREATE EXTENSION hstore",
    );
    refusals.expect(603_108, "hstore", call);
    refusals
        .pair
        .target
        .psql("postgres", "ALTER ROLE postgres RESET azure.extensions");

    let mut standby = Cluster::start();
    standby.stop_immediate();
    fs::write(standby.socket_dir().join("data/standby.signal"), "").expect("a file");
    standby.start_again();
    refusals.expect(
        603_112,
        "standby",
        validate(&[], &source, &standby.dsn("new")),
    );
}

fn contents(refusals: &mut Refusals) {
    let call = refusals.database(
        "extensions",
        "CREATE EXTENSION hstore; UPDATE pg_extension SET extname = 'elsewhere'
           WHERE extname = 'hstore'",
    );
    refusals.expect(603_405, "elsewhere", call);

    // As of a server that still has a type which the target's version has dropped.
    let call = refusals.database(
        "types",
        "CREATE TYPE pg_catalog.abstime AS ENUM ('epoch'); CREATE TABLE t (at abstime)",
    );
    refusals.expect(613_402, "abstime", call);

    refusals.database(
        "privileged",
        "CREATE FUNCTION raw() RETURNS int4 LANGUAGE internal AS 'pg_backend_pid';
         CREATE TABLE with_raw (id int DEFAULT raw())",
    );
    let (source, target) = (
        refusals.pair.source.dsn("privileged"),
        refusals.pair.target.dsn("privileged"),
    );
    refusals.expect(
        613_104,
        "with_raw",
        validate(&[], &source, &by(&target, "maker")),
    );
    validate(&[], &source, &target).run().expect(0);
    refusals.database(
        "triggers",
        "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION f()",
    );
    let (source, target) = (
        refusals.pair.source.dsn("triggers"),
        by(&refusals.pair.target.dsn("triggers"), "maker"),
    );
    validate(&[], &source, &target).run().expect(0);
    refusals.expect(
        613_105,
        "event trigger watch",
        validate(&["--strict"], &source, &target),
    );

    let (source, target) = (&refusals.pair.source, &refusals.pair.target);
    for (cluster, encoding) in [(source, "LATIN1"), (target, "EUC_KR")] {
        cluster.psql(
            "postgres",
            &format!("CREATE DATABASE letters TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"),
        );
    }
    let call = refusals.between("letters");
    refusals.expect(613_404, "EUC_KR", call);
}

/// The source's host has a locale that the target's has not.
fn locales(refusals: &mut Refusals) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut copy = Command::new("cp");
    let copied = copy
        .args(["-rL", "/usr/lib/locale/C.utf8"])
        .arg(folder.path().join("xx_XX.utf8"));
    pg::run(copied).unwrap_or_else(|error| panic!("{error}"));
    let mut open = Command::new("chmod");
    pg::run(open.args(["-R", "a+rX"]).arg(folder.path())).unwrap_or_else(|error| panic!("{error}"));
    let path = folder.path().to_str().expect("a path in UTF-8");
    let source = Cluster::builder().env("LOCPATH", path).start();
    source.psql(
        "postgres",
        "CREATE DATABASE foreign_locale TEMPLATE template0 LOCALE 'xx_XX.utf8'",
    );
    source.create_db("foreign_collations");
    source.psql(
        "foreign_collations",
        "CREATE COLLATION mine (LOCALE = 'xx_XX.utf8');
         SELECT pg_import_system_collations('pg_catalog');
         CREATE COLLATION pg_catalog.\"xx_XX\" (LOCALE = 'xx_XX.utf8');
         CREATE TABLE t (name text COLLATE \"xx_XX\")",
    );
    let target = &refusals.pair.target;
    let call = |db: &str| validate(&[], &source.dsn(db), &target.dsn(db));
    let (locale, collations) = (call("foreign_locale"), call("foreign_collations"));
    let again = call("foreign_collations");
    refusals.expect(603_401, "xx_XX.utf8", locale);
    refusals.expect(603_402, "xx_XX", collations);
    refusals.expect(603_403, "public.mine", again);
}

fn room(refusals: &mut Refusals) {
    let crowded = Cluster::builder()
        .conf("max_locks_per_transaction", "10")
        .conf("max_connections", "20")
        .conf("max_worker_processes", "1")
        .conf("max_wal_senders", "0")
        .conf("max_prepared_transactions", "0")
        .start();
    crowded.create_db("many");
    // One transaction each: the lock table has no room for all of them at once.
    crowded.psql(
        "many",
        "SELECT format('CREATE TABLE t%s (id int)', n) FROM generate_series(1, 300) AS n \\gexec",
    );
    let call = validate(&[], &crowded.dsn("many"), &refusals.pair.target.dsn("many"));
    refusals.expect(613_201, "tables are locked at once", call);
    refusals.database(
        "some",
        "SELECT format('CREATE TABLE t%s (id int)', n)
      FROM generate_series(1, 120) AS n \\gexec",
    );
    let call = validate(
        &["--jobs", "2", "--index-jobs", "1"],
        &refusals.pair.source.dsn("some"),
        &crowded.dsn("some"),
    );
    refusals.expect(613_201, "locks are held at once", call);

    refusals.database("large", "CREATE TABLE t (id int)");
    inflate(&refusals.pair.source, "large");
    let call = refusals.between("large");
    refusals.expect(613_202, "10 TB", call);
}

/// A server that says it is of another version.
fn versions(refusals: &mut Refusals) {
    let pretend = |cluster: &Cluster, db: &str, version: &str| {
        cluster.psql(
            db,
            &format!(
                "ALTER FUNCTION pg_catalog.current_setting(text) RENAME TO true_setting;
                 CREATE FUNCTION pg_catalog.current_setting(text) RETURNS text
                 LANGUAGE sql STABLE STRICT AS $$ SELECT CASE $1
                   WHEN 'server_version_num' THEN '{version}'
                   ELSE pg_catalog.true_setting($1) END $$"
            ),
        );
    };
    refusals.database("old", "CREATE TABLE t (id int)");
    refusals.pair.target.create_db("old");
    pretend(&refusals.pair.target, "old", "140011");
    let call = refusals.between("old");
    refusals.expect(613_400, "PostgreSQL 14", call);
    pretend(&refusals.pair.source, "old", "90624");
    let call = refusals.between("old");
    refusals.expect(603_400, "9.6.24", call);
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
