//! Rows and the record that they are there commit together, or not at all.

use std::time::Duration;

use pghaul_stage::{Encoding, Kind, Mark, PartId, Range, Target, Work};

use crate::migration::{Migration, batch, table, whole};

const PROGRESS: &str = "SELECT part, rows, bytes, mark, finished_at IS NOT NULL
                        FROM pghaul.progress ORDER BY part";

#[tokio::test]
async fn rows_and_record_commit_together() {
    let m = Migration::one();
    let target = m.prepared().await;
    let mut writer = m.open(&target, 0).await.unwrap();
    // Cut inside a row.
    writer.write(batch(0, b"1\tone\n2\tt", 1, 9)).await.unwrap();
    writer.write(batch(0, b"wo\n", 1, 12)).await.unwrap();
    assert_eq!(writer.flush().await.unwrap(), None);
    assert_eq!(m.psql("SELECT count(*) FROM t"), "0");
    assert_eq!(m.psql(PROGRESS), "");
    assert_eq!(target.durable(&m.plan.parts).await.unwrap(), [None]);

    assert_eq!(writer.finish().await.unwrap(), Mark(12));
    assert_eq!(m.psql("SELECT id, note FROM t ORDER BY id"), "1|one\n2|two");
    assert_eq!(m.psql(PROGRESS), "1|2|12|12|t");
    assert_eq!(
        m.psql("SELECT count(*) FROM pghaul.progress p, t WHERE p.xmin = t.xmin"),
        "2"
    );
    assert_eq!(
        target.durable(&m.plan.parts).await.unwrap(),
        [Some(Mark(12))]
    );
    let error = m.open(&target, 0).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Fenced, "{error}");
}

#[tokio::test]
async fn a_dropped_writer_leaves_nothing() {
    let m = Migration::one();
    let target = m.prepared().await;
    let mut writer = m.open(&target, 0).await.unwrap();
    writer.write(batch(0, b"1\tone\n", 1, 6)).await.unwrap();
    drop(writer);
    // At once again: the server may not have noticed yet.
    m.write(&target, 0, &[(b"7\tseven\n", 1)]).await.unwrap();
    assert_eq!(m.psql("SELECT id, note FROM t"), "7|seven");
    assert_eq!(m.psql(PROGRESS), "1|1|8|8|t");
}

#[tokio::test]
async fn a_wrong_row_count_rolls_back() {
    let m = Migration::one();
    let target = m.prepared().await;
    let error = m
        .write(&target, 0, &[(b"1\tone\n2\ttwo\n", 3)])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch, "{error}");
    assert!(error.to_string().contains("public.t"), "{error}");
    m.until("SELECT count(*) FROM t", "0").await;
    m.until("SELECT count(*) FROM pghaul.progress", "0").await;
}

#[tokio::test]
async fn errors_name_the_table_and_no_value() {
    let m = Migration::one();
    let target = m.prepared().await;
    let error = m
        .write(&target, 0, &[(b"hush-hush\tone\n", 1)])
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("22P02"), "{error:?}");
    assert_eq!(error.kind(), Kind::Permanent);
    let text = format!("{error} {error:?}");
    assert!(!text.contains("hush"), "{text}");
    assert!(error.subject().unwrap().contains('t'), "{text}");
    assert_eq!(target.durable(&m.plan.parts).await.unwrap(), [None]);
}

#[tokio::test]
async fn batches_out_of_order_are_refused() {
    let m = Migration::one();
    let target = m.prepared().await;
    for bad in [batch(1, b"1\ta\n", 1, 9), batch(0, b"1\ta\n", 1, 3)] {
        let mut writer = m.open(&target, 0).await.unwrap();
        writer.write(batch(0, b"1\ta\n", 1, 4)).await.unwrap();
        let error = writer.write(bad).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Protocol, "{error}");
    }
}

