//! The snapshot holds what it promises while others truncate, rewrite, drop and lock.

use std::time::Duration;

use crate::server::{Server, read};
use futures_util::TryStreamExt;
use pghaul_extract::{Config, CopyFormat, PgSource};
use pghaul_stage::{Format, Kind, Part, Result, Source, TableId};

async fn rows_of(source: &PgSource, table: &str) -> Result<u64> {
    let plan = source.plan().await?;
    let mut rows = 0;
    for part in &plan.parts {
        for (slice, (_, count)) in part.slices().iter().zip(read(source, part).await?) {
            if slice.table == TableId::new("public", table) {
                rows += count;
            }
        }
    }
    Ok(rows)
}

#[tokio::test]
async fn writers_are_not_seen_and_ddl_waits() {
    let server = Server::start().await;
    server
        .run("CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g")
        .await;
    let source = server.source().await;
    server
        .run("DELETE FROM t WHERE g > 10; INSERT INTO t SELECT g FROM generate_series(1, 7) g")
        .await;
    let refused = server
        .session()
        .await
        .batch_execute("SET lock_timeout = '200ms'; TRUNCATE t")
        .await
        .unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "55P03");
    assert_eq!(rows_of(&source, "t").await.unwrap(), 1000);
    source.close().await.unwrap();
    server.run("SET lock_timeout = '5s'; TRUNCATE t").await;
    let error = rows_of(&source, "t").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Permanent, "{error}");
}

/// The gap that file numbers guard: a table that appears after the first listing is locked
/// only after the snapshot, and is truncated or rewritten in between.
async fn disturb_the_gap(disturbance: &str, expected: u64) {
    let server = Server::start().await;
    server.run("CREATE TABLE a AS SELECT 1").await;
    let gate = server.session().await;
    gate.batch_execute("BEGIN; LOCK TABLE a IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let opening = async {
        let source = server.source().await;
        rows_of(&source, "late").await.unwrap()
    };
    let disturbing = async {
        waiting(&server, "a").await;
        server
            .run("CREATE TABLE late AS SELECT g FROM generate_series(1, 1000) g")
            .await;
        let late = server.session().await;
        late.batch_execute("BEGIN; LOCK TABLE late IN ACCESS EXCLUSIVE MODE")
            .await
            .unwrap();
        gate.batch_execute("COMMIT").await.unwrap();
        waiting(&server, "late").await;
        late.batch_execute(disturbance).await.unwrap();
        late.batch_execute("COMMIT").await.unwrap();
    };
    let (rows, ()) = tokio::join!(opening, disturbing);
    assert_eq!(rows, expected);
}

/// Until somebody waits for a lock on the table.
async fn waiting(server: &Server, table: &str) {
    let sql = format!(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass"
    );
    for _ in 0..500 {
        if server.ask(&sql).await != "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody waits for {table}");
}

#[tokio::test]
async fn a_table_truncated_between_snapshot_and_lock_is_noticed() {
    disturb_the_gap("TRUNCATE late; INSERT INTO late VALUES (1), (2)", 2).await;
}

#[tokio::test]
async fn a_table_clustered_between_snapshot_and_lock_is_noticed() {
    let rewrite =
        "CREATE INDEX i ON late (g); DELETE FROM late WHERE g > 500; CLUSTER late USING i";
    disturb_the_gap(rewrite, 500).await;
}

#[tokio::test]
async fn a_table_dropped_between_snapshot_and_lock_is_left_out() {
    disturb_the_gap("DROP TABLE late", 0).await;
}

#[tokio::test]
async fn another_table_under_the_same_name_is_not_taken_for_it() {
    let swap = "ALTER TABLE late RENAME TO old; CREATE TABLE late AS SELECT 1 UNION ALL SELECT 2";
    disturb_the_gap(swap, 2).await;
}

