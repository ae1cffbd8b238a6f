//! `pghaul verify` and `pghaul cleanup`, end to end.

use std::fs;

use crate::support::proxy::{Fault, Proxy};
use crate::support::way::Haul;
use crate::support::{Output, Pair, Pghaul, Way, both_ways, fixture};

/// A migrated pgbench database on both sides, and how it was migrated.
fn migrated(way: Way) -> (Pair, Haul) {
    let mut pair = Pair::start();
    fixture::pgbench(&pair.source, "d", 1);
    pair.source.psql(
        "d",
        "SELECT lo_from_bytea(4711, 'content'); CREATE SEQUENCE numbers",
    );
    let mut haul = way.of("d");
    haul.run(&mut pair, &[]).expect(0);
    (pair, haul)
}

both_ways!(each_planted_difference_is_named_and_ends_with_three);
/// Over a spool, the target is compared with what was extracted, without the source.
fn each_planted_difference_is_named_and_ends_with_three(way: Way) {
    let (mut pair, haul) = migrated(way);
    if way == Way::Spool {
        pair.source.stop();
    }
    let verify = || match way {
        Way::Channel => pair.pghaul("d", &["verify"]).run(),
        Way::Spool => haul.spooling(&pair, "verify", &[]).run(),
    };
    verify().expect(0);
    let plants = [
        (
            "UPDATE pgbench_accounts SET abalance = 1 WHERE aid = 77777",
            ("77777", "pgbench_accounts"),
        ),
        (
            "DELETE FROM pgbench_accounts WHERE aid = 500",
            ("500", "pgbench_accounts"),
        ),
        (
            "INSERT INTO pgbench_history (tid) VALUES (1)",
            ("pgbench_history", "pgbench_history"),
        ),
        ("SELECT setval('numbers', 42)", ("numbers", "numbers")),
        ("SELECT lo_put(4711, 0, 'C')", ("4711", "large objects")),
        (
            "DROP TABLE pgbench_history",
            ("pgbench_history", "pgbench_history"),
        ),
        (
            "ALTER TABLE pgbench_accounts DROP CONSTRAINT pgbench_accounts_bid_fkey",
            ("bid_fkey", "bid_fkey"),
        ),
    ];
    for (change, (row, table)) in plants {
        // A digest has sums, and no rows.
        let name = if way == Way::Channel { row } else { table };
        pair.target.psql("d", change);
        let output = verify().expect(3);
        let line = output
            .stdout
            .lines()
            .find(|line| line.starts_with("differs:"));
        assert!(line.is_some(), "{change}:\n{}", output.stdout);
        assert!(output.stdout.contains(name), "{change}:\n{}", output.stdout);
    }
}

#[test]
fn cleanup_lists_then_removes_then_finds_nothing() {
    let (pair, _) = migrated(Way::Channel);
    let listed = pair.pghaul("d", &["cleanup", "--dry-run"]).run().expect(0);
    assert!(
        listed.stdout.contains("would remove target: schema pghaul"),
        "{}",
        listed.stdout
    );
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghaul'";
    assert_eq!(pair.target.psql("d", schemas), "1");

    pair.pghaul("d", &["cleanup"]).run().expect(0);
    assert_eq!(pair.target.psql("d", schemas), "0");
    let again = pair.pghaul("d", &["cleanup"]).run().expect(0);
    assert!(
        again.stdout.contains("nothing of pghaul's is left"),
        "{}",
        again.stdout
    );
    pair.pghaul("d", &["verify"]).run().expect(0);
}

#[test]
fn an_unfinished_migration_is_only_removed_by_force() {
    let (pair, _) = migrated(Way::Channel);
    pair.target.psql(
        "d",
        "UPDATE pghaul.migration SET state = 'prepared', finished_at = NULL",
    );
    let refused = pair.pghaul("d", &["cleanup"]).run().expect(2);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    pair.pghaul("d", &["cleanup", "--force"]).run().expect(0);
}

