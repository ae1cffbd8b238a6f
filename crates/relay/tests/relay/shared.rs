//! Several databases in memory whose runs share their lanes.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use pghaul_relay::{Cancel, Lanes, Summary};
use pghaul_stage::memory::MemorySource;
use pghaul_stage::{Kind, Result};

use crate::rig::{Fate, Point, Rig, database, numbers, table, within};

/// This many databases on this many lanes.
fn rigs<const N: usize>(lanes: usize, source: impl Fn(usize) -> MemorySource) -> [Rig; N] {
    let lanes = NonZeroUsize::new(lanes).expect("some lanes");
    let lanes = Arc::new(Lanes::start(lanes).expect("threads"));
    std::array::from_fn(|number| {
        let mut rig = Rig::new(source(number));
        rig.lanes = Some(Arc::clone(&lanes));
        rig
    })
}

/// Runs all at the same time.
fn run<const N: usize>(rigs: &[Rig; N]) -> [Result<Summary>; N] {
    thread::scope(|scope| {
        let runs = rigs.each_ref().map(|rig| scope.spawn(|| rig.run()));
        runs.map(|run| run.join().expect("no panic"))
    })
}

/// A database with this many parts of one table.
fn parts(count: u32) -> MemorySource {
    MemorySource::new()
        .table(table("t"), numbers(count * 2))
        .rows_per_part(2)
}

#[test]
fn several_databases_are_copied_in_the_lanes_they_share() {
    let mut rigs: [Rig; 4] = rigs(2, |_| database());
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    for rig in &mut rigs {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        rig.hook(move |point, _| {
            match point {
                Point::Open => {
                    let now = now.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                }
                Point::Committed => drop(now.fetch_sub(1, Ordering::SeqCst)),
                _ => {}
            }
            Fate::Go
        });
    }
    for summary in run(&rigs) {
        assert_eq!(summary.unwrap().rows, 200 + 41 + 45);
    }
    for rig in &rigs {
        rig.assert_complete();
        rig.assert_loaded_once();
    }
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 2, "{most} parts at once in two lanes");
}

#[test]
fn no_lane_idles_while_another_database_has_parts() {
    let mut rigs: [Rig; 2] = rigs(2, |number| parts(if number == 0 { 1 } else { 20 }));
    // The other database's parts go on only two at a time.
    let both = Arc::new(Barrier::new(2));
    rigs[1].hook(move |point, _| {
        if point == Point::Write {
            both.wait();
        }
        Fate::Go
    });
    let [one, other] = within(Duration::from_secs(60), move || {
        let results = run(&rigs);
        rigs[1].assert_complete();
        results
    });
    assert_eq!(one.unwrap().parts, 1);
    assert_eq!(other.unwrap().parts, 20);
}

#[test]
fn a_failed_database_leaves_the_others_alone() {
    let mut rigs: [Rig; 3] = rigs(2, |_| database());
    rigs[0].at(Point::Write, 2, 1, || Fate::Fail(Kind::Permanent));
    rigs[1].at(Point::Batch, 2, 1, || Fate::Panic);
    let [failed, panicked, whole] = run(&rigs);
    assert_eq!(failed.unwrap_err().message(), "failed at Write");
    assert!(panicked.unwrap_err().message().contains("panicked"));
    whole.unwrap();
    rigs[2].assert_complete();

    for rig in &mut rigs[..2] {
        rig.hook(|_, _| Fate::Go);
        rig.run().expect("the lanes work on");
        rig.assert_complete();
    }
}

#[test]
fn cancel_ends_all_that_were_given_it_and_no_others() {
    let mut rigs: [Rig; 3] = rigs(3, |_| parts(5));
    let cancel = Cancel::new();
    let (stalled, reached) = crossbeam_channel::bounded(10);
    for rig in &mut rigs[..2] {
        rig.cancel = cancel.clone();
        let stalled = stalled.clone();
        rig.at(Point::Write, 0, 1, move || {
            stalled.send(()).expect("the test listens");
            Fate::Stall
        });
    }
    let results = thread::scope(|scope| {
        let runs = rigs.each_ref().map(|rig| scope.spawn(|| rig.run()));
        for _ in 0..2 {
            reached.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        cancel.cancel();
        runs.map(|run| run.join().expect("no panic"))
    });
    let [one, two, free] = results;
    assert_eq!(one.unwrap_err().kind(), Kind::Cancelled);
    assert_eq!(two.unwrap_err().kind(), Kind::Cancelled);
    free.unwrap();
    rigs[2].assert_complete();
}

#[test]
fn a_stage_hears_when_a_lane_goes_to_another_database() {
    let mut rigs: [Rig; 2] = rigs(1, |_| parts(3));
    let (stalled, reached) = crossbeam_channel::bounded(10);
    rigs[0].at(Point::Complete, 0, 1, move || {
        stalled.send(()).expect("the test listens");
        Fate::Stall
    });
    thread::scope(|scope| {
        let completing = scope.spawn(|| rigs[0].run());
        reached.recv_timeout(Duration::from_secs(20)).unwrap();
        rigs[1].run().unwrap();
        let left = rigs[0]
            .left
            .each_ref()
            .map(|side| side.load(Ordering::SeqCst));
        assert_eq!(left, [1, 1], "one lane left both its stages");
        rigs[0].cancel.cancel();
        assert!(completing.join().unwrap().is_err());
    });
}
