//! A stale worker commits nothing, and does not stand in the way.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use std::io::Write;

use pghaul_load::{PgTarget, State, inspect};
use pghaul_stage::{Encoding, Kind, Observer, Target, Work};

use crate::migration::{Migration, batch, table, whole};

/// A psql that has begun the first part of the migration and does nothing more.
struct Stale(Child);

impl Stale {
    async fn start(m: &Migration, target: &PgTarget) -> Stale {
        let id = target.migration().unwrap();
        let mut command = m.server.client("psql", &m.db);
        command.env("PGAPPNAME", format!("pghaul {id}"));
        let mut psql = command
            .arg("-Xq")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begin = format!(
            "BEGIN; INSERT INTO pghaul.progress VALUES ('{id}', 1, 1); INSERT INTO t VALUES (0);\n"
        );
        let stdin = psql.stdin.as_mut().unwrap();
        stdin.write_all(begin.as_bytes()).unwrap();
        stdin.flush().unwrap();
        m.until(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pghaul %'
             AND state = 'idle in transaction' AND datname = current_database()",
            "1",
        )
        .await;
        let pid = psql.id().to_string();
        let stopped = Command::new("kill").args(["-STOP", &pid]).status().unwrap();
        assert!(stopped.success());
        Stale(psql)
    }
}

impl Drop for Stale {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_stopped_worker_is_taken_over() {
    let m = Migration::one();
    let target = m.prepared().await;
    let stale = Stale::start(&m, &target).await;
    m.write(&target, 0, &[(b"1\tone\n", 1)]).await.unwrap();
    assert_eq!(m.psql("SELECT id FROM t"), "1");
    drop(stale);
}

#[tokio::test]
async fn an_old_run_ends_nobody() {
    let m = Migration::one();
    let target = m.prepared().await;
    let stale = Stale::start(&m, &target).await;
    // The open transaction is now that of the run that has taken over.
    m.psql("UPDATE pghaul.migration SET epoch = epoch + 1");
    let error = m.open(&target, 0).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Fenced, "{error}");
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'
                    AND datname = current_database()";
    assert_eq!(m.psql(sessions), "1");
    drop(stale);
}

#[tokio::test]
async fn only_writers_of_the_same_part_are_ended() {
    let m = Migration::new(
        "CREATE TABLE a (i int); CREATE TABLE b (i int)",
        ["a", "b"].map(|name| table(name, &["i"], 0, 0)).to_vec(),
        ["a", "b"]
            .map(|name| Work::Rows([whole(name, Encoding::Text)].into()))
            .to_vec(),
    );
    let target = m.prepared().await;
    let mut other = m.open(&target, 1).await.unwrap();
    let stale = m.open(&target, 0).await.unwrap();
    m.write(&target, 0, &[(b"1\n", 1)]).await.unwrap();
    other.write(batch(0, b"2\n", 1, 2)).await.unwrap();
    other.finish().await.unwrap();
    assert!(stale.finish().await.is_err());
    assert_eq!(m.psql("SELECT i FROM a UNION ALL SELECT i FROM b"), "1\n2");
}

#[tokio::test]
async fn a_raised_epoch_fences_the_commit() {
    let m = Migration::one();
    let target = m.prepared().await;
    let mut writer = m.open(&target, 0).await.unwrap();
    writer.write(batch(0, b"1\tone\n", 1, 6)).await.unwrap();
    m.psql("UPDATE pghaul.migration SET epoch = epoch + 1");
    let error = writer.finish().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced, "{error}");
    m.until("SELECT count(*) FROM t", "0").await;
    m.until("SELECT count(*) FROM pghaul.progress", "0").await;
}

#[tokio::test]
async fn a_resuming_run_ends_the_old_one() {
    let m = Migration::one();
    let old = m.prepared().await;
    let mut writer = m.open(&old, 0).await.unwrap();
    writer.write(batch(0, b"1\tone\n", 1, 6)).await.unwrap();

    let conninfo = m.server.conninfo(&m.db);
    let State::Migration(saved) = inspect(&conninfo).await.unwrap() else {
        panic!("no migration found")
    };
    let observer = Arc::clone(&m.notices) as Arc<dyn Observer>;
    let new = PgTarget::resume(
        conninfo.clone(),
        m.config.clone(),
        Arc::clone(&observer),
        &saved,
    )
    .await
    .unwrap();
    // What was read before is no longer true.
    let again = PgTarget::resume(conninfo, m.config.clone(), observer, &saved).await;
    assert_eq!(again.err().unwrap().kind(), Kind::Fenced);

    assert!(writer.finish().await.unwrap_err().is_transient());
    let error = m.open(&old, 0).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Fenced, "{error}");
    let error = old.complete(&[]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Fenced, "{error}");

    new.prepare(&saved.catalog, &saved.plan).await.unwrap();
    m.write(&new, 0, &[(b"2\ttwo\n", 1)]).await.unwrap();
    new.complete(&[]).await.unwrap();
    assert_eq!(m.psql("SELECT id FROM t"), "2");
    assert_eq!(
        m.psql("SELECT state, epoch, finished_at IS NOT NULL FROM pghaul.migration"),
        "complete|2|t"
    );
}
