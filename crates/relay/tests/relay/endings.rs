//! How a run ends when something goes wrong, at every call into a stage.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use pghaul_relay::Retry;
use pghaul_stage::{Event, Kind, Observer, Side};

use crate::rig::{Fate, POINTS, Point, Rig, database};

/// Fails these calls with this; all other calls that could move data stall, so that the run
/// ends only if it stops them.
fn fail_while_others_stall(rig: &mut Rig, point: Point, fate: fn() -> Fate) {
    let calls = AtomicU32::new(0);
    let failed = AtomicU32::new(0);
    rig.hook(move |at, _| {
        let movement = matches!(at, Point::Batch | Point::Write | Point::Finish);
        if at == point && calls.fetch_add(1, Ordering::SeqCst) >= 2 {
            failed.store(1, Ordering::SeqCst);
            fate()
        } else if movement && at != point && failed.load(Ordering::SeqCst) == 1 {
            Fate::Stall
        } else {
            Fate::Go
        }
    });
}

/// Whether a run without faults calls this only once, before or after the lanes.
fn once(point: Point) -> bool {
    matches!(
        point,
        Point::Prepare | Point::Durable | Point::Sequences | Point::Complete
    )
}

#[test]
fn a_part_is_tried_in_one_other_form_that_the_source_knows() {
    for point in [Point::Read, Point::Batch, Point::Write, Point::Finish] {
        let mut rig = Rig::new(database());
        rig.forms = true;
        rig.at(point, 0, 1, || Fate::Fail(Kind::Permanent));
        let summary = rig.run().unwrap();
        assert_eq!(summary.retries, 1, "{point:?}");
        rig.assert_complete();
        rig.assert_loaded_once();

        let mut rig = Rig::new(database());
        rig.forms = true;
        rig.at(point, 0, u32::MAX, || Fate::Fail(Kind::Permanent));
        let error = rig.run().unwrap_err();
        assert_eq!(error.message(), "a third form of a part", "{point:?}");
    }
}

#[test]
fn a_permanent_error_stops_everything_and_is_the_one_returned() {
    for point in POINTS {
        let mut rig = Rig::new(database());
        if once(point) {
            rig.at(point, 0, 1, || Fate::Fail(Kind::Permanent));
        } else {
            fail_while_others_stall(&mut rig, point, || Fate::Fail(Kind::Permanent));
        }
        let error = rig.run().unwrap_err();
        assert_eq!(error.message(), format!("failed at {point:?}"));
        assert_eq!(error.kind(), Kind::Permanent);
        let side = match point {
            Point::Read | Point::Batch | Point::Confirm | Point::Sequences => Side::Source,
            _ => Side::Target,
        };
        assert_eq!(error.side(), Some(side), "{point:?}");

        rig.hook(|_, _| Fate::Go);
        rig.run().unwrap();
        rig.assert_complete();
    }
}

/// One side of a part fails while the other one hears nothing from its server.
#[test]
fn a_failure_wakes_the_other_side_of_its_part() {
    for (fails, after, stalls, from) in [
        (Point::Batch, 3, Point::Write, 0),
        (Point::Batch, 3, Point::Open, 0),
        (Point::Read, 0, Point::Open, 0),
        (Point::Write, 1, Point::Batch, 2),
        (Point::Open, 0, Point::Read, 0),
        (Point::Open, 0, Point::Batch, 0),
    ] {
        for fate in [|| Fate::Fail(Kind::Permanent), || Fate::Panic] {
            let mut rig = Rig::new(database());
            rig.options.jobs = NonZeroUsize::MIN;
            let (failing, stalling) = (AtomicU32::new(0), AtomicU32::new(0));
            rig.hook(move |point, _| {
                if point == fails && failing.fetch_add(1, Ordering::SeqCst) == after {
                    fate()
                } else if point == stalls && stalling.fetch_add(1, Ordering::SeqCst) >= from {
                    Fate::Stall
                } else {
                    Fate::Go
                }
            });
            let error = rig.run().unwrap_err();
            assert_eq!(error.kind(), Kind::Permanent, "{fails:?}, {stalls:?}");
        }
    }
}

#[test]
fn a_panic_is_an_error_and_hangs_nothing() {
    for point in POINTS {
        let mut rig = Rig::new(database());
        if once(point) {
            rig.at(point, 0, 1, || Fate::Panic);
        } else {
            fail_while_others_stall(&mut rig, point, || Fate::Panic);
        }
        let error = rig.run().unwrap_err();
        assert_eq!(error.kind(), Kind::Permanent, "{point:?}");
        assert!(error.message().contains("panicked"), "{error}");
        rig.hook(|_, _| Fate::Go);
        rig.run().unwrap();
        rig.assert_complete();
    }
}

#[test]
fn cancel_ends_every_wait() {
    for point in POINTS {
        let mut rig = Rig::new(database());
        let (stalled, reached) = crossbeam_channel::bounded(100);
        rig.hook(move |at, _| {
            if at == point && stalled.try_send(()).is_ok() {
                Fate::Stall
            } else {
                Fate::Go
            }
        });
        thread::scope(|scope| {
            let run = scope.spawn(|| rig.run());
            reached.recv_timeout(Duration::from_secs(20)).unwrap();
            assert!(!run.is_finished());
            rig.cancel.cancel();
            let error = run.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), Kind::Cancelled, "{point:?}: {error}");
            assert_eq!(error.hint(), Some("run again with --resume"));
        });
        rig.cancel = pghaul_relay::Cancel::new();
        rig.hook(|_, _| Fate::Go);
        rig.run().unwrap();
        rig.assert_complete();
    }
}

