//! What is the same is not reported.

use pghaul_load::{Algorithm, Difference, VerifyOptions};

use super::recorded::through_a_digest;
use super::server::{self, Server};
use super::{compare, lines, pair};

/// PostgreSQL's own dump and restore is the reference: what it yields must match.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_dump_matches() {
    let server = Server::get();
    let (source, target) = (server.database(), server.database());
    server.psql(
        &source,
        "CREATE ROLE rich_owner; CREATE ROLE rich_reader; CREATE ROLE \"Rich Writer\";",
    );
    server.psql(&source, include_str!("../rich.sql"));
    let archive = std::env::temp_dir().join(format!("{source}.{}.dump", std::process::id()));
    let mut dump = server.client("pg_dump", &source);
    server::run(dump.arg("-Fc").arg("-f").arg(&archive), "");
    let mut restore = server.client("pg_restore", &target);
    server::run(restore.arg("-e").arg(&archive), "");
    drop(std::fs::remove_file(&archive));

    let report = compare(&source, &target, VerifyOptions::default()).await;
    assert_eq!(lines(&report), Vec::<String>::new());
    let tables = "SELECT count(*) FROM pg_class c WHERE relkind = 'r' AND relnamespace >= 16384
                     OR relkind = 'r' AND relnamespace = 'public'::regnamespace";
    assert_eq!(
        report.tables.len().to_string(),
        server.psql(&source, tables),
        "{:?}",
        report.tables
    );
    let count = |kind: &str| {
        let count = report.objects.iter().find(|count| count.kind == kind);
        count.unwrap_or_else(|| panic!("no {kind}")).source
    };
    let indexes = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
                    WHERE c.relnamespace >= 16384 OR c.relnamespace = 'public'::regnamespace";
    assert_eq!(count("index").to_string(), server.psql(&source, indexes));
    assert!(report.tables.iter().all(|table| table.matches));
    let json = serde_json::to_value(&report).expect("a report is JSON");
    assert_eq!(json["algorithm"], "hash");
}

#[tokio::test(flavor = "multi_thread")]
async fn order_of_rows_and_columns_does_not_matter() {
    let server = Server::get();
    let (source, target) = (server.database(), server.database());
    server.psql(
        &source,
        "CREATE TABLE \"T able\" (a int, \"b,\"\"c\" text, d float8, none text);
         INSERT INTO \"T able\" SELECT i, i, i / 7.0, NULL FROM generate_series(1, 1000) i;
         CREATE TABLE empty (); CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES;
         CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent);
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 3);",
    );
    server.psql(
        &target,
        "CREATE TABLE \"T able\" (none text, x int, d float8, a int, \"b,\"\"c\" text);
         ALTER TABLE \"T able\" DROP COLUMN x;
         INSERT INTO \"T able\" SELECT NULL, i / 7.0, i, i FROM generate_series(1000, 1, -1) i;
         CREATE TABLE empty (); CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES;
         CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent);
         INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 3);",
    );
    for algorithm in [Algorithm::Hash, Algorithm::Md5] {
        let options = VerifyOptions {
            algorithm: Some(algorithm),
            ..VerifyOptions::default()
        };
        let report = compare(&source, &target, options).await;
        assert_eq!(lines(&report), Vec::<String>::new());
        let rows: Vec<_> = report.tables.iter().map(|t| t.source_rows).collect();
        assert_eq!(rows, [Some(1000), Some(1), Some(0), Some(1), Some(1)]);
    }
}

