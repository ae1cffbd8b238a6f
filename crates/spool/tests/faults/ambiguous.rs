//! Requests to write whose answers are wrong: the outcome is looked up, not guessed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use object_store::memory::InMemory;
use pghaul_stage::memory::MemoryTarget;

use crate::faulty::{Cause, Fate, Faulty, Request, Verb};
use crate::rig::{self, ALL, PLAIN, for_each};

/// Signs of life are written over one another, and no outcome matters.
fn seals(request: &Request<'_>) -> bool {
    request.verb == Verb::Put && !request.name.starts_with("workers/")
}

/// Lets each object that is written meet this fate, the N-th one only, and says whether there was
/// an N-th one.
fn nth(number: u64, fate: Fate) -> (impl Fn(&Request<'_>) -> Fate + Send + Sync, Arc<AtomicU64>) {
    let puts = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&puts);
    let decide = move |request: &Request<'_>| {
        if seals(request) && count.fetch_add(1, Ordering::SeqCst) + 1 == number {
            fate
        } else {
            Fate::Pass
        }
    };
    (decide, puts)
}

#[test]
fn object_store_ambiguous_put() {
    let fates = [
        Fate::Lie(Cause::Generic),
        Fate::Lie(Cause::AlreadyExists),
        Fate::Lie(Cause::Precondition),
        Fate::Fail(Cause::Timeout),
        Fate::Fail(Cause::AlreadyExists),
    ];
    for fate in fates {
        for kind in [ALL[0], ALL[3]] {
            let last = for_each(200, |number| {
                let what = format!("{kind:?}, put {number}: {fate:?}");
                let objects = Arc::new(InMemory::new());
                let (decide, puts) = nth(number, fate);
                let summary = rig::extract(Faulty::new(&objects, decide), kind).expect(&what);
                assert_eq!(summary.parts, 4, "{what}");
                rig::assert_undamaged(&objects, kind, &what);
                let mut struck = puts.load(Ordering::SeqCst) >= number;

                let target = MemoryTarget::new();
                let (decide, puts) = nth(number, fate);
                let faulty = Faulty::new(&objects, decide);
                rig::load(faulty, kind, &target, false).expect(&what);
                rig::assert_same(&target, &what);
                struck |= puts.load(Ordering::SeqCst) >= number;
                struck
            });
            assert!((10..200).contains(&last), "{last} puts");
        }
    }
}

/// A request that was given up is carried out after all, when the part is being extracted again.
#[test]
fn an_entry_that_comes_late_lists_files_that_are_there() {
    let objects = Arc::new(InMemory::new());
    let puts = Mutex::new(HashMap::<String, u64>::new());
    let faulty = Faulty::new(&objects, move |request| {
        if !seals(request) || !request.name.starts_with("manifest/") {
            return Fate::Pass;
        }
        let mut puts = puts.lock().unwrap();
        let count = puts.entry(request.name.to_owned()).or_default();
        *count += 1;
        match *count {
            1..=4 => Fate::Late(Cause::Timeout),
            5 => Fate::Fail(Cause::Timeout),
            _ => Fate::Pass,
        }
    });
    rig::extract(faulty, PLAIN).unwrap();
    rig::assert_undamaged(&objects, PLAIN, "late");
    let target = MemoryTarget::new();
    rig::load(objects, PLAIN, &target, false).unwrap();
    rig::assert_same(&target, "late");
}
