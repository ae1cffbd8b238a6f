//! What observers are told.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pghaul_relay::{Fanout, Progress};
use pghaul_stage::{Event, Kind, Observer, Omission, PartId, Side, Step, Waits};

use crate::rig::{Fate, Point, Rig, database, table};

/// Keeps events in a few words.
#[derive(Default)]
struct Log(Mutex<Vec<(String, Option<PartId>)>>);

impl Observer for Log {
    fn observe(&self, event: &Event<'_>) {
        let entry = match event {
            Event::Planned { .. } => ("planned".into(), None),
            Event::PartStarted { part, attempt } => (format!("started {attempt}"), Some(part.id)),
            Event::PartProgress { part, .. } => ("progress".into(), Some(*part)),
            Event::PartRetried { part, .. } => ("retried".into(), Some(part.id)),
            Event::PartDone { part, .. } => ("done".into(), Some(part.id)),
            _ => return,
        };
        self.0.lock().expect("a log").push(entry);
    }
}

#[test]
fn events_of_a_part_come_in_order() {
    let mut rig = Rig::new(database());
    rig.at(Point::Write, 1, 2, || Fate::Fail(Kind::Transient));
    let log = Arc::new(Log::default());
    let progress = Arc::new(Progress::new());
    rig.observer = Arc::new(Fanout(vec![
        Arc::<Log>::clone(&log),
        Arc::<Progress>::clone(&progress),
    ]));
    let summary = rig.run().unwrap();

    let mut parts: BTreeMap<PartId, Vec<String>> = BTreeMap::new();
    let log = log.0.lock().unwrap();
    assert_eq!(log[0], ("planned".into(), None));
    for (event, part) in log.iter().filter(|(event, _)| event != "progress") {
        if let Some(part) = part {
            parts.entry(*part).or_default().push(event.clone());
        }
    }
    assert_eq!(parts.len(), rig.plan().parts.len());
    let mut retries = 0;
    for events in parts.values() {
        let mut expected = Vec::new();
        let attempts = events.len() / 2;
        for attempt in 1..=attempts {
            expected.push(format!("started {attempt}"));
            expected.push(
                if attempt == attempts {
                    "done"
                } else {
                    "retried"
                }
                .into(),
            );
        }
        assert_eq!(*events, expected);
        retries += attempts as u64 - 1;
    }
    assert_eq!(retries, 2);
    assert_eq!(summary.retries, 2);
    assert_eq!(progress.snapshot().retries, 2);
}

#[test]
fn progress_ends_with_the_whole_plan() {
    let mut rig = Rig::new(database());
    let progress = Arc::new(Progress::new());
    rig.observer = Arc::<Progress>::clone(&progress);
    let summary = rig.run().unwrap();

    let snapshot = progress.snapshot();
    assert_eq!(
        (snapshot.rows, snapshot.bytes),
        (summary.rows, summary.bytes)
    );
    assert_eq!(snapshot.parts_done, snapshot.parts);
    assert!((snapshot.fraction - 1.0).abs() < 1e-9);
    assert_eq!(snapshot.remaining.map(|left| left.as_nanos()), Some(0));
    assert!(snapshot.running.is_empty() && snapshot.steps.is_empty());

    let tables = progress.tables();
    assert_eq!(tables.len(), 12);
    for report in &tables {
        let id = report.table.as_ref().unwrap();
        assert_eq!(report.rows, rig.source.rows(id).len() as u64, "{id}");
    }
    let large = tables.iter().find(|one| one.table == Some(table("large")));
    assert_eq!(large.unwrap().parts, 10);
}

#[test]
fn progress_of_a_resumed_run_counts_what_was_there() {
    let mut rig = Rig::new(database());
    rig.at(Point::Open, 5, 1, || Fate::Fail(Kind::Permanent));
    rig.run().unwrap_err();
    let skipped = rig.target.marks().len() as u64;
    rig.hook(|_, _| Fate::Go);
    let progress = Arc::new(Progress::new());
    rig.observer = Arc::<Progress>::clone(&progress);
    let summary = rig.run().unwrap();
    let snapshot = progress.snapshot();
    assert_eq!(snapshot.parts_skipped, skipped);
    assert_eq!(snapshot.parts_done, snapshot.parts);
    assert_eq!(snapshot.rows, summary.rows);
    assert!(summary.rows < 286);
}

/// The reply to a commit of several tables is lost, and the next attempt is fenced: what the
/// tables hold is still known.
#[test]
fn a_settled_part_keeps_its_tables_apart() {
    let mut rig = Rig::new(database());
    let progress = Arc::new(Progress::new());
    rig.observer = Arc::<Progress>::clone(&progress);
    rig.at(Point::Committed, 0, u32::MAX, || {
        Fate::Fail(Kind::Transient)
    });
    rig.late = true;
    rig.run().unwrap();
    for report in progress.tables() {
        let id = report.table.unwrap();
        assert_eq!(report.rows, rig.source.rows(&id).len() as u64, "{id}");
    }
}

