//! A later snapshot tells exactly whether what was copied under an earlier one still stands.

use pghaul_extract::{Changed, Config, PgSource, Split};
use pghaul_stage::{Catalog, Kind, Part, PartId, Plan, Range, Slice, Source};

use crate::server::{Server, read};

/// A first run that copied everything, and is gone.
struct Earlier {
    plan: Plan,
    catalog: Catalog,
    durable: Vec<(PartId, u64)>,
}

async fn copy_all(server: &Server) -> Earlier {
    let source = server.source_with(config()).await;
    let (catalog, plan) = (
        source.catalog().await.unwrap(),
        source.plan().await.unwrap(),
    );
    let mut durable = Vec::new();
    for part in &plan.parts {
        let slices = read(&source, part).await.unwrap();
        durable.push((part.id, slices.iter().map(|(_, rows)| rows).sum()));
    }
    Earlier {
        plan,
        catalog,
        durable,
    }
}

/// Large enough tables are cut, so that there are ranges to check.
fn config() -> Config {
    Config {
        split: Split::LargerThan(1024 * 1024),
        ..Config::default()
    }
}

async fn changes(source: &PgSource, earlier: &Earlier) -> Vec<String> {
    let changed = source
        .changed_since(&earlier.plan, &earlier.catalog, &earlier.durable)
        .await;
    let mut told: Vec<String> = changed
        .unwrap()
        .into_iter()
        .map(|Changed { table, part, why }| {
            let table = table.map_or_else(|| "large objects".to_owned(), |table| table.to_string());
            format!("{table}{} {why}", if part.is_some() { " part" } else { "" })
        })
        .collect();
    told.sort();
    told
}

async fn after(server: &Server, earlier: &Earlier, sql: &str) -> Vec<String> {
    server.run(sql).await;
    changes(&server.source_with(config()).await, earlier).await
}

const TABLES: &str = "\
    CREATE TABLE big AS SELECT g AS k, md5(g::text) AS v FROM generate_series(1, 100000) g; \
    ALTER TABLE big ADD PRIMARY KEY (k); CREATE TABLE one AS SELECT g AS k FROM generate_series(1, 10) g; \
    CREATE TABLE two AS SELECT g AS k FROM generate_series(1, 10) g; \
    SELECT lo_from_bytea(1000, 'content'); VACUUM ANALYZE";

const WRITTEN: &str = "1 rows were written since, or while, the snapshot was taken";

async fn prepared() -> (Server, Earlier) {
    let server = Server::start().await;
    for statement in TABLES.split(';') {
        server.run(statement).await;
    }
    let earlier = copy_all(&server).await;
    assert!(earlier.plan.parts.len() >= 7, "{:?}", earlier.plan.parts);
    (server, earlier)
}

#[tokio::test]
async fn nothing_changed_whatever_numbers_passed() {
    let (server, earlier) = prepared().await;
    let none: [String; 0] = [];
    assert_eq!(after(&server, &earlier, "SELECT 1").await, none);
    // Maintenance, rolled-back writes and writes to other places use up transaction numbers.
    server.run("VACUUM (FREEZE, ANALYZE)").await;
    server
        .run("BEGIN; UPDATE big SET v = ''; INSERT INTO one VALUES (0); ROLLBACK")
        .await;
    server
        .run("SELECT txid_current(); CREATE SEQUENCE s; CREATE VIEW v AS SELECT 1")
        .await;
    server
        .run("CREATE INDEX ON big (k); CREATE ROLE somebody")
        .await;
    assert_eq!(after(&server, &earlier, "ANALYZE").await, none);
}

#[tokio::test]
async fn every_kind_of_write_is_noticed_and_its_table_named() {
    let (server, earlier) = prepared().await;
    let inserted = after(&server, &earlier, "INSERT INTO one VALUES (11)").await;
    assert_eq!(inserted, [format!("public.one part {WRITTEN}")]);
    let updated = after(&server, &earlier, "UPDATE big SET v = 'x' WHERE k = 5").await;
    // The new version of the row went to the end of the table, and was cut out of the first part.
    let big: Vec<&String> = updated
        .iter()
        .filter(|why| why.starts_with("public.big"))
        .collect();
    assert!(
        big.iter().any(|why| why.contains("were written")),
        "{updated:?}"
    );
    assert_eq!(updated.len(), big.len() + 1, "{updated:?}");
}

#[tokio::test]
async fn a_delete_leaves_no_trace_but_the_count() {
    let (server, earlier) = prepared().await;
    let deleted = after(&server, &earlier, "DELETE FROM big WHERE k = 70000").await;
    let [only] = deleted.as_slice() else {
        panic!("{deleted:?}")
    };
    assert!(only.starts_with("public.big part held "), "{only}");
    // Which of the tables that share a part lost a row is not recorded.
    let deleted = after(&server, &earlier, "DELETE FROM one WHERE k = 1").await;
    assert!(
        deleted
            .iter()
            .any(|why| why.starts_with("public.one part or a table")),
        "{deleted:?}"
    );
    assert!(
        deleted
            .iter()
            .any(|why| why.starts_with("public.two part or a table")),
        "{deleted:?}"
    );
}