#[tokio::test]
async fn a_lock_held_too_long_is_an_error_that_names_the_holder() {
    let server = Server::start().await;
    server.run("CREATE TABLE busy (i int)").await;
    let session = server.session().await;
    session
        .batch_execute("BEGIN; LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let pid: i32 = session
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let config = Config {
        lock_wait: Duration::from_millis(200),
        ..Config::default()
    };
    let error = server.open("postgres", config).await.unwrap_err();
    assert_eq!(error.code(), Some("55P03"), "{error}");
    assert!(
        error
            .message()
            .contains(&format!("public.busy by server process {pid}")),
        "{error}"
    );
}

#[tokio::test]
async fn missing_privileges_say_what_to_grant() {
    let server = Server::start().await;
    server
        .run("CREATE TABLE secret (i int); CREATE ROLE poor LOGIN")
        .await;
    let error = server.open("poor", Config::default()).await.unwrap_err();
    assert_eq!(error.code(), Some("42501"), "{error}");
    assert!(
        error
            .hint()
            .unwrap_or_default()
            .contains("pg_read_all_data"),
        "{error:?}"
    );
}

#[tokio::test]
async fn row_security_is_an_error_and_hides_no_row() {
    let server = Server::start().await;
    server
        .run(
            "CREATE ROLE reader LOGIN; CREATE TABLE t AS SELECT g FROM generate_series(1, 10) g; \
             GRANT SELECT ON t TO reader; ALTER TABLE t ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY few ON t USING (g <= 3); ALTER ROLE reader SET row_security = on",
        )
        .await;
    let source = server.open("reader", Config::default()).await.unwrap();
    let error = rows_of(&source, "t").await.unwrap_err();
    assert_eq!(error.code(), Some("42501"), "{error}");
    assert!(!error.is_transient());
    let source = server.source().await;
    assert_eq!(rows_of(&source, "t").await.unwrap(), 10);
}

#[tokio::test]
async fn when_the_holder_dies_every_later_read_says_so() {
    let server = Server::start().await;
    server
        .run("CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g")
        .await;
    let source = server.source().await;
    let parts: Vec<Part> = source.plan().await.unwrap().parts;
    assert_eq!(read(&source, &parts[0]).await.unwrap()[0].1, 1000);
    let killed = server
        .ask(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
              WHERE application_name ~ '^pghaul ' AND state = 'idle in transaction'",
        )
        .await;
    assert_eq!(killed, "1");
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..2 {
        let error = read(&source, &parts[0]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Permanent, "{error}");
        assert!(error.message().contains("held the snapshot"), "{error}");
        assert!(
            error.hint().unwrap_or_default().contains("--resume"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_lane_killed_in_its_part_is_transient_and_the_part_can_be_read_again() {
    let server = Server::start().await;
    server
        .run("CREATE TABLE t AS SELECT g, repeat('x', 1000) FROM generate_series(1, 50000) g")
        .await;
    let source = server.source().await;
    let parts = source.plan().await.unwrap().parts;
    let mut batches = source.read(&parts[0], Format::Copy).await.unwrap();
    batches.try_next().await.unwrap().unwrap();
    server
        .run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
              WHERE application_name ~ '^pghaul ' AND query LIKE '%COPY%'",
        )
        .await;
    let error = loop {
        match batches.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the end of a killed session is not the end of the part"),
            Err(error) => break error,
        }
    };
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(read(&source, &parts[0]).await.unwrap()[0].1, 50_000);
}

#[tokio::test]
async fn a_dropped_stream_cancels_its_statement() {
    let server = Server::start().await;
    server
        .run("CREATE TABLE t AS SELECT g, repeat('x', 1000) FROM generate_series(1, 50000) g")
        .await;
    let source = server.source().await;
    let parts = source.plan().await.unwrap().parts;
    let mut batches = source.read(&parts[0], Format::Copy).await.unwrap();
    batches.try_next().await.unwrap().unwrap();
    drop(batches);
    for _ in 0..500 {
        let busy = "SELECT count(*) FROM pg_stat_activity \
                     WHERE application_name ~ '^pghaul ' AND state <> 'idle in transaction'";
        if server.ask(busy).await == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the statement runs on");
}

#[tokio::test]
async fn hostile_settings_of_the_role_change_nothing() {
    let server = Server::start().await;
    server
        .run(
            "CREATE TABLE t AS SELECT '\\x00ff'::bytea AS b, '1 day 02:00'::interval AS i, \
                    '2020-01-02 03:04:05+02'::timestamptz AS z, 0.1::float8 + 0.2 AS f; \
             CREATE TABLE kinds (k regclass); INSERT INTO kinds VALUES ('t'); \
             ALTER ROLE postgres SET statement_timeout = '300ms'; \
             ALTER ROLE postgres SET idle_in_transaction_session_timeout = '300ms'; \
             DO $$ BEGIN IF current_setting('server_version_num')::int >= 140000 THEN \
               ALTER ROLE postgres SET idle_session_timeout = '300ms'; END IF; END $$; \
             ALTER ROLE postgres SET bytea_output = 'escape'; \
             ALTER ROLE postgres SET datestyle = 'SQL, DMY'; \
             ALTER ROLE postgres SET intervalstyle = 'iso_8601'; \
             ALTER ROLE postgres SET timezone = 'Asia/Kathmandu'; \
             ALTER ROLE postgres SET extra_float_digits = 0; \
             ALTER ROLE postgres SET search_path = 'nowhere'; \
             ALTER ROLE postgres SET default_transaction_isolation = 'serializable'; \
             ALTER ROLE postgres SET default_transaction_deferrable = on; \
             ALTER ROLE postgres SET quote_all_identifiers = on; \
             ALTER ROLE postgres SET client_encoding = 'LATIN1'",
        )
        .await;
    let config = Config {
        copy_format: CopyFormat::Text,
        ..Config::default()
    };
    let source = server.source_with(config).await;
    let parts = source.plan().await.unwrap().parts;
    let mut found = Vec::new();
    for _ in 0..2 {
        found = read(&source, &parts[0]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
    found.sort();
    let text = String::from_utf8(found.into_iter().flat_map(|(bytes, _)| bytes).collect()).unwrap();
    assert_eq!(
        text,
        "\\\\x00ff\t1 day 02:00:00\t2020-01-02 01:04:05+00\t0.30000000000000004\npublic.t\n"
    );
    source.close().await.unwrap();
}
