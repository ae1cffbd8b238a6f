//! The snapshot is lost: what is durable is kept only if it still agrees with the source.

use super::gate::{self, Held};
use super::{assert_converged, assert_says};
use crate::support::way::Haul;
use crate::support::{Pair, Way, both_ways};

/// The session that keeps the snapshot is the one that has locked most tables.
const END_HOLDER: &str = "
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE mode = 'AccessShareLock' AND relation >= 16384 AND pid <> pg_backend_pid()
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY pid ORDER BY count(*) DESC LIMIT 1";

/// Migrates until the accounts are durable, `gate.big` half done and the rest not begun; then
/// the holder's session ends. What was being read is finished, nothing else is begun.
fn interrupted(way: Way, pair: &Pair, db: &str) -> Haul {
    gate::database(pair, db);
    let mut held = Held::start(way, pair, db);
    assert_eq!(pair.source.psql(db, END_HOLDER), "t");
    held.release();
    let (haul, output) = held.end();
    assert_says(&output.expect(1), &["snapshot", "--resume"]);
    haul
}

both_ways!(snapshot_holder_killed);
fn snapshot_holder_killed(way: Way) {
    let mut pair = Pair::start();
    let db = "unchanged";
    let mut haul = interrupted(way, &pair, db);
    haul.run(&mut pair, &["--resume"]).expect(0);
    assert_converged(&pair, db);
}

/// How transactions are counted and rows found again has changed between these versions.
#[test]
fn snapshot_holder_killed_on_an_old_source() {
    let pair = Pair::of_versions(11, 18);
    let db = "old";
    drop(interrupted(Way::Channel, &pair, db));
    let changed = "UPDATE pgbench_accounts SET abalance = 7 WHERE aid = 77777";
    pair.source.psql(db, changed);
    let refused = pair.pghaul(db, &["migrate", "--resume"]).run();
    assert_ne!(refused.code, 0);
    assert_says(
        &refused,
        &["public.pgbench_accounts", "--allow-new-snapshot"],
    );
    let args = ["migrate", "--resume", "--allow-new-snapshot"];
    pair.pghaul(db, &args).run().expect(0);
    assert_converged(&pair, db);
}

both_ways!(changes_in_unfinished_tables_do_not_matter_to_a_new_snapshot);
fn changes_in_unfinished_tables_do_not_matter_to_a_new_snapshot(way: Way) {
    let mut pair = Pair::start();
    let db = "unfinished";
    let mut haul = interrupted(way, &pair, db);
    pair.source.psql(
        db,
        "UPDATE gate.\"Odd \"\"name\"\"\" SET \"when\" = 'infinity';
         DELETE FROM gate.indexed WHERE id < 50;
         REFRESH MATERIALIZED VIEW gate.seen",
    );
    haul.run(&mut pair, &["--resume"]).expect(0);
    assert_converged(&pair, db);
}

both_ways!(changes_in_finished_tables_are_refused_by_name);
/// Changes of every kind in a finished table are noticed, also those that leave no new row
/// behind and those that move all rows. What is in a spool cannot be copied anew, so that another
/// one is begun.
fn changes_in_finished_tables_are_refused_by_name(way: Way) {
    let mut pair = Pair::start();
    let changes = [
        (
            "updated",
            "UPDATE pgbench_accounts SET abalance = 7 WHERE aid = 77777",
        ),
        ("deleted", "DELETE FROM pgbench_accounts WHERE aid = 1"),
        (
            "replaced",
            "DELETE FROM pgbench_accounts WHERE aid = 1; VACUUM pgbench_accounts;
             INSERT INTO pgbench_accounts VALUES (1, 1, 1, '')",
        ),
        (
            "rewritten",
            "UPDATE pgbench_accounts SET abalance = 7 WHERE aid = 5;
             CLUSTER pgbench_accounts",
        ),
    ];
    for (db, change) in changes {
        let mut haul = interrupted(way, &pair, db);
        for statement in change.split(';') {
            pair.source.psql(db, statement);
        }
        let refused = haul.run(&mut pair, &["--resume"]).expect(1);
        match way {
            Way::Channel => {
                assert_says(&refused, &["pgbench_accounts", "--allow-new-snapshot"]);
                let allowed = ["--resume", "--allow-new-snapshot"];
                let output = haul.run(&mut pair, &allowed).expect(0);
                assert_says(&output, &["pgbench_accounts"]);
            }
            Way::Spool => {
                assert_says(&refused, &["pgbench_accounts", "empty place"]);
                haul.run(&mut pair, &[]).expect(0);
            }
        }
        assert_converged(&pair, db);
    }
}

both_ways!(source_dies_in_copy);
/// The source's server dies as in a power cut: the snapshot goes with it, and so do the rows of
/// its unlogged tables.
fn source_dies_in_copy(way: Way) {
    let mut pair = Pair::start();
    let db = "reborn";
    gate::database(&pair, db);
    let mut held = Held::start(way, &pair, db);
    pair.source.stop_immediate();
    pair.source.start_again();
    held.release();
    let (mut haul, output) = held.end();
    assert_says(&output.expect(1), &["source", "snapshot", "--resume"]);
    haul.run(&mut pair, &["--resume"]).expect(0);
    assert_converged(&pair, db);
}
