//! More tables than are read at once.

use std::time::Duration;

use pghaul_load::VerifyOptions;
use pghaul_stage::Side;
use pghaul_wire::Client;

use super::server::Server;
use super::{compare, lines, pair};

/// In EUC_JP these characters come in the order in which they stand here, in UTF-8 in another one.
const NAMES: &str = "SELECT i, (ARRAY['s', 'S', '亜'])[1 + i % 3] AS schema,
    (ARRAY['', 'A', 'z', '亜', '唖', '娃', '阿', '哀'])[1 + i % 8] || i AS name
    FROM generate_series(1, 2600) AS i";

/// A database of this encoding with the tables that fulfil the condition, each with one row.
fn filled(encoding: &str, tables: &str, row: &str) -> String {
    let server = Server::get();
    let name = server.name("many");
    let create =
        format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
    server.psql("postgres", &create);
    let fill = format!(
        "SET client_encoding = 'UTF8'; SET client_min_messages = warning;
         DO $$ DECLARE t record; BEGIN
           FOR t IN {NAMES} LOOP
             EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', t.schema);
             IF {tables} THEN
               EXECUTE format('CREATE TABLE %I.%I AS SELECT %s AS n', t.schema, t.name, {row});
             END IF;
           END LOOP;
         END $$"
    );
    server.psql(&name, &fill);
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_meet_their_partners_whatever_their_order() {
    let server = Server::get();
    let source = filled("EUC_JP", "t.i % 100 <> 1", "t.i");
    let target = filled("UTF8", "t.i % 100 <> 2", "t.i + (t.i % 100 = 3)::int");
    let report = compare(&source, &target, VerifyOptions::default()).await;
    let mut found = lines(&report);
    found.sort();
    let expected = format!(
        "SELECT CASE i % 100
             WHEN 1 THEN format('table %I.%I: only on the target', schema, name)
             WHEN 2 THEN format('table %I.%I: missing on the target', schema, name)
             ELSE 'rows' END
           FROM ({NAMES}) AS t WHERE i % 100 IN (1, 2, 3)"
    );
    let mut expected: Vec<String> = server
        .psql(&target, &expected)
        .lines()
        .map(str::to_owned)
        .collect();
    expected.sort();
    let (rows, found): (Vec<String>, Vec<String>) = found
        .into_iter()
        .partition(|line| line.contains("of its rows differ"));
    let (of_rows, expected): (Vec<String>, Vec<String>) =
        expected.into_iter().partition(|line| line == "rows");
    assert_eq!(found, expected);
    assert_eq!(rows.len(), of_rows.len());
    assert_eq!(report.tables.len(), 2600);
    let differ = |report: &&pghaul_load::TableReport| !report.matches;
    assert_eq!(report.tables.iter().filter(differ).count(), 3 * 26);
}

/// The second thousand waits for a lock, and its session is ended meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_amid_the_tables_is_replaced() {
    let (source, target) = pair(
        "DO $$ BEGIN FOR i IN 1000..2500 LOOP
           EXECUTE format('CREATE TABLE t%s AS SELECT %s AS n', i, i);
         END LOOP; END $$",
    );
    let server = Server::get();
    server.psql(&target, "UPDATE t1234 SET n = 0; UPDATE t2345 SET n = 0");
    let holder = Client::connect(&server.conninfo(&target), Side::Target)
        .await
        .expect("a session");
    holder
        .batch_execute("BEGIN; LOCK TABLE t2499 IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("a lock");
    let readers = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
          WHERE datname = '{target}' AND application_name = 'pghaul verify'
            AND wait_event_type = 'Lock'"
    );
    let comparison = tokio::spawn({
        let (source, target) = (source.clone(), target.clone());
        async move { compare(&source, &target, VerifyOptions::default()).await }
    });
    for _ in 0..300 {
        if server.psql("postgres", &readers) != "0" {
            holder.batch_execute("ROLLBACK").await.expect("it ends");
            let report = comparison.await.expect("no panic");
            let found = lines(&report);
            assert!(
                matches!(found.as_slice(), [one, other]
                    if one.contains("t1234: at least 2") && other.contains("t2345: at least 2")),
                "{found:#?}"
            );
            assert_eq!(report.tables.len(), 1501);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody waits for the lock");
}