#[test]
fn cancel_ends_a_pause() {
    let mut rig = Rig::new(database());
    rig.options.retry = Retry {
        attempts: 2,
        first: Duration::from_secs(3600),
        limit: Duration::from_secs(3600),
    };
    rig.at(Point::Write, 0, 1, || Fate::Fail(Kind::Transient));
    let (paused, reached) = crossbeam_channel::bounded(1);
    rig.observer = Arc::new(Tell(paused));
    thread::scope(|scope| {
        let run = scope.spawn(|| rig.run());
        reached.recv_timeout(Duration::from_secs(20)).unwrap();
        rig.cancel.cancel();
        assert_eq!(run.join().unwrap().unwrap_err().kind(), Kind::Cancelled);
    });
}

#[test]
fn a_run_cancelled_before_it_starts_does_nothing() {
    let rig = Rig::new(database());
    rig.cancel.cancel();
    assert_eq!(rig.run().unwrap_err().kind(), Kind::Cancelled);
    assert_eq!(rig.source.bytes_read(), 0);
    assert_eq!(rig.target.writers(), 0);
}

struct Tell(crossbeam_channel::Sender<()>);

impl Observer for Tell {
    fn observe(&self, event: &Event<'_>) {
        if let Event::PartRetried { .. } = event {
            let _told_already = self.0.try_send(()).is_err();
        }
    }
}

#[test]
fn transient_errors_are_retried_and_the_result_is_exact() {
    for point in POINTS {
        // The stage itself repeats what is long, and what may report earlier work's failure.
        if matches!(
            point,
            Point::Prepare | Point::TablesLoaded | Point::Complete
        ) {
            continue;
        }
        let mut rig = Rig::new(database());
        let from = u32::from(!matches!(point, Point::Durable | Point::Sequences));
        rig.at(point, from, 3, || Fate::Fail(Kind::Transient));
        let summary = rig.run().unwrap();
        rig.assert_complete();
        rig.assert_loaded_once();
        assert_eq!(summary.rows, 200 + 41 + 45, "{point:?}");
        let of_a_part = !matches!(point, Point::Durable | Point::Sequences | Point::Confirm);
        assert_eq!(summary.retries, if of_a_part { 3 } else { 0 }, "{point:?}");
    }
}

#[test]
fn the_last_attempt_returns_its_error() {
    for (point, side) in [(Point::Batch, Side::Source), (Point::Write, Side::Target)] {
        let mut rig = Rig::new(database());
        rig.options.jobs = NonZeroUsize::MIN;
        rig.at(point, 0, u32::MAX, || Fate::Fail(Kind::Transient));
        let error = rig.run().unwrap_err();
        assert!(error.is_transient());
        assert_eq!(error.side(), Some(side));
        assert!(error.subject().is_some() && error.hint().is_some());
        let first = &rig.plan().parts[0];
        assert_eq!(rig.source.reads(first.id), 5);
        assert!(rig.target.marks().is_empty());
    }
}

/// The commit took place, its reply was lost: the part is done, and must not be copied again.
#[test]
fn a_lost_reply_to_a_commit_is_settled_by_the_target() {
    for attempts in [1, 5] {
        let mut rig = Rig::new(database());
        rig.options.retry.attempts = attempts;
        rig.at(Point::Committed, 0, u32::MAX, || {
            Fate::Fail(Kind::Transient)
        });
        let summary = rig.run().unwrap();
        rig.assert_complete();
        rig.assert_loaded_once();
        assert_eq!(summary.rows, 200 + 41 + 45);
        assert_eq!(summary.bytes, rig.source.bytes_read());
        for part in rig.plan().parts {
            assert_eq!(rig.source.reads(part.id), 1, "{part}");
        }
    }
}

/// The commit becomes visible only after the question, so the next attempt is fenced.
#[test]
fn a_commit_that_shows_late_is_settled_too() {
    let mut rig = Rig::new(database());
    rig.options.jobs = NonZeroUsize::MIN;
    rig.at(Point::Committed, 0, 1, || Fate::Fail(Kind::Transient));
    rig.late = true;
    let summary = rig.run().unwrap();
    rig.assert_complete();
    rig.assert_loaded_once();
    assert_eq!(summary.rows, 200 + 41 + 45);
}

/// Another worker holds the migration: nothing says the part is done, so going on is wrong.
#[test]
fn a_fence_without_a_durable_part_ends_the_run() {
    let mut rig = Rig::new(database());
    rig.at(Point::Finish, 3, 1, || Fate::Fail(Kind::Fenced));
    assert_eq!(rig.run().unwrap_err().kind(), Kind::Fenced);
    assert!(rig.target.completed().is_none());
}

/// Both sides fail because of one cause; the cause is what the operator reads.
#[test]
fn the_cause_wins_over_its_consequences() {
    for (point, side) in [
        (Point::Batch, Side::Source),
        (Point::Read, Side::Source),
        (Point::Open, Side::Target),
        (Point::Write, Side::Target),
        (Point::Finish, Side::Target),
    ] {
        for call in [0, 1, 5, 20] {
            let mut rig = Rig::new(database());
            rig.at(point, call, 1, || Fate::Fail(Kind::Permanent));
            let Err(error) = rig.run() else {
                assert!(call >= 5, "{point:?} is called more than {call} times");
                continue;
            };
            assert_eq!(error.side(), Some(side), "{error}");
            assert_eq!(error.message(), format!("failed at {point:?}"));
        }
    }
}