/// Two roles become one, and one gets the name that another had.
#[test]
fn roles_of_large_objects_are_compared_under_their_new_names() {
    let pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE ROLE a; CREATE ROLE b; CREATE ROLE c;
         SELECT lo_from_bytea(11, 'one'), lo_from_bytea(12, 'two');
         ALTER LARGE OBJECT 11 OWNER TO a; ALTER LARGE OBJECT 12 OWNER TO c;
         GRANT SELECT ON LARGE OBJECT 11 TO b, c; GRANT SELECT ON LARGE OBJECT 12 TO PUBLIC;
         CREATE TABLE t (); ALTER TABLE t OWNER TO a; GRANT SELECT ON t TO b, c",
    );
    let map = [
        "--role-map",
        "a=x",
        "--role-map",
        "b=x",
        "--role-map",
        "c=a",
    ];
    let migrate = [&["migrate", "--verify"], &map[..]].concat();
    pair.pghaul("d", &migrate).run().expect(0);
    let owners =
        "SELECT string_agg(lomowner::regrole::text, ',' ORDER BY oid) FROM pg_largeobject_metadata";
    assert_eq!(pair.target.psql("d", owners), "x,a");
    let verify = [&["verify"], &map[..]].concat();
    pair.pghaul("d", &verify).run().expect(0);
    for (change, back, named) in [
        (
            "ALTER LARGE OBJECT 11 OWNER TO a",
            "ALTER LARGE OBJECT 11 OWNER TO x; GRANT SELECT ON LARGE OBJECT 11 TO a",
            "(oid)=(11)",
        ),
        (
            "REVOKE SELECT ON LARGE OBJECT 11 FROM a",
            "GRANT SELECT ON LARGE OBJECT 11 TO a",
            "(oid)=(11)",
        ),
        (
            "GRANT UPDATE ON LARGE OBJECT 12 TO x",
            "REVOKE UPDATE ON LARGE OBJECT 12 FROM x",
            "(oid)=(12)",
        ),
        (
            "GRANT UPDATE ON t TO a",
            "REVOKE UPDATE ON t FROM a",
            "public.t",
        ),
    ] {
        pair.target.psql("d", change);
        let output = pair.pghaul("d", &verify).run().expect(3);
        assert!(output.stdout.contains(named), "{change}: {}", output.stdout);
        pair.target.psql("d", back);
        pair.pghaul("d", &verify).run().expect(0);
    }
    pair.pghaul("d", &["verify"]).run().expect(3);
}

/// What is recorded of a database, as it is in a file.
fn recorded(pair: &Pair, flags: &[&str]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let record = Pghaul::new(&[&["verify", "--record", name(&file)], flags].concat());
    let output = record.source(&pair.source.dsn("d")).run().expect(0);
    assert!(output.stdout.contains(name(&file)), "{}", output.stdout);
    file
}

fn name(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("paths here are UTF-8")
}

/// Compares the target with what was recorded; it is told of no source.
fn against(pair: &Pair, file: &tempfile::NamedTempFile, flags: &[&str]) -> Output {
    let verify = Pghaul::new(&[&["verify", "--digest", name(file)], flags].concat());
    verify.target(&pair.target.dsn("d")).run()
}

#[test]
fn what_was_recorded_of_a_stopped_source_finds_each_planted_difference() {
    let mut pair = migrated(Way::Channel).0;
    pair.source.psql(
        "d",
        "SELECT lo_create(4712); CREATE INDEX i ON pgbench_accounts (abalance)",
    );
    pair.target.psql(
        "d",
        "SELECT lo_create(4712); CREATE INDEX i ON pgbench_accounts (abalance); CREATE ROLE reader",
    );
    let file = recorded(&pair, &[]);
    pair.source.stop_immediate();
    let same = against(&pair, &file, &[]).expect(0);
    assert!(
        same.stdout.contains("source and target are the same"),
        "{}",
        same.stdout
    );
    let rows = "SELECT (SELECT count(*) FROM pgbench_accounts) + (SELECT count(*) FROM pgbench_tellers)
                     + (SELECT count(*) FROM pgbench_branches) + (SELECT count(*) FROM pgbench_history)";
    let json = against(&pair, &file, &["--output", "json"]).expect(0);
    let comparison: serde_json::Value = json
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|line: &serde_json::Value| line["event"] == "comparison")
        .expect("a comparison");
    let tables = comparison["report"]["tables"].as_array().expect("tables");
    let read: u64 = tables
        .iter()
        .filter_map(|table| table["source_rows"].as_u64())
        .sum();
    assert_eq!(read.to_string(), pair.target.psql("d", rows));
    assert_eq!(comparison["match"], true);
    let plants = [
        (
            "UPDATE pgbench_accounts SET abalance = 1 WHERE aid = 77777",
            "table public.pgbench_accounts: at least 1 of its rows differ",
        ),
        (
            "DELETE FROM pgbench_tellers WHERE tid = 5",
            "table public.pgbench_tellers: source has 10 rows, target 9;",
        ),
        (
            "INSERT INTO pgbench_history (tid) VALUES (1)",
            "table public.pgbench_history: source has 0 rows, target 1;",
        ),
        (
            "SELECT setval('numbers', 42)",
            "sequence public.numbers: source stands before 1",
        ),
        (
            "SELECT lo_put(4711, 0, 'C')",
            "large objects: at least 1 of its rows differ",
        ),
        ("DROP INDEX i", "index public.i: missing on the target"),
        (
            "GRANT SELECT ON pgbench_branches TO reader",
            "table public.pgbench_branches: source has",
        ),
    ];
    for (number, (change, line)) in plants.into_iter().enumerate() {
        pair.target.psql("d", change);
        let output = against(&pair, &file, &[]).expect(3);
        assert!(
            output.stdout.contains(&format!("differs: {line}")),
            "{change}:\n{}",
            output.stdout
        );
        let all = output.stdout.matches("differs: ").count();
        assert_eq!(all, number + 1, "{change}:\n{}", output.stdout);
    }
    let without = against(&pair, &file, &["--no-acl"]).expect(3);
    assert!(
        !without.stdout.contains("pgbench_branches"),
        "{}",
        without.stdout
    );
    pair.pghaul("d", &["verify"]).run().expect(1);
}