#[test]
fn steps_are_added_up_per_kind_and_table() {
    let progress = Progress::new();
    let orders = table("orders");
    let started = |step, subject| Event::StepStarted {
        step,
        subject,
        table: Some(&orders),
    };
    let done = |step, subject| Event::StepDone {
        step,
        subject,
        table: Some(&orders),
        elapsed: Duration::from_secs(2),
    };
    progress.observe(&started(Step::Index, "by_day"));
    progress.observe(&started(Step::Index, "by_customer"));
    progress.observe(&started(Step::Analyze, "public.orders"));
    progress.observe(&done(Step::Index, "by_day"));
    let running = progress.snapshot().steps;
    let subjects: Vec<_> = running.iter().map(|step| step.subject.as_str()).collect();
    assert_eq!(subjects, ["by_customer", "public.orders"]);
    progress.observe(&done(Step::Analyze, "public.orders"));
    progress.observe(&done(Step::Index, "by_customer"));

    assert!(progress.snapshot().steps.is_empty());
    let steps = progress.steps();
    assert_eq!((steps[0].step, steps[0].count), (Step::Index, 2));
    assert_eq!(steps[0].elapsed, Duration::from_secs(4));
    assert_eq!((steps[1].step, steps[1].count), (Step::Analyze, 1));
    let [report] = &progress.tables()[..] else {
        panic!("one table was mentioned");
    };
    assert_eq!(
        report.indexing,
        Duration::from_secs(4),
        "ANALYZE is no index"
    );
}

/// What a failed attempt reported is void at once; the time left follows the estimates.
#[test]
fn a_running_part_is_seen_as_its_present_attempt() {
    let rig = Rig::new(database());
    let plan = rig.plan();
    let part = &plan.parts[0];
    let progress = Progress::new();
    progress.observe(&Event::Planned {
        parts: &plan.parts,
        durable: &[],
    });
    assert_eq!(progress.snapshot().remaining, None);
    let batch = Event::PartProgress {
        part: part.id,
        slice: 0,
        rows: 10,
        bytes: 100,
    };
    progress.observe(&Event::PartStarted { part, attempt: 1 });
    progress.observe(&batch);
    let snapshot = progress.snapshot();
    assert_eq!((snapshot.rows, snapshot.bytes), (10, 100));
    assert_eq!(snapshot.running[0].rows, 10);
    assert_eq!(snapshot.running[0].expected_rows, part.rows);
    let total: u64 = plan.parts.iter().map(|part| part.bytes.max(1)).sum();
    let expected = part.bytes as f64 * 10.0 / part.rows as f64 / total as f64;
    assert!((snapshot.fraction - expected).abs() < 1e-9);
    assert!(snapshot.remaining.is_some());

    progress.observe(&Event::PartStarted { part, attempt: 2 });
    assert_eq!(progress.snapshot().rows, 0);
    assert_eq!(progress.snapshot().running[0].attempt, 2);
    assert_eq!(progress.tables().iter().map(|one| one.rows).sum::<u64>(), 0);
    progress.observe(&batch);
    assert_eq!(progress.snapshot().rows, 10);
}

#[test]
fn an_omission_counts_once_however_often_it_is_told() {
    let progress = Progress::new();
    let first = Omission::new("role \"b\"", "not allowed");
    let second = Omission::new("role \"a\"", "not allowed").remedy("CREATE ROLE \"a\"");
    for omission in [&first, &second, &first] {
        progress.observe(&Event::Omitted(omission));
    }
    assert_eq!(progress.omissions(), [first, second]);
}

/// Adds up what the threads say they waited for.
#[derive(Default)]
struct Clock(Mutex<HashMap<Side, (Waits, Duration)>>);

impl Observer for Clock {
    fn observe(&self, event: &Event<'_>) {
        if let Event::Waited {
            side,
            waits,
            elapsed,
            ..
        } = event
        {
            let mut clock = self.0.lock().expect("a clock");
            let (sum, time) = clock.entry(*side).or_default();
            *sum += *waits;
            *time += *elapsed;
        }
    }
}

/// Whoever is slow is the one that is waited for, and the events say the same as the summary.
#[test]
fn the_slow_side_is_the_one_that_was_waited_for() {
    let pause = Duration::from_millis(2);
    for (slow, point) in [(Side::Source, Point::Batch), (Side::Target, Point::Write)] {
        let mut rig = Rig::new(database());
        rig.hook(move |at, _| {
            if at == point {
                std::thread::sleep(pause);
            }
            Fate::Go
        });
        let clock = Arc::new(Clock::default());
        rig.observer = Arc::<Clock>::clone(&clock);
        let summary = rig.run().unwrap();
        let (reading, writing) = (summary.reading, summary.writing);
        let slept = pause * u32::try_from(rig.source.batches_read()).unwrap();
        let (waited, other) = match slow {
            Side::Source => (reading.waits.source, writing.waits.target),
            _ => (writing.waits.target, reading.waits.source),
        };
        assert!(waited >= slept, "{slow}: {waited:?} of {slept:?}");
        assert!(
            other < waited,
            "{slow}: {other:?} is not less than {waited:?}"
        );
        let clock = clock.0.lock().unwrap();
        for (side, threads) in [(Side::Source, reading), (Side::Target, writing)] {
            assert_eq!(clock[&side], (threads.waits, threads.elapsed));
            assert!(threads.waits.total() <= threads.elapsed);
        }
    }
}
