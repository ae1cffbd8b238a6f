//! A target is compared with what was recorded of a source that is gone.

use std::sync::Arc;

use pghaul_load::{Algorithm, Digest, Report, VerifyOptions, digest, verify_digest};
use pghaul_stage::{Kind, Selection, SequenceValue, Silent, TableId};
use serde_json::Value;

use super::server::Server;
use super::{lines, pair};

/// What is recorded of a database, as it is written.
async fn record(source: &str, options: VerifyOptions) -> Vec<u8> {
    let source = Server::get().conninfo(source);
    let digest = digest(&source, options, Arc::new(Silent)).await;
    serde_json::to_vec(&digest.expect("a digest")).expect("a digest is JSON")
}

/// Compares a database with what was written.
async fn compare(written: &[u8], target: &str, options: VerifyOptions) -> Report {
    let digest = Digest::read(written).expect("a digest");
    let target = Server::get().conninfo(target);
    let report = verify_digest(&digest, &target, options, Arc::new(Silent)).await;
    report.expect("the comparison ends")
}

/// Records a database and compares another one with that.
pub(super) async fn through_a_digest(source: &str, target: &str, options: VerifyOptions) -> Report {
    let written = record(source, options.clone()).await;
    compare(&written, target, options).await
}

/// A pair of databases of which the first one is out of reach, and what was recorded of it.
async fn orphan(sql: &str) -> (Vec<u8>, String) {
    let (source, target) = pair(sql);
    let written = record(&source, VerifyOptions::default()).await;
    Server::get().psql(
        "postgres",
        &format!("ALTER DATABASE {source} ALLOW_CONNECTIONS false"),
    );
    (written, target)
}

