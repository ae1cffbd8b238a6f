//! The target's server dies as in a power cut and comes back.

use super::gate::{self, Gate};
use super::{assert_converged, wait_until};
use crate::support::{Cluster, Pair, Way, both_ways};

/// A target that loses what was committed without waiting for the log.
fn forgetful() -> Pair {
    let target = Cluster::builder()
        .conf("synchronous_commit", "off")
        .conf("wal_buffers", "64MB")
        .conf("wal_writer_delay", "10s")
        .conf("wal_writer_flush_after", "1GB")
        .conf("bgwriter_lru_maxpages", "0");
    Pair {
        source: Cluster::start(),
        target: target.start(),
    }
}

both_ways!(target_dies_in_copy_index);
/// Unlogged tables are empty after it, and commits that were not synchronous are gone, which
/// the server must not have been believed.
fn target_dies_in_copy_index(way: Way) {
    for at in [gate::COPY, gate::INDEX, gate::REFRESH] {
        let mut pair = forgetful();
        gate::database(&pair, at);
        let closed = Gate::close(&pair, at);
        // A spool whose files are gone cannot fill an unlogged table again.
        let mut haul = way.of(at).keep();
        let mut run = haul.start(&mut pair, &[]);
        gate::wait_at(&mut run, &pair.target, at);
        pair.target.stop_immediate();
        pair.target.start_again();
        closed.open();
        let output = haul.finish(&mut pair, run);
        if output.code != 0 {
            output.expect(1);
            haul.run(&mut pair, &["--resume"]).expect(0);
        }
        assert_converged(&pair, at);
    }
}

both_ways!(acknowledged_commits_survive_a_crash);
/// What was acknowledged is there after the crash, although nothing but its commit has written
/// the log.
fn acknowledged_commits_survive_a_crash(way: Way) {
    let mut pair = forgetful();
    let db = "acknowledged";
    gate::database(&pair, db);
    let closed = Gate::close(&pair, gate::COPY);
    let mut haul = way.of(db).keep();
    let mut run = haul.start(&mut pair, &["--jobs", "2"]);
    gate::wait_mid_copy(&mut run, &pair.target, db);
    let recorded = |pair: &Pair| -> u32 {
        let count = "SELECT (SELECT count(*) FROM pghaul.progress WHERE finished_at IS NOT NULL)
            + (SELECT count(*) FROM pghaul.step)";
        pair.target.psql(db, count).parse().expect("a number")
    };
    // Pre-data, all parts but the one that waits, indexes of small tables.
    wait_until(&mut run, "small tables had their indexes", |_| {
        recorded(&pair) > 25
    });
    let before = recorded(&pair);
    pair.target.stop_immediate();
    pair.target.start_again();
    let after = recorded(&pair);
    assert!(after >= before, "{after} records of {before} are left");
    closed.open();
    let output = haul.finish(&mut pair, run);
    if output.code != 0 {
        output.expect(1);
        haul.run(&mut pair, &["--resume"]).expect(0);
    }
    assert_converged(&pair, db);
}

both_ways!(target_and_pghaul_die_together);
/// As above, but pghaul is dead too and has seen nothing of it.
fn target_and_pghaul_die_together(way: Way) {
    let mut pair = forgetful();
    let db = "both";
    gate::database(&pair, db);
    let closed = Gate::close(&pair, gate::INDEX);
    let mut haul = way.of(db).keep();
    let mut run = haul.start(&mut pair, &[]);
    gate::wait_at(&mut run, &pair.target, db);
    run.signal("KILL");
    pair.target.stop_immediate();
    run.wait().expect(-9);
    pair.target.start_again();
    closed.open();
    haul.run(&mut pair, &["--resume"]).expect(0);
    assert_converged(&pair, db);
}
