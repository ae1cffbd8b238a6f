//! Interrupted anywhere, a later run makes the same of it.

use std::sync::Arc;
use std::time::Duration;

use pghaul_load::{Config, PgTarget, State, inspect};
use pghaul_stage::{Observer, Silent, Target};

use crate::source::{Source, assert_same};

fn config() -> Config {
    Config {
        index_jobs: 3,
        ..Config::default()
    }
}

/// Goes on with the migration that the database holds.
pub(crate) async fn resume(source: &Source, db: &str) {
    let conninfo = source.server.conninfo(db);
    let State::Migration(saved) = inspect(&conninfo).await.unwrap() else {
        panic!("no migration");
    };
    let observer = Arc::new(Silent) as Arc<dyn Observer>;
    let target = PgTarget::resume(conninfo, config(), observer, &saved)
        .await
        .unwrap();
    target.prepare(&saved.catalog, &saved.plan).await.unwrap();
    target.tables_loaded(&source.tables()).await.unwrap();
    target.complete(&source.sequences).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_at_any_time_and_resumed() {
    let rich = Source::rich();
    let expected = rich.dump(&rich.oracle());
    for (round, pause) in [0, 5, 15, 30, 60, 100, 150, 220, 300, 400]
        .into_iter()
        .enumerate()
    {
        let source = if round % 2 == 0 {
            rich.large()
        } else {
            rich.small()
        };
        let db = source.server.database();
        let (target, _) = source.target(&db, config());
        target
            .prepare(&source.catalog, &Source::plan())
            .await
            .unwrap();
        source.copy_all(&db);
        let sequences = source.sequences.clone();
        let tables = source.tables();
        let task = tokio::spawn(async move {
            target.tables_loaded(&tables).await.unwrap();
            target.complete(&sequences).await.unwrap();
        });
        tokio::time::sleep(Duration::from_millis(pause)).await;
        task.abort();
        drop(task.await);
        resume(&source, &db).await;
        assert_same(&source.dump(&db), &expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_before_the_rows_and_resumed() {
    let source = Source::rich();
    for pause in [20, 60, 120] {
        let db = source.server.database();
        let (target, _) = source.target(&db, config());
        let catalog = source.catalog.clone();
        let task =
            tokio::spawn(async move { target.prepare(&catalog, &Source::plan()).await.unwrap() });
        tokio::time::sleep(Duration::from_millis(pause)).await;
        task.abort();
        drop(task.await);
        let conninfo = source.server.conninfo(&db);
        let State::Migration(saved) = inspect(&conninfo).await.unwrap() else {
            continue;
        };
        let observer = Arc::new(Silent) as Arc<dyn Observer>;
        let target = PgTarget::resume(conninfo, config(), observer, &saved)
            .await
            .unwrap();
        target.prepare(&saved.catalog, &saved.plan).await.unwrap();
        source.copy_all(&db);
        target.complete(&source.sequences).await.unwrap();
        assert_same(&source.dump(&db), &source.dump(&source.oracle()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_die_are_replaced() {
    let source = Source::rich().large();
    let db = source.server.database();
    let (target, _) = source.target(&db, config());
    target
        .prepare(&source.catalog, &Source::plan())
        .await
        .unwrap();
    source.copy_all(&db);
    target.tables_loaded(&source.tables()).await.unwrap();
    let kill = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = '{db}' AND application_name LIKE 'pghaul %'"
    );
    let killer = tokio::task::spawn_blocking(move || {
        let mut killed = 0;
        for _ in 0..6 {
            killed += source
                .server
                .psql("postgres", &kill)
                .parse::<u32>()
                .unwrap();
            std::thread::sleep(Duration::from_millis(40));
        }
        (killed, source)
    });
    let source = Source::rich();
    target.complete(&source.sequences).await.unwrap();
    let (killed, source) = killer.await.unwrap();
    assert!(killed > 0);
    assert_same(&source.dump(&db), &source.dump(&source.oracle()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_completion_changes_nothing() {
    let source = Source::rich().large();
    let db = source.server.database();
    source.migrate(&db, config()).await.unwrap();
    let before = source.dump(&db);
    resume(&source, &db).await;
    assert_same(&source.dump(&db), &before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_statement_is_cancelled() {
    let source = Source::new(
        "CREATE FUNCTION slow(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
             'BEGIN PERFORM pg_sleep(x); RETURN x; END';
         CREATE TABLE t (x int); CREATE INDEX t_slow ON t (public.slow(x))",
    );
    let db = source.server.database();
    let (target, _) = source.target(&db, config());
    target
        .prepare(&source.catalog, &Source::plan())
        .await
        .unwrap();
    source.server.psql(&db, "INSERT INTO t VALUES (60)");
    target.tables_loaded(&source.tables()).await.unwrap();
    let running = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = '{db}' AND query LIKE '%t_slow%' AND state = 'active'"
    );
    let becomes = async |wanted: &str| {
        for _ in 0..200 {
            if source.server.psql("postgres", &running) == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not {wanted} sessions");
    };
    becomes("1").await;
    drop(target);
    becomes("0").await;
    assert_eq!(
        source
            .server
            .psql(&db, "SELECT to_regclass('t_slow') IS NULL"),
        "t"
    );
}
