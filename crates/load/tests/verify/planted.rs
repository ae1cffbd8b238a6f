//! A planted difference is found, alone and by name.

use pghaul_load::{Difference, RowDifference, RowState, VerifyOptions};

use super::server::Server;
use super::{compare, lines, pair};

/// What the comparison says after `change` was made to a copy of the database that `sql` fills.
async fn planted(sql: &str, change: &str) -> Vec<Difference> {
    let (source, target) = pair(sql);
    let before = compare(&source, &target, VerifyOptions::default()).await;
    assert_eq!(lines(&before), Vec::<String>::new(), "before the change");
    Server::get().psql(&target, change);
    let report = compare(&source, &target, VerifyOptions::default()).await;
    assert!(!report.is_match());
    report.differences
}

fn row(state: RowState, row: &str) -> RowDifference {
    RowDifference {
        state,
        row: row.to_owned(),
    }
}

/// Larger than one query reads, so both sides cut it.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_big_table_are_named_by_key() {
    let found = planted(
        "CREATE TABLE big (id bigint, part text, filler text, PRIMARY KEY (part, id));
         INSERT INTO big SELECT i, 'p' || i % 3, repeat(md5(i::text), 48)
           FROM generate_series(1, 100000) i;",
        "UPDATE big SET filler = filler || ' ' WHERE id = 77777;
         DELETE FROM big WHERE id = 3;
         INSERT INTO big VALUES (-5, 'p\"', NULL);",
    );
    let found = found.await;
    let [
        Difference::Rows {
            of,
            source_rows,
            target_rows,
            at_least,
            key,
            rows,
            ..
        },
    ] = found.as_slice()
    else {
        panic!("{found:?}");
    };
    assert_eq!(
        (of.as_str(), *source_rows, *target_rows, *at_least),
        ("table public.big", 100_000, 100_000, 3)
    );
    assert_eq!(key, &["part", "id"]);
    let mut rows = rows.clone();
    rows.sort_by_key(|row| row.row.clone());
    assert_eq!(
        rows,
        [
            row(RowState::Extra, r#"("p""",-5)"#),
            row(RowState::Missing, "(p0,3)"),
            row(RowState::Differs, "(p2,77777)"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_differences_than_asked_for_are_counted() {
    let (source, target) = pair(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
         INSERT INTO t SELECT i, i FROM generate_series(1, 20000) i;",
    );
    Server::get().psql(&target, "UPDATE t SET v = 'x' WHERE id % 100 = 0");
    for limit in [0, 4] {
        let options = VerifyOptions {
            rows: limit,
            ..VerifyOptions::default()
        };
        let report = compare(&source, &target, options).await;
        let [Difference::Rows { at_least, rows, .. }] = report.differences.as_slice() else {
            panic!("{report:?}");
        };
        assert_eq!(rows.len(), limit);
        assert!((1..=200).contains(at_least) && *at_least >= limit as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_key_are_shown() {
    let found = planted(
        "CREATE TABLE loose (a int, b text);
         INSERT INTO loose VALUES (1, 'x'), (1, 'x'), (2, NULL), (3, 'same');",
        "DELETE FROM loose WHERE ctid = '(0,1)'; UPDATE loose SET b = '' WHERE a = 2;",
    )
    .await;
    let [Difference::Rows { key, rows, .. }] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert!(key.is_empty());
    let mut rows = rows.clone();
    rows.sort_by_key(|row| row.row.clone());
    assert_eq!(
        rows,
        [
            row(RowState::Missing, "(1,x)"),
            row(RowState::Extra, r#"(2,"")"#),
            row(RowState::Missing, "(2,)"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_exists_twice_on_the_target_is_found() {
    let found = planted(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2);",
        "ALTER TABLE t DROP CONSTRAINT t_pkey; INSERT INTO t VALUES (2);",
    )
    .await;
    let rows = found.iter().find_map(|difference| match difference {
        Difference::Rows { rows, .. } => Some(rows.clone()),
        _ => None,
    });
    assert_eq!(rows, Some(vec![row(RowState::Extra, "(2)")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_named_and_what_belongs_to_them_is_not() {
    let sql = "
        CREATE TABLE gone (id serial PRIMARY KEY, v text DEFAULT 'x');
        CREATE TABLE t (id int PRIMARY KEY, v text, w int CHECK (w > 0));
        CREATE INDEX t_v ON t (v);
        CREATE INDEX t_w ON t (w);
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
        CREATE VIEW v AS SELECT id FROM t;
        CREATE TYPE mood AS ENUM ('a', 'b');
        CREATE SEQUENCE counter;
        CREATE TABLE child (id int REFERENCES t);
        CREATE POLICY p ON t USING (true);
        CREATE RULE r AS ON DELETE TO child DO INSTEAD NOTHING;
        COMMENT ON TABLE t IS 'one';";
    let name = "Sell\u{1b}[2J; \"drop\"";
    let quoted = name.replace('"', "\"\"");
    let change = format!(
        "DROP TABLE gone; DROP INDEX t_w;
         ALTER TABLE t DISABLE TRIGGER tr;
         CREATE VIEW \"{quoted}\" AS SELECT 1 AS x;
         ALTER TYPE mood ADD VALUE 'c';
         ALTER TABLE child DROP CONSTRAINT child_id_fkey,
           ADD CONSTRAINT child_id_fkey FOREIGN KEY (id) REFERENCES t NOT VALID;
         CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_v'::regclass;
         COMMENT ON TABLE t IS 'two'; DROP RULE r ON child;
         ALTER TABLE t ALTER v SET NOT NULL; DROP POLICY p ON t;"
    );
    let found: Vec<String> = planted(sql, &change)
        .await
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "column public.t.v: source has (text), target has (text; not null)",
        "enum public.mood: source has (a, b; ",
        "foreign key child_id_fkey on public.child: source has (of id; references public.t (id) saa), \
         target has (of id; references public.t (id) saa; not validated)",
        "function public.f(): source has (",
        "index public.t_v: source has (on public.t; btree (v text_ops); valid), \
         target has (on public.t; btree (v text_ops); invalid)",
        "index public.t_w: missing on the target",
        "policy p on public.t: missing on the target",
        "rule r on public.child: missing on the target",
        "table public.gone: missing on the target",
        "trigger tr on public.t: source has (enabled; calls public.f; type 7), \
         target has (disabled; calls public.f; type 7)",
        r#"view public."Sell\u{1b}[2J; ""drop""": only on the target"#,
        "comment on table public.t: source has (length 3, hash ",
        "sequence public.gone_id_seq: missing on the target",
    ];
    for expected in expected {
        assert!(
            found.iter().any(|line| line.starts_with(expected)),
            "{expected}\nis not in\n{found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_and_grants_are_compared_unless_told_otherwise() {
    let role = Server::get().name("reader");
    let sql = format!("CREATE ROLE {role}; CREATE TABLE t (id int); GRANT SELECT ON t TO {role};");
    let (source, target) = pair(&sql);
    Server::get().psql(&target, &format!("REVOKE SELECT ON t FROM {role}"));
    let report = compare(&source, &target, VerifyOptions::default()).await;
    assert_eq!(
        lines(&report),
        [format!(
            "table public.t: source has (owner postgres; grants SELECT to {role}), \
             target has (owner postgres)"
        )]
    );
    let options = VerifyOptions {
        privileges: false,
        ..VerifyOptions::default()
    };
    assert!(compare(&source, &target, options).await.is_match());
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_are_compared_by_value_and_whether_it_was_used() {
    let found = planted(
        "CREATE SEQUENCE one; CREATE SEQUENCE two; CREATE SEQUENCE three;
         SELECT nextval('one'), nextval('two');",
        "SELECT setval('one', 1, false), nextval('two');",
    )
    .await;
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "sequence public.one: source stands after 1, target before 1",
            "sequence public.two: source stands after 1, target after 2",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_are_compared_by_content() {
    let found = planted(
        "SELECT lo_from_bytea(1000, ''), lo_from_bytea(1001, 'abc'),
                lo_from_bytea(1002, convert_to(repeat('0123456789', 1000000), 'UTF8')),
                lo_from_bytea(1003, convert_to(repeat('x', 4 << 20), 'UTF8')),
                lo_from_bytea(1004, 'same'), lo_from_bytea(1005, 'comment');
         COMMENT ON LARGE OBJECT 1005 IS 'one';",
        "SELECT lo_put(1002, 9999999, 'x'), lo_put(1003, 4 << 20, '\\x00'), lo_unlink(1001),
                lo_create(2000), lo_put(1000, 5000, '');
         COMMENT ON LARGE OBJECT 1005 IS 'two';",
    )
    .await;
    let [Difference::Rows { of, rows, .. }] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(of, "large objects");
    let mut rows = rows.clone();
    rows.sort_by_key(|row| row.row.clone());
    assert_eq!(
        rows,
        [
            row(RowState::Missing, "(1001)"),
            row(RowState::Differs, "(1002)"),
            row(RowState::Differs, "(1003)"),
            row(RowState::Differs, "(1005)"),
            row(RowState::Extra, "(2000)"),
        ]
    );
}

/// One table that cannot be read does not hide what is wrong with another.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_read_is_named() {
    let found = planted(
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1; END';
         CREATE TABLE bad (id int, CONSTRAINT c CHECK (true)); INSERT INTO bad VALUES (1);
         CREATE TABLE good (id int); INSERT INTO good VALUES (1);",
        "INSERT INTO good VALUES (2);
         UPDATE pg_class SET relfilenode = 4000000 WHERE oid = 'bad'::regclass;",
    )
    .await;
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("table public.good: source has 1 rows, target 2")),
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("table public.bad: not compared, because")),
        "{lines:#?}"
    );
    assert_eq!(lines.len(), 2, "{lines:#?}");
}

/// Values that a type's `=` or a careless text takes for the same, one table for each pair.
#[tokio::test(flavor = "multi_thread")]
async fn values_that_look_alike_differ() {
    let pairs = [
        ("float8", "'0'", "'-0'"),
        ("float4[]", "'{0}'", "'{-0}'"),
        ("float8", "0.3", "'0.30000000000000004'"),
        ("numeric", "1.0", "1.00"),
        ("text", "NULL", "''"),
        ("text", "NULL", "'NULL'"),
        ("text", "' '", "''"),
        ("varchar", "'a'", "'a '"),
        ("text[]", "'{NULL}'", "'{\"NULL\"}'"),
        ("text[]", "'{}'", "'[2:2]={x}'"),
        ("bytea", "'\\x'", "'\\x00'"),
        ("json", "'{\"a\":1}'", "'{\"a\": 1}'"),
        ("interval", "'1 day'", "'24 hours'"),
        (
            "timestamptz",
            "'2020-01-01Z'",
            "'2020-01-01 00:00:00.000001Z'",
        ),
        ("bit varying", "B'0'", "B'00'"),
        ("citext", "'a'", "'A'"),
        ("boolean", "false", "NULL"),
    ];
    let tables = |side: fn(&(&str, &str, &str)) -> String| {
        let tables = pairs.iter().enumerate().map(|(i, pair)| {
            let value = side(pair);
            format!(
                "CREATE TABLE t{i} (v {}); INSERT INTO t{i} VALUES ({value});",
                pair.0
            )
        });
        format!("CREATE EXTENSION citext; {}", tables.collect::<String>())
    };
    let server = Server::get();
    let (source, target) = (server.database(), server.database());
    server.psql(&source, &tables(|pair| pair.1.to_owned()));
    server.psql(&target, &tables(|pair| pair.2.to_owned()));
    let report = compare(&source, &target, VerifyOptions::default()).await;
    assert_eq!(
        report.differences.len(),
        pairs.len(),
        "{:#?}",
        lines(&report)
    );
    assert!(report.tables.iter().all(|table| !table.matches));
}