#[test]
fn a_digest_that_is_none_or_of_something_else_is_refused() {
    let (pair, _) = migrated(Way::Channel);
    let file = recorded(&pair, &["--table", "pgbench_t*"]);
    let whole = std::fs::read(file.path()).expect("a file");
    against(&pair, &file, &[]).expect(0);
    against(&pair, &file, &["--table", "pgbench_t*"]).expect(0);
    let other = against(&pair, &file, &["--table", "pgbench_a*"]).expect(2);
    assert!(
        other.stderr.contains("another selection"),
        "{}",
        other.stderr
    );
    // What fails leaves the digest that was there.
    let record = Pghaul::new(&["verify", "--record", name(&file)]);
    record.source(&pair.source.dsn("nothing")).run().expect(1);
    assert_eq!(std::fs::read(file.path()).expect("a file"), whole);

    let text = String::from_utf8(whole).expect("JSON");
    let spoilt = [
        (text[..text.len() / 2].to_owned(), "EOF"),
        (
            text.replacen("\"format\":1", "\"format\":7", 1),
            "its format is 7",
        ),
        (
            text.replacen("pgbench_tellers", "pgbench_sellers", 1),
            "it was changed",
        ),
        (String::new(), "EOF"),
        ("\u{1}".to_owned(), "expected"),
    ];
    for (text, reason) in spoilt {
        std::fs::write(file.path(), text).expect("a file");
        let refused = against(&pair, &file, &[]).expect(2);
        assert!(refused.stderr.contains(reason), "{}", refused.stderr);
        assert!(refused.stderr.contains(name(&file)), "{}", refused.stderr);
    }
    Pghaul::new(&["verify", "--digest", "a", "--record", "b"])
        .run()
        .expect(2);
    Pghaul::new(&["verify", "--digest", "/nowhere"])
        .target("host=x")
        .run()
        .expect(2);
}

/// The target's names for roles may be known only where the source is not.
#[test]
fn roles_are_renamed_where_the_target_is() {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE ROLE a; CREATE ROLE b; CREATE TABLE t (); ALTER TABLE t OWNER TO a;
         GRANT SELECT ON t TO b; SELECT lo_create(11); ALTER LARGE OBJECT 11 OWNER TO a;
         GRANT SELECT ON LARGE OBJECT 11 TO b;",
    );
    let map = ["--role-map", "a=x", "--role-map", "b=x"];
    pair.pghaul("d", &[&["migrate"], &map[..]].concat())
        .run()
        .expect(0);
    let [early, late] = [recorded(&pair, &map), recorded(&pair, &[])];
    pair.source.stop_immediate();
    against(&pair, &early, &[]).expect(0);
    against(&pair, &late, &map).expect(0);
    against(&pair, &late, &[]).expect(3);
    pair.target
        .psql("d", "CREATE ROLE z; GRANT SELECT ON LARGE OBJECT 11 TO z");
    let output = against(&pair, &late, &map).expect(3);
    assert!(
        output.stdout.contains("large objects with owner x"),
        "{}",
        output.stdout
    );
}

