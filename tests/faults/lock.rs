//! TRUNCATE and rewrites on the source while it is copied: a snapshot does not protect against
//! them, locks do.

use super::gate::{self, Held};
use super::{assert_converged, wait_until};
use crate::support::proxy::{Fault, Proxy};
use crate::support::way::Haul;
use crate::support::{Output, Pair, Way, both_ways};

both_ways!(truncate_and_cluster_during_copy);
fn truncate_and_cluster_during_copy(way: Way) {
    let mut pair = Pair::start();
    let db = "locked";
    gate::database(&pair, db);
    let mut held = Held::start(way, &pair, db);

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

    // One that waits goes through after the copy. Over a spool, checksums are still to be read then,
    // and their reader is kept out.
    let (mut haul, output) = match way {
        Way::Channel => {
            let (ended, cluster) = std::thread::scope(|scope| {
                let waiting = scope.spawn(|| pair.source.try_psql(db, "CLUSTER gate.big"));
                wait_until(&mut held.run, "CLUSTER waits for its lock", |_| {
                    waits_for_lock(&pair, db)
                });
                held.release();
                let ended = held.end();
                (ended, waiting.join().expect("psql is run"))
            });
            cluster.expect("CLUSTER goes through in the end");
            ended
        }
        Way::Spool => {
            held.release();
            held.end()
        }
    };
    haul.finish_reading(&mut pair, output).expect(0);
    assert_converged(&pair, db);
}

both_ways!(waiting_ddl_does_not_hang_the_copy);
/// A statement in the queue for a table that is not read yet keeps its readers out, and itself
/// waits for the copy to end. The operator is told which one it is.
fn waiting_ddl_does_not_hang_the_copy(way: Way) {
    let mut pair = Pair::start();
    let db = "queued";
    gate::database(&pair, db);
    let held = Held::start(way, &pair, db);
    let (mut haul, output) = overtaken(&pair, db, held, "VACUUM FULL gate.indexed");
    haul.finish_reading(&mut pair, output).expect(0);
    assert_converged(&pair, db);
}

/// Has this statement wait for its lock, lets the migration go on, and cancels the statement once the
/// operator was told of it.
fn overtaken(pair: &Pair, db: &str, mut held: Held, statement: &str) -> (Haul, Output) {
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pair.source.try_psql(db, statement));
        wait_until(&mut held.run, "it waits for its lock", |_| {
            waits_for_lock(pair, db)
        });
        held.release();
        wait_until(&mut held.run, "the operator was told", |run| {
            run.stderr().contains("keeps readers out")
        });
        let cancel = format!(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = '{statement}'"
        );
        assert_eq!(pair.source.psql(db, &cancel), "t");
        let ended = held.end();
        let cancelled = waiting.join().expect("psql is run");
        cancelled.expect_err("the statement was cancelled");
        ended
    })
}

/// So does one in the queue for a table that is copied, from the checksums that an extraction ends
/// with.
#[test]
fn waiting_ddl_does_not_hang_the_checksums() {
    let mut pair = Pair::start();
    let db = "summed";
    gate::database(&pair, db);
    let held = Held::start(Way::Spool, &pair, db);
    let (mut haul, output) = overtaken(&pair, db, held, "CLUSTER pgbench_accounts");
    haul.finish_reading(&mut pair, output).expect(0);
    assert_converged(&pair, db);
}

both_ways!(truncate_between_snapshot_and_lock_is_noticed);
/// The trap between the snapshot and the lock: the snapshot still promises rows that are gone.
fn truncate_between_snapshot_and_lock_is_noticed(way: Way) {
    let mut pair = Pair::start();
    let db = "between";
    gate::database(&pair, db);
    let proxy = Proxy::start(&pair.source);
    proxy.arm("LOCK TABLE", Fault::Hold);
    let mut haul = way.of(db).source(&proxy.dsn(&pair.source, db));
    let mut run = haul.start_reading(&pair, &[]);
    wait_until(&mut run, "the holder asked for its locks", |_| {
        proxy.struck() == 1
    });
    pair.source.psql(db, "TRUNCATE gate.big");
    pair.source
        .psql(db, "UPDATE pgbench_tellers SET tbalance = tid");
    pair.source.psql(db, "CLUSTER pgbench_accounts");
    proxy.release();
    haul.finish_reading(&mut pair, run.wait()).expect(0);
    assert_converged(&pair, db);
}

both_ways!(truncate_of_a_late_table_is_noticed);
/// A table that appears while the others are locked is in the snapshot, but not locked in time.
fn truncate_of_a_late_table_is_noticed(way: Way) {
    let mut pair = Pair::start();
    let db = "late";
    gate::database(&pair, db);
    let proxy = Proxy::start(&pair.source);
    for _ in 0..2 {
        proxy.arm("LOCK TABLE", Fault::Hold);
    }
    let mut haul = way.of(db).source(&proxy.dsn(&pair.source, db));
    let mut run = haul.start_reading(&pair, &[]);
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
    haul.finish_reading(&mut pair, run.wait()).expect(0);
    assert_converged(&pair, db);
}

fn waits_for_lock(pair: &Pair, db: &str) -> bool {
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{db}'
         AND wait_event_type = 'Lock' AND query ~ '^(CLUSTER|VACUUM)'"
    );
    pair.source.psql("postgres", &waiting) != "0"
}
