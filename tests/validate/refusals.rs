//! Every finding that can fail.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::Command;

use super::{documented, findings, inflate, validate};
use crate::managed::by;
use crate::support::{Cluster, Pair, Pghaul, pg};

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