/// The times of the steps add up, although one query reads many small tables.
#[test]
fn small_tables_share_the_time_of_their_query() {
    let pair = Pair::start();
    pair.source.create_db("d");
    let tables = "SELECT format('CREATE TABLE t_%s AS SELECT generate_series(1, 100) AS n', i)
        FROM generate_series(1, 300) AS i \\gexec";
    pair.source.psql("d", tables);
    let args = ["migrate", "--verify", "--output", "json"];
    let output = pair.pghaul("d", &args).run().expect(0);
    let lines = output.stdout.lines();
    let lines: Vec<serde_json::Value> = lines.map(|line| line.parse().expect("JSON")).collect();
    let line = |event: &str| lines.iter().find(|line| line["event"] == event);
    let steps = &line("summary").expect("a summary")["steps"];
    let verify = steps.as_array().expect("steps").iter();
    let mut verify = verify.filter(|step| step["step"] == "verify");
    let told = verify.next().expect("a step")["elapsed"].as_f64();
    let taken = line("comparison").expect("a comparison")["report"]["elapsed"].as_f64();
    let (told, taken) = (told.expect("a time"), taken.expect("a time"));
    // The comparison as a whole is one of the steps, and several queries run at the same time.
    assert!(told < 5.0 * taken, "{told}, {taken}");
}

/// Whether the order of options, or whether a partitioned table's index is said to be complete when
/// it is: a dump and restore of PostgreSQL's own changes both.
#[test]
fn what_means_the_same_is_no_difference() {
    let pair = Pair::of_versions(11, 15);
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE t (n int); CREATE VIEW v WITH (check_option = local, security_barrier) AS SELECT * FROM t;
         CREATE TABLE parted (n int) PARTITION BY RANGE (n);
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10);
         CREATE INDEX again ON ONLY parted (n); ALTER TABLE parted DETACH PARTITION part;
         ALTER TABLE parted ATTACH PARTITION part FOR VALUES FROM (0) TO (10)",
    );
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'again'::regclass";
    assert_eq!(pair.source.psql("d", valid), "f");
    pair.pghaul("d", &["migrate", "--verify"]).run().expect(0);
    // One that lacks a partition is still told from one that does not.
    let lacking = "CREATE TABLE more PARTITION OF parted FOR VALUES FROM (10) TO (20);
        CREATE INDEX whole ON ONLY parted (n)";
    pair.source.psql("d", lacking);
    pair.target.psql("d", lacking);
    pair.pghaul("d", &["verify"]).run().expect(0);
    let joined = "CREATE INDEX one ON part (n); CREATE INDEX two ON more (n);
        ALTER INDEX whole ATTACH PARTITION one; ALTER INDEX whole ATTACH PARTITION two";
    pair.target.psql("d", joined);
    let output = pair.pghaul("d", &["verify"]).run().expect(3);
    let told = "btree (n int4_ops); incomplete), target has";
    assert!(output.stdout.contains(told), "{}", output.stdout);
}

both_ways!(a_migration_that_cannot_be_compared_is_reported);
fn a_migration_that_cannot_be_compared_is_reported(way: Way) {
    let mut pair = Pair::start();
    pair.source.create_db("d");
    let fill = "CREATE TABLE t AS SELECT n FROM generate_series(1, 3) AS n";
    pair.source.psql("d", fill);
    let proxy = Proxy::start(&pair.target);
    // The comparison begins with a snapshot of the target.
    proxy.arm("pg_export_snapshot", Fault::CutAfter(0));
    let report = tempfile::NamedTempFile::new().expect("a file");
    let path = report.path().to_str().expect("a path");
    let mut haul = way.of("d").target(&proxy.dsn(&pair.target, "d"));
    let args = ["--verify", "--report", path];
    let output = haul.run(&mut pair, &args).expect(1);
    assert_eq!(proxy.struck(), 1);
    let (done, next) = match way {
        Way::Channel => ("note: the migration is complete", "pghaul verify"),
        Way::Spool => ("note: the spool is loaded", "pghaul verify --spool"),
    };
    assert!(output.stderr.contains(done), "{}", output.stderr);
    for expected in ["carried over: table 1", "migrated 3 rows", next] {
        assert!(output.stdout.contains(expected), "{expected}: {output:?}");
    }
    let report = fs::read_to_string(path).expect("a report");
    for expected in ["| table | 1 |", "migrated 3 rows", &format!("`{next}")] {
        assert!(report.contains(expected), "{expected}: {report}");
    }
    pair.pghaul("d", &["verify"]).run().expect(0);
}