/// The settings of roles and databases are not those of the comparison.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_settings_do_not_matter() {
    let (source, target) = pair(
        "CREATE TABLE t (a float8, b timestamptz, c interval, d bytea, e money, f date);
         INSERT INTO t VALUES (0.1, '2020-01-02 03:04Z', '1 day 2 hours', '\\x0102', '12.50', '2020-02-01');
         CREATE TABLE slow (a) AS SELECT repeat(i::text, 50) FROM generate_series(1, 200000) i;
         CREATE TABLE secured (a int); INSERT INTO secured VALUES (1);
         ALTER TABLE secured ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;",
    );
    let hostile = [
        "extra_float_digits = -10",
        "TimeZone = 'Asia/Kolkata'",
        "IntervalStyle = 'iso_8601'",
        "bytea_output = 'escape'",
        "DateStyle = 'SQL, DMY'",
        "statement_timeout = '100ms'",
        "search_path = 'public'",
        "quote_all_identifiers = on",
    ];
    for setting in hostile {
        let sql = format!("ALTER DATABASE {target} SET {setting}");
        Server::get().psql("postgres", &sql);
    }
    let report = compare(&source, &target, VerifyOptions::default()).await;
    assert_eq!(lines(&report), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn encodings_may_differ() {
    let server = Server::get();
    let fill = "CREATE TABLE t (a text PRIMARY KEY, b \"char\", c float8);
                INSERT INTO t VALUES (U&'Stra\\00DFe', 'x', 0.1), ('plain', NULL, '-0');";
    let mut names = Vec::new();
    for encoding in ["UTF8", "LATIN1", "SQL_ASCII"] {
        let name = server.name("encoded");
        let create =
            format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
        server.psql("postgres", &create);
        let fill = match encoding {
            "SQL_ASCII" => fill.replace("U&'Stra\\00DFe'", "E'Stra\\303\\237e'"),
            _ => fill.to_owned(),
        };
        server.psql(&name, &format!("SET client_encoding = 'UTF8'; {fill}"));
        names.push(name);
    }
    let [utf8, latin1, ascii] = names.as_slice() else {
        panic!("three databases");
    };
    for (source, target) in [
        (utf8, latin1),
        (latin1, utf8),
        (utf8, ascii),
        (ascii, ascii),
    ] {
        let report = compare(source, target, VerifyOptions::default()).await;
        assert_eq!(lines(&report), Vec::<String>::new(), "{source} {target}");
    }
    // The bytes are other ones, and nobody knows what they mean.
    let report = compare(latin1, ascii, VerifyOptions::default()).await;
    let lines = lines(&report);
    assert!(
        lines.len() == 1 && lines[0].contains(r"(Stra\303\237e) is only on the target"),
        "{lines:#?}"
    );
}

/// A value of more than half a gigabyte has no text, nor has a row of more than a whole one.
#[tokio::test(flavor = "multi_thread")]
async fn rows_too_long_for_a_text_are_compared() {
    let (source, target) = pair(
        "CREATE TABLE wide (id int PRIMARY KEY, a bytea, b text, c text, d bytea);
         ALTER TABLE wide ALTER a SET STORAGE EXTERNAL;
         INSERT INTO wide VALUES (1, convert_to(repeat('x', 540000000), 'UTF8'), 'b', NULL, 'd');
         INSERT INTO wide VALUES (2, '', 'y', 'zz', NULL), (3, NULL, '', 'c', 'd');",
    );
    let options = VerifyOptions {
        jobs: 1,
        ..VerifyOptions::default()
    };
    for report in [
        compare(&source, &target, options.clone()).await,
        through_a_digest(&source, &target, options.clone()).await,
    ] {
        assert_eq!(lines(&report), Vec::<String>::new());
    }
    Server::get().psql(
        &target,
        "UPDATE wide SET c = left(c, -1) || 'y' WHERE id = 2;
         UPDATE wide SET a = '', b = NULL WHERE id = 3;",
    );
    let report = compare(&source, &target, options).await;
    let [Difference::Rows { rows, .. }] = report.differences.as_slice() else {
        panic!("{:#?}", lines(&report));
    };
    let mut rows: Vec<_> = rows.iter().map(|row| row.row.as_str()).collect();
    rows.sort_unstable();
    assert_eq!(rows, ["(2)", "(3)"]);
}

/// A snapshot of the source stays what is compared while the source moves on.
#[tokio::test(flavor = "multi_thread")]
async fn a_given_snapshot_is_used() {
    let (source, target) = pair("CREATE TABLE t (id int); INSERT INTO t VALUES (1);");
    let server = Server::get();
    let holder =
        pghaul_wire::Client::connect(&server.conninfo(&source), pghaul_stage::Side::Source)
            .await
            .expect("a session");
    holder
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await
        .expect("a transaction");
    let row = holder
        .query_one("SELECT pg_export_snapshot()", &[])
        .await
        .expect("a snapshot");
    server.psql(&source, "INSERT INTO t VALUES (2)");
    let mut options = VerifyOptions {
        source_snapshot: Some(row.get(0)),
        ..VerifyOptions::default()
    };
    assert!(compare(&source, &target, options.clone()).await.is_match());
    let recorded = through_a_digest(&source, &target, options.clone()).await;
    assert!(recorded.is_match());
    options.source_snapshot = None;
    assert!(!compare(&source, &target, options).await.is_match());
}

/// The record of the migration, temporary tables, and what extensions own are not compared.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_migrated_is_not_compared() {
    let (source, target) = pair("CREATE EXTENSION citext; CREATE TABLE t (a citext);");
    Server::get().psql(
        &target,
        "CREATE SCHEMA pghaul; CREATE TABLE pghaul.migration (id uuid PRIMARY KEY);
         INSERT INTO pghaul.migration VALUES (gen_random_uuid());
         CREATE SEQUENCE pghaul.s; CREATE PUBLICATION pghaul_1 FOR TABLE t; CREATE FUNCTION pghaul.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE TABLE config (a int); ALTER EXTENSION citext ADD TABLE config;",
    );
    let report = compare(&source, &target, VerifyOptions::default()).await;
    assert_eq!(lines(&report), Vec::<String>::new());
    assert_eq!(report.tables.len(), 1);
}
