//! Two processes on one migration: the one that was taken over can do no harm.

use super::gate::{self, Gate};
use super::{assert_converged, assert_says};
use crate::support::Pair;
use crate::support::pghaul::Running;

#[test]
fn stale_loader_is_fenced() {
    let pair = Pair::start();
    let db = "stale";
    gate::database(&pair, db);
    let closed = Gate::close(&pair, gate::COPY);
    let mut stale = pair.pghaul(db, &["migrate", "--jobs", "1"]).spawn();
    gate::wait_mid_copy(&mut stale, &pair.target, db);
    stale.signal("STOP");
    closed.open();

    pair.pghaul(db, &["migrate", "--resume"]).run().expect(0);
    let epoch = "SELECT epoch, state FROM pghaul.migration";
    let after = pair.target.psql(db, epoch);

    stale.signal("CONT");
    let output = stale.wait().expect(1);
    assert_says(&output, &["another"]);
    assert_eq!(pair.target.psql(db, epoch), after);
    assert_converged(&pair, db);
}

/// The first one wakes up while the second one is at work, which then must not be disturbed.
#[test]
fn stale_loader_cannot_disturb_its_successor() {
    let pair = Pair::start();
    let db = "succeeded";
    gate::database(&pair, db);
    let closed = Gate::close(&pair, gate::COPY);
    let mut stale = pair.pghaul(db, &["migrate", "--jobs", "1"]).spawn();
    gate::wait_mid_copy(&mut stale, &pair.target, db);
    stale.signal("STOP");
    let backends = "SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep'";
    let before = pair.target.psql(db, backends);

    let mut successor = pair
        .pghaul(db, &["migrate", "--resume", "--jobs", "1"])
        .spawn();
    super::wait_until(&mut successor, "the successor came to the gate", |_| {
        let now = pair.target.psql(db, backends);
        !now.is_empty() && now != before
    });
    stale.signal("CONT");
    let output = stale.wait().expect(1);
    assert_says(&output, &["another"]);

    closed.open();
    successor.wait().expect(0);
    assert_converged(&pair, db);
}

/// One of two that begin at the same moment makes the migration; the other one leaves it alone.
#[test]
fn two_beginners_do_not_mix() {
    let pair = Pair::start();
    let db = "begun_twice";
    gate::database(&pair, db);
    let runs = [(); 2].map(|()| pair.pghaul(db, &["migrate"]).spawn());
    let outputs = runs.map(Running::wait);
    let mut codes = outputs.each_ref().map(|output| output.code);
    codes.sort_unstable();
    assert!(matches!(codes, [0, 1 | 2]), "{outputs:?}");
    assert_converged(&pair, db);
}

/// Two that take over at the same moment may stop each other, and nothing worse.
#[test]
fn two_successors_do_not_mix() {
    let pair = Pair::start();
    let db = "resumed_twice";
    gate::database(&pair, db);
    let closed = Gate::close(&pair, gate::COPY);
    let mut run = pair.pghaul(db, &["migrate", "--jobs", "1"]).spawn();
    gate::wait_mid_copy(&mut run, &pair.target, db);
    run.signal("KILL");
    closed.open();
    let runs = [(); 2].map(|()| pair.pghaul(db, &["migrate", "--resume"]).spawn());
    for output in runs.map(Running::wait) {
        assert!(matches!(output.code, 0 | 1), "{output:?}");
    }
    pair.pghaul(db, &["migrate", "--resume"]).run().expect(0);
    assert_converged(&pair, db);
}
