//! What must survive a fault, and what must be refused: every test ends with the oracle.

mod connection;
mod disk;
mod fence;
pub(crate) mod gate;
mod kill;
mod lock;
mod privilege;
mod secret;
mod settings;
mod snapshot;
mod spool;
mod target;

use std::thread;
use std::time::{Duration, Instant};

use crate::support::pghaul::{Output, Running};
use crate::support::{Pair, oracle};

/// How long a migration of a few MB may take to come to some point.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until a condition holds while pghaul runs; fails with what it said when it ends first,
/// or when that takes too long.
#[track_caller]
pub(crate) fn wait_until(run: &mut Running, what: &str, mut holds: impl FnMut(&Running) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let running = run.is_running();
        if holds(run) {
            return;
        }
        let said = || format!("stdout:\n{}\nstderr:\n{}", run.stdout(), run.stderr());
        assert!(running, "pghaul ended before {what}\n{}", said());
        assert!(
            Instant::now() < deadline,
            "waiting until {what}\n{}",
            said()
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// Fails unless the databases of this name are the same, by the oracle and by `pghaul verify`.
#[track_caller]
fn assert_converged(pair: &Pair, db: &str) {
    oracle::assert_migrated(&pair.source, db, &pair.target, db);
    pair.pghaul(db, &["verify"]).run().expect(0);
}

/// Fails unless the output says all of this, in whatever case.
#[track_caller]
fn assert_says(output: &Output, words: &[&str]) {
    let said = output.stderr.to_lowercase();
    for word in words {
        assert!(
            said.contains(&word.to_lowercase()),
            "{word:?} is not in\n{}",
            output.stderr
        );
    }
}
