//! Random faults, many times: whatever happened on the way, the end is the same.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::Mutex;

use pghaul_relay::{Cancel, Link, Progress};
use pghaul_stage::Kind;

use crate::rig::{Fate, Point, Rig, database};

const SEEDS: u64 = 60;

/// Every call may fail for the moment; the run alone comes to the right end.
#[test]
fn transient_faults_are_survived_within_a_run() {
    for seed in 0..SEEDS {
        let mut rig = Rig::new(database());
        let random = Mutex::new(Random(seed));
        let progress = Arc::new(Progress::new());
        rig.observer = Arc::<Progress>::clone(&progress);
        rig.options.jobs = NonZeroUsize::new(1 + seed as usize % 4).unwrap();
        rig.link = Link::Channel {
            bytes: 1 + seed as usize * 7 % 100,
        };
        rig.options.retry.attempts = 200;
        rig.hook(move |point, _| {
            let dice = random.lock().unwrap().next(100);
            match point {
                Point::Prepare | Point::TablesLoaded | Point::Complete => Fate::Go,
                _ if dice < 4 => Fate::Fail(Kind::Transient),
                _ => Fate::Go,
            }
        });
        let summary = rig
            .run()
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        rig.assert_complete();
        rig.assert_loaded_once();
        assert_eq!(summary.rows, 200 + 41 + 45, "seed {seed}");

        let snapshot = progress.snapshot();
        assert_eq!(snapshot.rows, summary.rows, "seed {seed}");
        assert_eq!(snapshot.retries, summary.retries, "seed {seed}");
        let rows: u64 = progress.tables().iter().map(|table| table.rows).sum();
        assert_eq!(rows, summary.rows, "seed {seed}");
    }
}

/// Runs end in every way there is, and are repeated until one succeeds.
#[test]
fn repeated_runs_converge_after_anything() {
    for seed in 0..SEEDS {
        let mut rig = Rig::new(database());
        let random = Arc::new(Mutex::new(Random(seed)));
        rig.options.jobs = NonZeroUsize::new(1 + seed as usize % 4).unwrap();
        let mut runs = 0;
        loop {
            runs += 1;
            rig.cancel = Cancel::new();
            let (random, cancel) = (Arc::clone(&random), rig.cancel.clone());
            let calm = runs > 30;
            rig.hook(move |_, _| {
                let mut random = random.lock().unwrap();
                match random.next(2000) {
                    _ if calm => Fate::Go,
                    0..10 => {
                        cancel.cancel();
                        Fate::Stall
                    }
                    10..20 => Fate::Fail(Kind::Permanent),
                    20..30 => Fate::Fail(Kind::Fenced),
                    30..35 => Fate::Panic,
                    40..140 => Fate::Fail(Kind::Transient),
                    _ => Fate::Go,
                }
            });
            if rig.run().is_ok() {
                break;
            }
        }
        rig.assert_complete();
    }
}

/// The generator xorshift64* (Vigna 2016): small, and the same for every run of a test.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = (self.0 ^ 0x9E37_79B9_7F4A_7C15).max(1);
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }
}
