//! The target's server dies as in a power cut and comes back.

use super::assert_converged;
use super::gate::{self, Gate};
use crate::support::{Cluster, Pair};

/// A target that loses what was committed without waiting for the log.
fn forgetful() -> Pair {
    let target = Cluster::builder()
        .conf("synchronous_commit", "off")
        .conf("wal_writer_delay", "10s")
        .conf("wal_writer_flush_after", "1GB");
    Pair {
        source: Cluster::start(),
        target: target.start(),
    }
}

/// Unlogged tables are empty after it, and commits that were not synchronous are gone, which
/// the server must not have been believed.
#[test]
fn target_dies_in_copy_index() {
    for at in [gate::COPY, gate::INDEX, gate::REFRESH] {
        let mut pair = forgetful();
        gate::database(&pair, at);
        let closed = Gate::close(&pair, at);
        let mut run = pair.pghaul(at, &["migrate"]).spawn();
        gate::wait_at(&mut run, &pair.target, at);
        pair.target.stop_immediate();
        pair.target.start_again();
        closed.open();
        let output = run.wait();
        if output.code != 0 {
            output.expect(1);
            pair.pghaul(at, &["migrate", "--resume"]).run().expect(0);
        }
        assert_converged(&pair, at);
    }
}

/// As above, but pghaul is dead too and has seen nothing of it.
#[test]
fn target_and_pghaul_die_together() {
    let mut pair = forgetful();
    let db = "both";
    gate::database(&pair, db);
    let closed = Gate::close(&pair, gate::INDEX);
    let mut run = pair.pghaul(db, &["migrate"]).spawn();
    gate::wait_at(&mut run, &pair.target, db);
    run.signal("KILL");
    pair.target.stop_immediate();
    run.wait().expect(-9);
    pair.target.start_again();
    closed.open();
    pair.pghaul(db, &["migrate", "--resume"]).run().expect(0);
    assert_converged(&pair, db);
}
