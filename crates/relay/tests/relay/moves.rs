//! What a run moves, how much it holds, and what it does not do twice.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pghaul_relay::Link;
use pghaul_stage::Kind;
use pghaul_stage::memory::MemorySource;

use crate::rig::{Fate, Point, Rig, database, numbers, table};

#[test]
fn everything_arrives_once() {
    for jobs in [1, 2, 8] {
        let mut rig = Rig::new(database());
        rig.options.jobs = NonZeroUsize::new(jobs).unwrap();
        let summary = rig.run().unwrap();
        rig.assert_complete();
        rig.assert_loaded_once();
        assert_eq!(summary.rows, 200 + 41 + 45);
        assert_eq!(summary.bytes, rig.source.bytes_read());
        assert_eq!(summary.parts, rig.plan().parts.len() as u64);
        assert_eq!((summary.skipped, summary.retries), (0, 0));
        assert_eq!(rig.target.completed().unwrap().len(), 1);
    }
}

#[test]
fn an_empty_plan_is_completed() {
    let rig = Rig::new(MemorySource::new());
    assert_eq!(rig.run().unwrap().parts, 0);
    rig.assert_complete();
}

#[test]
fn ten_thousand_parts() {
    let mut rig = Rig::new(
        MemorySource::new()
            .table(table("large"), numbers(9_000))
            .table(table("other"), numbers(1_000))
            .rows_per_part(1),
    );
    rig.options.jobs = NonZeroUsize::new(4).unwrap();
    let summary = rig.run().unwrap();
    assert_eq!((summary.parts, summary.rows), (10_000, 10_000));
    rig.assert_complete();
    rig.assert_loaded_once();
}

/// While the target accepts nothing, each lane has read what fits its budget, and the one batch
/// that waits for room; not a byte more.
#[test]
fn a_stalled_target_stops_the_reading_to_the_byte() {
    for (jobs, budget, batch) in [(1, 1000, 10), (1, 1000, 300), (3, 64, 16), (2, 10, 50)] {
        let rows = (0..4 * 2_000).map(|number| format!("{number:09}"));
        let mut rig = Rig::new(
            MemorySource::new()
                .table(table("t"), rows)
                .rows_per_part(2_000)
                .batch_bytes(batch),
        );
        rig.options.jobs = NonZeroUsize::new(jobs).unwrap();
        rig.link = Link::Channel { bytes: budget };
        rig.hook(|point, _| match point {
            Point::Write => Fate::Stall,
            _ => Fate::Go,
        });
        let held = (budget / batch).max(1) + 1;
        let expected = (jobs * held * batch) as u64;
        thread::scope(|scope| {
            let run = scope.spawn(|| rig.run());
            let limit = Instant::now() + Duration::from_secs(20);
            while rig.source.bytes_read() < expected && Instant::now() < limit {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(50));
            assert_eq!(rig.source.bytes_read(), expected);
            rig.cancel.cancel();
            assert_eq!(run.join().unwrap().unwrap_err().kind(), Kind::Cancelled);
        });
        assert_eq!(rig.source.bytes_read(), expected);
        assert!(rig.target.marks().is_empty());
    }
}

#[test]
fn what_is_durable_is_not_read_again() {
    let mut rig = Rig::new(database());
    rig.at(Point::Open, 7, 1, || Fate::Fail(Kind::Permanent));
    rig.options.jobs = NonZeroUsize::MIN;
    rig.run().unwrap_err();
    let durable = rig.target.marks();
    assert_eq!(durable.len(), 7);

    rig.at(Point::Complete, 0, 1, || Fate::Fail(Kind::Permanent));
    rig.run().unwrap_err();
    for part in rig.plan().parts {
        // The one that failed may have been read before, and again.
        let reads = rig.source.reads(part.id);
        let once = reads == 1 || (reads == 2 && !durable.contains_key(&part.id));
        assert!(once, "{part} was read {reads} times");
    }

    let read = rig.source.bytes_read();
    rig.hook(|_, _| Fate::Go);
    let summary = rig.run().unwrap();
    assert_eq!(rig.source.bytes_read(), read);
    assert_eq!(summary.skipped, rig.plan().parts.len() as u64);
    assert_eq!((summary.parts, summary.rows), (0, 0));
    rig.assert_complete();
}

/// A new process knows of nothing that was declared: it has to hear of every table again.
#[test]
fn tables_that_were_loaded_before_are_declared_at_the_start() {
    let mut rig = Rig::new(database());
    rig.at(Point::Complete, 0, 1, || Fate::Fail(Kind::Permanent));
    rig.run().unwrap_err();
    let first = rig.target.loaded().len();
    assert_eq!(first, 12);
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    rig.hook(move |point, _| {
        if point == Point::TablesLoaded {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Fate::Go
    });
    rig.run().unwrap();
    assert_eq!(rig.target.loaded().len(), 2 * first);
    assert_eq!(calls.load(Ordering::SeqCst), 1, "all in one call");
}