#[tokio::test]
async fn many_tables_share_a_transaction() {
    let names = [
        "plain",
        "Quoted \"name\"",
        "none",
        "empty",
        "nothing at all",
    ];
    let ddl = "CREATE TABLE plain (a int, g int GENERATED ALWAYS AS (a + 1) STORED, b text);
               CREATE TABLE \"Quoted \"\"name\"\"\" (\"Ä\" text);
               CREATE TABLE none ();
               CREATE TABLE empty (a int);
               CREATE TABLE \"nothing at all\" (a int);";
    let tables = vec![
        table(names[0], &["a", "b"], 0, 0),
        table(names[1], &["Ä"], 0, 0),
        table(names[2], &[], 0, 0),
        table(names[3], &["a"], 0, 0),
        table(names[4], &["a"], 0, 0),
    ];
    let slices = names.map(|name| whole(name, Encoding::Binary)).to_vec();
    let m = Migration::new(
        ddl,
        tables,
        vec![Work::Rows(slices.into()), Work::Rows([].into())],
    );

    let source = m.server.database();
    m.server.psql(
        &source,
        &format!(
            "{ddl} INSERT INTO plain (a, b) SELECT i, 'row ' || i FROM generate_series(1, 100) i;
             INSERT INTO \"Quoted \"\"name\"\"\" VALUES ('ü'), (NULL);
             INSERT INTO none SELECT FROM generate_series(1, 3)"
        ),
    );
    let out = |what: &str| {
        m.server
            .copy(&source, &format!("COPY {what} TO STDOUT (FORMAT binary)"))
    };
    let plain = out("plain (a, b)");
    let quoted = out("\"Quoted \"\"name\"\"\"");
    let none = out("none");
    let empty = out("empty");

    let target = m.prepared().await;
    // The last table and the empty part come without any batch.
    m.write(
        &target,
        0,
        &[(&plain, 100), (&quoted, 2), (&none, 3), (&empty, 0)],
    )
    .await
    .unwrap();
    m.write(&target, 1, &[]).await.unwrap();
    for table in [
        "plain",
        "\"Quoted \"\"name\"\"\"",
        "none",
        "empty",
        "\"nothing at all\"",
    ] {
        let query = format!("SELECT count(*), array_agg(t::text ORDER BY t::text) FROM {table} t");
        assert_eq!(m.psql(&query), m.server.psql(&source, &query), "{table}");
    }
    assert_eq!(
        m.psql("SELECT part, rows FROM pghaul.progress ORDER BY 1"),
        "1|105\n2|0"
    );
    assert_eq!(m.psql("SELECT count(DISTINCT xmin::text) FROM plain"), "1");

    // A failure in one table takes all of them back.
    m.psql("TRUNCATE plain; DELETE FROM pghaul.progress");
    let error = m
        .write(&target, 0, &[(&plain, 100), (&empty, 0), (b"rubbish", 1)])
        .await;
    assert!(error.is_err());
    m.until("SELECT count(*) FROM plain", "0").await;
}

#[tokio::test]
async fn rows_in_another_character_set_are_converted() {
    let ddl = "CREATE TABLE \"Größe\" (a text); CREATE TABLE b (a text)";
    let tables = vec![table("Größe", &["a"], 0, 0), table("b", &["a"], 0, 0)];
    let slices = vec![whole("Größe", Encoding::Binary), whole("b", Encoding::Text)];
    let mut m = Migration::new(
        ddl,
        tables,
        vec![Work::Rows(slices.clone().into()), Work::Rows(slices.into())],
    );
    m.catalog.database.encoding = "LATIN1".into();
    let source = m.server.name("latin");
    m.server.psql(
        "postgres",
        &format!("CREATE DATABASE {source} TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'"),
    );
    let out = |format: &str| {
        let copy = format!("COPY (SELECT chr(228)) TO STDOUT (FORMAT {format})");
        let mut command = m.server.client("psql", &source);
        command.env("PGCLIENTENCODING", "LATIN1");
        command
            .args(["-XAtq", "-c", &copy])
            .output()
            .unwrap()
            .stdout
    };
    let (binary, text) = (out("binary"), out("text"));
    assert_eq!(text, [0xe4, b'\n']);
    let target = m.prepared().await;
    // Twice on one session, whose own character set must be back.
    m.write(&target, 0, &[(&binary, 1), (&text, 1)])
        .await
        .unwrap();
    m.write(&target, 1, &[(&binary, 1), (&text, 1)])
        .await
        .unwrap();
    assert_eq!(
        m.psql("SELECT a FROM \"Größe\" UNION ALL SELECT a FROM b"),
        "ä\nä\nä\nä"
    );
}

