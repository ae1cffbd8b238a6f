//! TRUNCATE and rewrites on the source while it is copied: a snapshot does not protect against
//! them, locks do.

use super::gate::{self, Gate};
use super::{assert_converged, wait_until};
use crate::support::proxy::{Fault, Proxy};
use crate::support::{Pair, Pghaul};

#[test]
fn truncate_and_cluster_during_copy() {
    let pair = Pair::start();
    let db = "locked";
    gate::database(&pair, db);
    let closed = Gate::close(&pair, gate::COPY);
    let mut run = pair.pghaul(db, &["migrate", "--jobs", "1"]).spawn();
    gate::wait_mid_copy(&mut run, &pair.target, db);

    // Copied already, being copied, not begun yet: none of them lets go of its rows.
    for statement in [
        "CLUSTER pgbench_accounts",
        "TRUNCATE gate.big",
        "CLUSTER gate.big",
        "TRUNCATE gate.indexed",
        "TRUNCATE gate.unlogged",
    ] {
        let patient = format!("SET lock_timeout = '300ms'; {statement}");
        let error = pair.source.try_psql(db, &patient).expect_err(statement);
        assert!(error.contains("lock timeout"), "{statement}: {error}");
    }

    // One that waits goes through after the copy.
    let cluster = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pair.source.try_psql(db, "CLUSTER gate.big"));
        wait_until(&mut run, "CLUSTER waits for its lock", |_| {
            waits_for_lock(&pair, db)
        });
        closed.open();
        run.wait().expect(0);
        waiting.join().expect("psql is run")
    });
    cluster.expect("CLUSTER goes through in the end");
    assert_converged(&pair, db);
}

/// A statement in the queue for a table that is not read yet keeps its readers out, and itself
/// waits for the copy to end. The operator is told which one it is.
#[test]
fn waiting_ddl_does_not_hang_the_copy() {
    let pair = Pair::start();
    let db = "queued";
    gate::database(&pair, db);
    let closed = Gate::close(&pair, gate::COPY);
    let mut run = pair.pghaul(db, &["migrate", "--jobs", "1"]).spawn();
    gate::wait_mid_copy(&mut run, &pair.target, db);
    let (output, vacuum) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pair.source.try_psql(db, "VACUUM FULL gate.indexed"));
        wait_until(&mut run, "VACUUM FULL waits for its lock", |_| {
            waits_for_lock(&pair, db)
        });
        closed.open();
        let advice = "keeps readers out";
        wait_until(&mut run, "the operator was told", |run| {
            run.stderr().contains(advice)
        });
        let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
            WHERE query = 'VACUUM FULL gate.indexed'";
        assert_eq!(pair.source.psql(db, cancel), "t");
        (run.wait(), waiting.join().expect("psql is run"))
    });
    output.expect(0);
    vacuum.expect_err("VACUUM FULL was cancelled");
    assert_converged(&pair, db);
}

/// The trap between the snapshot and the lock: the snapshot still promises rows that are gone.
#[test]
fn truncate_between_snapshot_and_lock_is_noticed() {
    let pair = Pair::start();
    let db = "between";
    gate::database(&pair, db);
    let proxy = Proxy::start(&pair.source);
    proxy.arm("LOCK TABLE", Fault::Hold);
    let mut run = Pghaul::new(&["migrate"])
        .source(&proxy.dsn(&pair.source, db))
        .target(&pair.target.dsn(db))
        .spawn();
    wait_until(&mut run, "the holder asked for its locks", |_| {
        proxy.struck() == 1
    });
    pair.source.psql(db, "TRUNCATE gate.big");
    pair.source
        .psql(db, "UPDATE pgbench_tellers SET tbalance = tid");
    pair.source.psql(db, "CLUSTER pgbench_accounts");
    proxy.release();
    run.wait().expect(0);
    assert_converged(&pair, db);
}

/// A table that appears while the others are locked is in the snapshot, but not locked in time.
#[test]
fn truncate_of_a_late_table_is_noticed() {
    let pair = Pair::start();
    let db = "late";
    gate::database(&pair, db);
    let proxy = Proxy::start(&pair.source);
    for _ in 0..2 {
        proxy.arm("LOCK TABLE", Fault::Hold);
    }
    let mut run = Pghaul::new(&["migrate"])
        .source(&proxy.dsn(&pair.source, db))
        .target(&pair.target.dsn(db))
        .spawn();
    wait_until(&mut run, "the holder asked for its locks", |_| {
        proxy.struck() == 1
    });
    let create = "CREATE TABLE gate.late AS SELECT generate_series(1, 1000) AS id";
    pair.source.psql(db, create);
    proxy.release();
    wait_until(&mut run, "the holder asked for the late lock", |_| {
        proxy.struck() == 2
    });
    pair.source.psql(db, "TRUNCATE gate.late");
    pair.source.psql(db, "INSERT INTO gate.late VALUES (7)");
    proxy.release();
    run.wait().expect(0);
    assert_converged(&pair, db);
}

fn waits_for_lock(pair: &Pair, db: &str) -> bool {
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{db}'
         AND wait_event_type = 'Lock' AND query ~ '^(CLUSTER|VACUUM)'"
    );
    pair.source.psql("postgres", &waiting) != "0"
}
