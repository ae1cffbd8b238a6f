//! Two processes on one migration: the one that was taken over can do no harm.

use super::gate::{self, Gate};
use super::{assert_converged, assert_says};
use crate::support::pghaul::Running;
use crate::support::{Pair, Way, both_ways};

both_ways!(stale_loader_is_fenced);
fn stale_loader_is_fenced(way: Way) {
    let mut pair = Pair::start();
    let db = "stale";
    gate::database(&pair, db);
    let closed = Gate::close(&pair, gate::COPY);
    let mut haul = way.of(db);
    let mut stale = haul.start(&mut pair, &["--jobs", "1"]);
    gate::wait_mid_copy(&mut stale, &pair.target, db);
    stale.signal("STOP");
    closed.open();

    let successor = haul.start_again(&mut pair, &["--resume"]);
    haul.finish(&mut pair, successor).expect(0);
    let epoch = "SELECT epoch, state FROM pghaul.migration";
    let after = pair.target.psql(db, epoch);

    stale.signal("CONT");
    let output = stale.wait().expect(1);
    assert_says(&output, &["another"]);
    assert_eq!(pair.target.psql(db, epoch), after);
    assert_converged(&pair, db);
}

both_ways!(stale_loader_cannot_disturb_its_successor);
/// The first one wakes up while the second one is at work, which then must not be disturbed.
fn stale_loader_cannot_disturb_its_successor(way: Way) {
    let mut pair = Pair::start();
    let db = "succeeded";
    gate::database(&pair, db);
    let closed = Gate::close(&pair, gate::COPY);
    let mut haul = way.of(db);
    let mut stale = haul.start(&mut pair, &["--jobs", "1"]);
    gate::wait_mid_copy(&mut stale, &pair.target, db);
    stale.signal("STOP");
    let backends = "SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep'";
    let before = pair.target.psql(db, backends);

    let mut successor = haul.start_again(&mut pair, &["--resume", "--jobs", "1"]);
    super::wait_until(&mut successor, "the successor came to the gate", |_| {
        let now = pair.target.psql(db, backends);
        !now.is_empty() && now != before
    });
    stale.signal("CONT");
    let output = stale.wait().expect(1);
    assert_says(&output, &["another"]);

    closed.open();
    haul.finish(&mut pair, successor).expect(0);
    assert_converged(&pair, db);
}

both_ways!(two_beginners_do_not_mix);
/// One of two that begin at the same moment makes the migration; the other one leaves it alone.
fn two_beginners_do_not_mix(way: Way) {
    let mut pair = Pair::start();
    let db = "begun_twice";
    gate::database(&pair, db);
    let mut haul = way.of(db);
    let one = haul.start(&mut pair, &[]);
    let other = haul.start_again(&mut pair, &[]);
    let outputs = [one.wait(), haul.finish(&mut pair, other)];
    let mut codes = outputs.each_ref().map(|output| output.code);
    codes.sort_unstable();
    assert!(matches!(codes, [0, 1 | 2]), "{outputs:?}");
    assert_converged(&pair, db);
}

both_ways!(two_successors_do_not_mix);
/// Two that take over at the same moment may stop each other, and nothing worse.
fn two_successors_do_not_mix(way: Way) {
    let mut pair = Pair::start();
    let db = "resumed_twice";
    gate::database(&pair, db);
    let closed = Gate::close(&pair, gate::COPY);
    let mut haul = way.of(db);
    let mut run = haul.start(&mut pair, &["--jobs", "1"]);
    gate::wait_mid_copy(&mut run, &pair.target, db);
    run.signal("KILL");
    closed.open();
    let runs = [(); 2].map(|()| haul.start_again(&mut pair, &["--resume"]));
    for output in runs.map(Running::wait) {
        assert!(matches!(output.code, 0 | 1), "{output:?}");
    }
    let last = haul.start_again(&mut pair, &["--resume"]);
    haul.finish(&mut pair, last).expect(0);
    assert_converged(&pair, db);
}