fn none() -> Vec<String> {
    Vec::new()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_of_a_rich_database_is_the_same() {
    let roles = "CREATE ROLE rich_owner; CREATE ROLE rich_reader; CREATE ROLE \"Rich Writer\";";
    let (written, target) = orphan(&format!("{roles} {}", include_str!("../rich.sql"))).await;
    let report = compare(&written, &target, VerifyOptions::default()).await;
    assert_eq!(lines(&report), none());
    let server = Server::get();
    let tables = "SELECT count(*) FROM pg_class c WHERE relkind = 'r' AND relnamespace >= 16384
                     OR relkind = 'r' AND relnamespace = 'public'::regnamespace";
    assert_eq!(
        report.tables.len().to_string(),
        server.psql(&target, tables)
    );
    assert!(report.tables.iter().all(|table| table.matches));
    for table in &report.tables {
        let name = quoted(&table.table);
        let rows = server.psql(&target, &format!("SELECT count(*) FROM ONLY {name}"));
        assert_eq!(
            table.source_rows.map(|rows| rows.to_string()),
            Some(rows),
            "{name}"
        );
    }
}

fn quoted(table: &TableId) -> String {
    let ident = pghaul_wire::quote::ident;
    format!("{}.{}", ident(&table.schema), ident(&table.name))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_planted_change_is_reported_alone() {
    let role = Server::get().name("reader");
    let (written, target) = orphan(&format!(
        "CREATE ROLE {role};
         CREATE TABLE t (id int PRIMARY KEY, v text, w int CHECK (w > 0));
         INSERT INTO t SELECT i, i, i FROM generate_series(1, 1000) i;
         CREATE INDEX t_v ON t (v);
         CREATE TABLE secret (v text); INSERT INTO secret VALUES ('hunter2');
         GRANT SELECT ON t TO {role};
         GRANT UPDATE (v) ON t TO {role};
         CREATE POLICY p ON t TO {role};
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role};
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
         COMMENT ON TABLE t IS 'one';
         CREATE SEQUENCE s; SELECT nextval('s');
         SELECT lo_from_bytea(11, 'content'), lo_from_bytea(12, ''), lo_from_bytea(13, 'x');
         COMMENT ON LARGE OBJECT 12 IS 'one'; GRANT SELECT ON LARGE OBJECT 13 TO {role};"
    ))
    .await;
    let text = String::from_utf8(written.clone()).expect("JSON is UTF-8");
    assert!(!text.contains("hunter2") && text.contains("secret"));
    let why = "which are not named, because the digest of the source has sums, and no rows";
    let differs = |of: &str, counts: &str, at_least: u32| {
        format!("{of}: {counts}at least {at_least} of its rows differ, {why}")
    };
    let plants = [
        (
            "UPDATE t SET v = '' WHERE id = 7",
            differs("table public.t", "", 1),
        ),
        (
            "DELETE FROM t WHERE id IN (7, 8)",
            differs("table public.t", "source has 1000 rows, target 998; ", 2),
        ),
        (
            "INSERT INTO t VALUES (0)",
            differs("table public.t", "source has 1000 rows, target 1001; ", 1),
        ),
        (
            "DROP INDEX t_v",
            "index public.t_v: missing on the target".to_owned(),
        ),
        (
            "CREATE INDEX extra ON t (w)",
            "index public.extra: only on the target".to_owned(),
        ),
        (
            "ALTER TABLE t DISABLE TRIGGER tr",
            "trigger tr on public.t: source has (enabled; calls public.f; type 7), \
             target has (disabled; calls public.f; type 7)"
                .to_owned(),
        ),
        (
            "REVOKE SELECT ON t FROM {role}",
            "table public.t: source has (owner postgres; grants SELECT to {role}), \
             target has (owner postgres)"
                .to_owned(),
        ),
        (
            "REVOKE UPDATE (v) ON t FROM {role}",
            "column public.t.v: source has (text; grants UPDATE to {role}), target has (text)"
                .to_owned(),
        ),
        (
            "ALTER POLICY p ON t TO PUBLIC",
            "policy p on public.t: source has (for *; to {role}), target has (for *; to public)"
                .to_owned(),
        ),
        (
            "ALTER DEFAULT PRIVILEGES GRANT UPDATE ON TABLES TO {role}",
            "default privileges of postgres for r: source has (grants SELECT to {role}), \
             target has (grants SELECT to {role}, UPDATE to {role})"
                .to_owned(),
        ),
        (
            "COMMENT ON TABLE t IS 'two'",
            "comment on table public.t: source has (".to_owned(),
        ),
        (
            "SELECT setval('s', 1, false)",
            "sequence public.s: source stands after 1, target before 1".to_owned(),
        ),
        ("SELECT lo_put(11, 0, 'C')", differs("large objects", "", 1)),
        (
            "COMMENT ON LARGE OBJECT 12 IS 'two'",
            differs("large objects", "", 1),
        ),
        (
            "REVOKE SELECT ON LARGE OBJECT 13 FROM {role};
             GRANT SELECT ON LARGE OBJECT 12 TO {role}",
            "large objects with owner postgres; grants SELECT to {role}: source has (1 of them), \
             target has (1 others)"
                .to_owned(),
        ),
    ];
    let server = Server::get();
    for (change, expected) in plants {
        let (change, expected) = (
            change.replace("{role}", &role),
            expected.replace("{role}", &role),
        );
        let changed = server.name("changed");
        server.psql(
            "postgres",
            &format!("CREATE DATABASE {changed} TEMPLATE {target}"),
        );
        let before = compare(&written, &changed, VerifyOptions::default()).await;
        assert_eq!(lines(&before), none(), "before {change}");
        server.psql(&changed, &change);
        let report = compare(&written, &changed, VerifyOptions::default()).await;
        let lines = lines(&report);
        assert!(
            lines.iter().any(|line| line.starts_with(&expected)),
            "{change}: {lines:#?}"
        );
        // Who swaps the rights of two large objects changes two kinds of them.
        let many = if change.contains("GRANT SELECT ON LARGE") {
            2
        } else {
            1
        };
        assert_eq!(lines.len(), many, "{change}: {lines:#?}");
        server.psql("postgres", &format!("DROP DATABASE {changed}"));
    }
}

/// Two roles become one, one gets the name that another had, and what is said of them follows.
#[tokio::test(flavor = "multi_thread")]
async fn roles_are_renamed_after_the_source_is_gone() {
    let server = Server::get();
    let [a, b, c, x] = ["a", "b", "c", "x"].map(|name| server.name(name));
    let create = format!("CREATE ROLE {a}; CREATE ROLE {b}; CREATE ROLE {c}; CREATE ROLE {x};");
    server.psql("postgres", &create);
    // The same database as it is by the first names, and as it should be by the others.
    let fill = |a: &str, b: &str, c: &str| {
        format!(
            "CREATE TABLE t (v int); ALTER TABLE t OWNER TO {a}; GRANT SELECT ON t TO {b}, {c};
             GRANT UPDATE (v) ON t TO {c};
             CREATE POLICY p ON t TO {b}, {c};
             ALTER DEFAULT PRIVILEGES FOR ROLE {a} GRANT SELECT ON TABLES TO {c};
             ALTER DEFAULT PRIVILEGES FOR ROLE {c} GRANT SELECT ON TABLES TO PUBLIC;
             SELECT lo_from_bytea(11, 'one'), lo_from_bytea(12, 'two'), lo_from_bytea(13, '3');
             ALTER LARGE OBJECT 11 OWNER TO {a}; ALTER LARGE OBJECT 12 OWNER TO {c};
             ALTER LARGE OBJECT 13 OWNER TO {b};
             GRANT SELECT ON LARGE OBJECT 11 TO {b}, {c};
             GRANT SELECT ON LARGE OBJECT 12 TO PUBLIC; GRANT SELECT ON LARGE OBJECT 13 TO {c};"
        )
    };
    let (source, target) = (server.database(), server.database());
    server.psql(&source, &fill(&a, &b, &c));
    server.psql(&target, &fill(&x, &x, &a));
    let written = record(&source, VerifyOptions::default()).await;
    server.psql(
        "postgres",
        &format!("ALTER DATABASE {source} ALLOW_CONNECTIONS false"),
    );
    let renamed = VerifyOptions {
        selection: Selection {
            role_map: [(&a, &x), (&b, &x), (&c, &a)]
                .map(|(old, new)| (old.clone(), new.clone()))
                .into(),
            ..Selection::default()
        },
        ..VerifyOptions::default()
    };
    let report = compare(&written, &target, renamed.clone()).await;
    assert_eq!(lines(&report), none());

    let unchanged = compare(&written, &target, VerifyOptions::default()).await;
    let lines = lines(&unchanged).join("\n");
    for name in [
        "table public.t",
        "policy p",
        "default privileges of",
        "large objects with",
    ] {
        assert!(lines.contains(name), "{name} is not in\n{lines}");
    }
    let mut without = VerifyOptions::default();
    without.selection.no_owner = true;
    without.selection.no_acl = true;
    without.selection.role_map = renamed.selection.role_map.clone();
    server.psql(
        &target,
        &format!(
            "ALTER TABLE t OWNER TO {b}; REVOKE ALL ON t FROM {a};
        ALTER DEFAULT PRIVILEGES FOR ROLE {b} GRANT SELECT ON TABLES TO {c};
        ALTER LARGE OBJECT 11 OWNER TO {b}"
        ),
    );
    assert!(!compare(&written, &target, renamed).await.is_match());
    let report = compare(&written, &target, without).await;
    assert_eq!(super::lines(&report), none());
}

/// The bytes of a text are the same whatever the target keeps it in.
#[tokio::test(flavor = "multi_thread")]
async fn encodings_may_differ() {
    let server = Server::get();
    let fill = |text: &str| {
        format!(
            "CREATE TABLE t (a text PRIMARY KEY, b \"char\", c float8, d text);
             ALTER TABLE t ALTER d SET STORAGE EXTERNAL;
             INSERT INTO t VALUES ({text}, 'x', 0.1, {text}), ('plain', NULL, '-0', NULL);"
        )
    };
    let unicode = fill(r"U&'Stra\00DFe'");
    let databases = [
        ("UTF8", unicode.clone()),
        ("LATIN1", unicode.clone()),
        ("LATIN9", unicode),
        ("SQL_ASCII", fill(r"E'Stra\303\237e'")),
        ("SQL_ASCII", fill(r"E'Stra\337e'")),
    ];
    let mut names = Vec::new();
    for (encoding, fill) in databases {
        let name = server.name("encoded");
        let create =
            format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
        server.psql("postgres", &create);
        server.psql(&name, &format!("SET client_encoding = 'UTF8'; {fill}"));
        names.push(name);
    }
    let [utf8, latin1, latin9, ascii, latin_bytes] = names.as_slice() else {
        panic!("five databases");
    };
    for algorithm in [None, Some(Algorithm::Md5)] {
        let options = VerifyOptions {
            algorithm,
            ..VerifyOptions::default()
        };
        for (source, target, same) in [
            (utf8, utf8, true),
            (utf8, latin1, true),
            (utf8, ascii, true),
            (utf8, latin_bytes, false),
            (latin1, utf8, true),
            (latin1, latin1, true),
            (latin1, latin9, true),
            (latin1, latin_bytes, true),
            (latin1, ascii, false),
            (ascii, ascii, true),
            (ascii, utf8, true),
            (ascii, latin_bytes, false),
        ] {
            let report = through_a_digest(source, target, options.clone()).await;
            assert_eq!(
                report.is_match(),
                same,
                "{source} {target}: {:#?}",
                lines(&report)
            );
        }
    }
}

/// What has no place among the target's characters is not compared, and what has one is.
#[tokio::test(flavor = "multi_thread")]
async fn encodings_of_several_bytes_are_compared_as_far_as_they_can_be() {
    let server = Server::get();
    let [utf8, japanese] = ["UTF8", "EUC_JP"].map(|encoding| {
        let name = server.name("encoded");
        let create =
            format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
        server.psql("postgres", &create);
        let fill = "SET client_encoding = 'UTF8';
             CREATE TABLE latin (v text); INSERT INTO latin VALUES ('abc');
             CREATE TABLE wide (v text); INSERT INTO wide VALUES (convert_from('\\xe38182', 'UTF8'))";
        server.psql(&name, fill);
        name
    });
    let options = VerifyOptions::default;
    let report = through_a_digest(&japanese, &utf8, options()).await;
    assert_eq!(lines(&report), none());
    let report = through_a_digest(&japanese, &japanese, options()).await;
    assert_eq!(lines(&report), none());
    let found = lines(&through_a_digest(&utf8, &japanese, options()).await);
    let start = "table public.wide: not compared, because target, table public.wide: invalid byte";
    assert!(
        found.len() == 1 && found[0].starts_with(start),
        "{found:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_may_have_moved_on_since() {
    let (written, target) = orphan("CREATE SEQUENCE s; CREATE SEQUENCE other").await;
    Server::get().psql(&target, "SELECT setval('s', 41)");
    let mut digest = Digest::read(written.as_slice()).expect("a digest");
    let value = |name: &str| SequenceValue {
        id: TableId::new("public", name),
        last_value: 41,
        is_called: true,
    };
    digest.set_sequences(&[value("s"), value("unheard of")]);
    let written = serde_json::to_vec(&digest).expect("JSON");
    let report = compare(&written, &target, VerifyOptions::default()).await;
    assert_eq!(lines(&report), none());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_may_be_left_out() {
    let (source, target) = pair("CREATE TABLE t (v int); INSERT INTO t VALUES (1)");
    let options = VerifyOptions {
        checksums: false,
        ..VerifyOptions::default()
    };
    let server = Server::get();
    server.psql(&target, "INSERT INTO t VALUES (2)");
    let written = record(&source, options.clone()).await;
    let compared = [
        compare(&written, &target, VerifyOptions::default()).await,
        super::compare(&source, &target, options).await,
    ];
    for report in compared {
        assert_eq!(lines(&report), none());
        assert!(report.tables.is_empty());
    }
    server.psql(&target, "CREATE INDEX i ON t (v)");
    let report = compare(&written, &target, VerifyOptions::default()).await;
    assert_eq!(lines(&report), ["index public.i: only on the target"]);
}

/// What could not be read when it was recorded stays unknown, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_could_not_be_read_is_named() {
    let server = Server::get();
    let (source, target) = pair(
        "CREATE TABLE bad (id int); INSERT INTO bad VALUES (1);
         CREATE TABLE good (id int); INSERT INTO good VALUES (1);",
    );
    server.psql(
        &source,
        "UPDATE pg_class SET relfilenode = 4000000 WHERE oid = 'bad'::regclass",
    );
    server.psql(&target, "INSERT INTO good VALUES (2)");
    let written = record(&source, VerifyOptions::default()).await;
    let digest = Digest::read(written.as_slice()).expect("a digest");
    let unread: Vec<_> = digest.unread().map(|(of, _)| of).collect();
    assert_eq!(unread, ["table public.bad"]);
    let report = compare(&written, &target, VerifyOptions::default()).await;
    let lines = lines(&report);
    for start in [
        "table public.bad: not compared, because the source's rows could not be read: ",
        "table public.good: source has 1 rows, target 2; ",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(start)),
            "{lines:#?}"
        );
    }
    assert_eq!(lines.len(), 2, "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_compared_as_it_was_recorded() {
    let (source, target) = pair(
        "CREATE SCHEMA app; CREATE TABLE app.t (v int); INSERT INTO app.t VALUES (1);
         CREATE TABLE other (v int);",
    );
    let part = VerifyOptions {
        selection: Selection {
            schemas: vec!["app".to_owned()],
            ..Selection::default()
        },
        ..VerifyOptions::default()
    };
    let written = record(&source, part.clone()).await;
    let server = Server::get();
    server.psql(&target, "DROP TABLE other");
    for options in [VerifyOptions::default(), part.clone()] {
        let report = compare(&written, &target, options).await;
        assert_eq!(lines(&report), none());
        assert_eq!(report.tables.len(), 1);
    }
    let mut wrong = part;
    wrong.selection.schemas = vec!["public".to_owned()];
    let digest = Digest::read(written.as_slice()).expect("a digest");
    let refused = verify_digest(&digest, &server.conninfo(&target), wrong, Arc::new(Silent)).await;
    let error = refused.expect_err("another selection");
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().contains("another selection"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_written_so_is_refused() {
    let (source, target) = pair("CREATE TABLE t (v float8); INSERT INTO t VALUES (1)");
    let written = record(&source, VerifyOptions::default()).await;
    let refused = |json: &[u8]| {
        let error = Digest::read(json).expect_err("no digest");
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.hint().is_some());
        error.to_string()
    };
    for length in [0, 1, written.len() / 2, written.len() - 1] {
        let error = refused(&written[..length]);
        assert!(error.contains("the digest cannot be read: EOF"), "{error}");
    }
    let text = String::from_utf8(written.clone()).expect("UTF-8");
    for (old, new, reason) in [
        (
            "\"format\":1",
            "\"format\":2",
            "its format is 2, and this pghaul knows format 1",
        ),
        ("\"rows\":1", "\"rows\":2", "it was changed"),
        (
            "float8send(%s)",
            "pg_sleep(%s)",
            "a form of values that pghaul does not know",
        ),
        ("\"key\":", "\"kex\":", "missing field `key`"),
    ] {
        assert!(text.contains(old), "{old}: {text}");
        let error = refused(text.replacen(old, new, 1).as_bytes());
        assert!(error.contains(reason), "{error}");
    }
    // Another layout of the same JSON is the same digest.
    let value: Value = serde_json::from_slice(&written).expect("JSON");
    let pretty = serde_json::to_vec_pretty(&value).expect("JSON");
    let report = compare(&pretty, &target, VerifyOptions::default()).await;
    assert_eq!(lines(&report), none());
}

/// An extension says itself which rows are users', and the target's word for it must be the same,
/// because what was recorded is not run.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_users_in_tables_of_extensions_are_compared() {
    let (written, target) = orphan(
        "CREATE EXTENSION citext; CREATE TABLE config (a int);
         ALTER EXTENSION citext ADD TABLE config; INSERT INTO config VALUES (1), (2), (3);
         UPDATE pg_extension SET extconfig = ARRAY['config'::regclass::oid],
                extcondition = ARRAY['WHERE a > 1'] WHERE extname = 'citext'",
    )
    .await;
    let server = Server::get();
    let compared = async || lines(&compare(&written, &target, VerifyOptions::default()).await);
    server.psql(&target, "DELETE FROM config WHERE a = 1");
    assert_eq!(compared().await, none());
    server.psql(&target, "DELETE FROM config WHERE a = 2");
    let found = compared().await;
    let counts = "table public.config: source has 2 rows, target 1; ";
    assert!(
        found.len() == 1 && found[0].starts_with(counts),
        "{found:#?}"
    );
    server.psql(
        &target,
        "UPDATE pg_extension SET extcondition = ARRAY['WHERE a > 2'] WHERE extname = 'citext'",
    );
    assert_eq!(
        compared().await,
        ["table public.config: not compared, because its extension takes other rows for users'"]
    );
}
