//! The result is the one that pg_restore has.

use pghaul_load::Config;

use crate::source::{Source, assert_same};

/// Relations that should have statistics and do not: ANALYZE never ran there, or ran when
/// there were no rows yet.
const WITHOUT_STATISTICS: &str = "
    SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'pghaul')
      AND c.relkind IN ('r', 'p', 'm')
      AND CASE c.relkind
          WHEN 'p' THEN c.reltuples < 0
               AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)
          ELSE pg_relation_size(c.oid) > 0
               AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
                           AND attnum > 0 AND NOT attisdropped)
               AND NOT EXISTS (SELECT FROM pg_statistic s WHERE s.starelid = c.oid) END
    UNION ALL
    SELECT stxrelid::regclass FROM pg_statistic_ext s
    WHERE NOT EXISTS (SELECT FROM pg_statistic_ext_data d WHERE d.stxoid = s.oid)";

async fn as_pg_restore(source: &Source, index_jobs: usize) {
    let db = source.server.database();
    let memory = source
        .migrate(
            &db,
            Config {
                index_jobs,
                ..Config::default()
            },
        )
        .await
        .unwrap();
    assert_same(&source.dump(&db), &source.dump(&source.oracle()));
    assert_eq!(source.server.psql(&db, WITHOUT_STATISTICS), "");
    assert_eq!(memory.warnings(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_tables() {
    as_pg_restore(Source::rich(), 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tables() {
    as_pg_restore(&Source::rich().large(), 3).await;
}

#[tokio::test]
async fn one_session_and_one_thread() {
    as_pg_restore(&Source::rich().large(), 1).await;
}

#[tokio::test]
async fn an_empty_database() {
    as_pg_restore(&Source::new(""), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop() {
    as_pg_restore(&Source::shop(), 2).await;
}