#[tokio::test]
async fn a_delete_and_an_insert_do_not_cancel_out() {
    let (server, earlier) = prepared().await;
    let swapped = after(
        &server,
        &earlier,
        "BEGIN; DELETE FROM one WHERE k = 1; INSERT INTO one VALUES (1); COMMIT",
    )
    .await;
    assert_eq!(swapped, [format!("public.one part {WRITTEN}")]);
}

#[tokio::test]
async fn truncate_and_rewrite_are_noticed() {
    let (server, earlier) = prepared().await;
    let truncated = after(&server, &earlier, "TRUNCATE two").await;
    assert!(
        truncated
            .iter()
            .any(|why| why.starts_with("public.two part")),
        "{truncated:?}"
    );
    server
        .run("INSERT INTO two SELECT generate_series(1, 10)")
        .await;
    let again = changes(&server.source_with(config()).await, &earlier).await;
    assert!(
        again.iter().any(|why| why.contains("10 rows were written")),
        "{again:?}"
    );
    let rewritten = after(&server, &earlier, "VACUUM FULL big").await;
    let big: Vec<&String> = rewritten
        .iter()
        .filter(|why| why.starts_with("public.big"))
        .collect();
    let by_block = |part: &&Part| {
        matches!(
            part.slices(),
            [Slice {
                range: Range::Blocks { .. },
                ..
            }]
        )
    };
    let cut = earlier.plan.parts.iter().filter(by_block).count();
    assert_eq!(big.len(), cut, "{rewritten:?}");
    assert!(
        big.iter().all(|why| why.contains("was rewritten")),
        "{rewritten:?}"
    );
}

#[tokio::test]
async fn a_rewrite_alone_does_not_touch_a_table_that_was_read_whole() {
    let (server, earlier) = prepared().await;
    let none: [String; 0] = [];
    assert_eq!(after(&server, &earlier, "VACUUM FULL one").await, none);
}

#[tokio::test]
async fn writers_that_were_busy_during_the_snapshot_are_noticed_even_in_subtransactions() {
    let server = Server::start().await;
    server
        .run("CREATE TABLE one AS SELECT g AS k FROM generate_series(1, 10) g")
        .await;
    let writer = server.session().await;
    writer
        .batch_execute(
            "BEGIN; DELETE FROM one WHERE k = 1; SAVEPOINT s; INSERT INTO one VALUES (1); \
             RELEASE s; SELECT txid_current()",
        )
        .await
        .unwrap();
    // Another transaction ends in between, so the subtransaction's number is below the next one.
    server.run("SELECT txid_current()").await;
    let earlier = copy_all(&server).await;
    assert_eq!(earlier.durable, [(PartId(0), 10)]);
    writer.batch_execute("COMMIT").await.unwrap();
    let changed = changes(&server.source_with(config()).await, &earlier).await;
    assert_eq!(changed, [format!("public.one part {WRITTEN}")]);
}

#[tokio::test]
async fn large_objects_are_checked_too() {
    let (server, earlier) = prepared().await;
    let changed = after(&server, &earlier, "SELECT lo_put(1000, 0, 'C')").await;
    assert_eq!(changed, [format!("large objects part {WRITTEN}")]);
}

#[tokio::test]
async fn other_tables_and_columns_are_named() {
    let (server, earlier) = prepared().await;
    let changed = after(
        &server,
        &earlier,
        "ALTER TABLE one ADD COLUMN extra int; DROP TABLE two; CREATE TABLE three (k int)",
    )
    .await;
    assert_eq!(
        changed,
        [
            "public.one has other columns now",
            "public.three did not exist then",
            "public.two no longer exists",
        ]
    );
}

#[tokio::test]
async fn unfinished_parts_may_have_changed() {
    let (server, mut earlier) = prepared().await;
    let small = earlier
        .plan
        .parts
        .iter()
        .find(|part| part.slices().len() > 1)
        .unwrap()
        .id;
    earlier.durable.retain(|(part, _)| *part != small);
    let none: [String; 0] = [];
    assert_eq!(
        after(&server, &earlier, "DELETE FROM one; TRUNCATE two").await,
        none
    );
}

#[tokio::test]
async fn another_server_is_refused() {
    let (server, earlier) = prepared().await;
    let mut elsewhere = earlier.catalog.clone();
    elsewhere.server.system += 1;
    let source = server.source().await;
    let error = source
        .changed_since(&earlier.plan, &elsewhere, &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Identity);
    let mut ahead = earlier.plan.clone();
    ahead.visible = "999999999:999999999:".into();
    let error = source
        .changed_since(&ahead, &earlier.catalog, &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Identity);
    assert!(error.message().contains("back in time"), "{error}");
}