#[tokio::test]
async fn whole_large_tables_are_frozen() {
    let mib = 1 << 20;
    let ddl = "CREATE EXTENSION pg_visibility;
               CREATE TABLE big (a int, b text); CREATE TABLE toasty (a int, b text);
               CREATE TABLE cut (a int, b text)";
    let columns = ["a", "b"];
    let tables = vec![
        table("big", &columns, 2 * mib, 0),
        table("toasty", &columns, 2 * mib, 3 * mib),
        table("cut", &columns, 2 * mib, 0),
    ];
    let mut slice = whole("cut", Encoding::Binary);
    slice.range = Range::Blocks {
        from: None,
        to: Some(100),
    };
    let parts = vec![
        Work::Rows([whole("big", Encoding::Binary)].into()),
        Work::Rows([whole("toasty", Encoding::Binary)].into()),
        Work::Rows([slice].into()),
    ];
    let m = Migration::new(ddl, tables, parts);
    let rows = m.server.copy(
        "postgres",
        "COPY (SELECT i, repeat('x', 50) FROM generate_series(1, 20000) i) TO STDOUT (FORMAT binary)",
    );
    let target = m.prepared().await;
    for (part, name, frozen) in [(0, "big", "t"), (1, "toasty", "f"), (2, "cut", "f")] {
        m.write(&target, part, &[(&rows, 20_000)]).await.unwrap();
        let query = format!(
            "SELECT all_frozen > 0, (SELECT count(*) FROM {name})
             FROM pg_visibility_map_summary('{name}')"
        );
        assert_eq!(m.psql(&query), format!("{frozen}|20000"), "{name}");
    }
}

#[tokio::test]
async fn a_table_that_holds_rows_is_refused() {
    let m = Migration::one();
    m.psql("INSERT INTO t VALUES (1, 'mine')");
    let error = m.fresh().prepare(&m.catalog, &m.plan).await.unwrap_err();
    assert!(error.to_string().contains("table public.t"), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(m.psql("SELECT note FROM t"), "mine");
}

#[tokio::test]
async fn a_broken_session_is_replaced() {
    let mut m = Migration::new(
        "CREATE TABLE a (i int); CREATE TABLE b (i int)",
        vec![table("a", &["i"], 0, 0), table("b", &["i"], 0, 0)],
        ["a", "b"]
            .map(|name| Work::Rows([whole(name, Encoding::Text)].into()))
            .to_vec(),
    );
    m.plan.parts[1].id = PartId(77);
    let target = m.prepared().await;
    m.write(&target, 0, &[(b"1\n", 1)]).await.unwrap();
    m.psql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE application_name LIKE 'pghaul %' AND datname = current_database()",
    );
    m.write(&target, 1, &[(b"2\n", 1)]).await.unwrap();
    assert_eq!(
        m.psql("SELECT part FROM pghaul.progress ORDER BY 1"),
        "1\n77"
    );
}

#[tokio::test]
async fn hostile_settings_do_not_matter() {
    let m = Migration::one();
    let hostile = [
        "statement_timeout = '2s'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '50ms'",
        "idle_session_timeout = '50ms'",
        "default_transaction_read_only = on",
        "search_path = pg_temp, public",
        "client_encoding = 'LATIN1'",
        "standard_conforming_strings = off",
        "\"DateStyle\" = 'SQL, DMY'",
        "bytea_output = escape",
    ];
    for setting in hostile {
        m.server.psql(
            "postgres",
            &format!("ALTER DATABASE {} SET {setting}", m.db),
        );
    }
    let target = m.prepared().await;
    let mut writer = m.open(&target, 0).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let row = "1\tä \\\\ '\n".as_bytes();
    writer.write(batch(0, row, 1, 11)).await.unwrap();
    writer.finish().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    target.complete(&[]).await.unwrap();
    assert_eq!(
        m.psql("SET client_encoding = 'UTF8'; SELECT note FROM t"),
        "ä \\ '"
    );
}
