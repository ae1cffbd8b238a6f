//! Each request to the store fails once, in each way, and then for good.

use std::sync::{Arc, OnceLock};

use object_store::memory::InMemory;
use pghaul_stage::memory::MemoryTarget;

use crate::faulty::{Cause, Fate, Faulty, Request};
use crate::rig::{self, Kind, PLAIN, for_each};

const CAUSES: [Cause; 4] = [
    Cause::Generic,
    Cause::Timeout,
    Cause::NoSpace,
    Cause::Permission,
];

/// More requests than either half makes.
const MOST: u64 = 500;

/// Runs a half against a store that fails as told, and once more against one that does not.
fn half(
    objects: &Arc<InMemory>,
    decide: impl Fn(&Request<'_>) -> Fate + Send + Sync + 'static,
    what: &str,
    run: impl Fn(Arc<dyn object_store::ObjectStore>) -> pghaul_stage::Result<pghaul_relay::Summary>,
) -> Outcome {
    let struck = Arc::new(OnceLock::new());
    let noting = Arc::clone(&struck);
    let faulty = Faulty::new(objects, move |request| {
        let fate = decide(request);
        if fate != Fate::Pass {
            noting.get_or_init(|| request.name.to_owned());
        }
        fate
    });
    let failed = match run(Arc::clone(&faulty) as _) {
        Ok(_) => None,
        Err(error) => {
            // Clean: it says what it was about, and of which store.
            assert!(error.to_string().contains(rig::PLACE), "{what}: {error}");
            Some(error)
        }
    };
    Outcome {
        struck: struck.get().cloned().unwrap_or_default(),
        requests: faulty.requests(),
        failed,
    }
}

struct Outcome {
    /// What the first request was about that failed.
    struck: String,
    requests: u64,
    failed: Option<pghaul_stage::Error>,
}

fn extraction(kind: Kind, number: u64, cause: Cause, for_good: bool) -> bool {
    let what = format!("{kind:?}, request {number}: {cause:?}, for good: {for_good}");
    let objects = Arc::new(InMemory::new());
    let decide = move |request: &Request<'_>| match request.number {
        n if n == number || for_good && n > number => Fate::Fail(cause),
        _ => Fate::Pass,
    };
    let extract = |objects| rig::extract(objects, kind);
    let outcome = half(&objects, decide, &what, extract);
    let of_a_part = |name: &str| {
        ["parts/", "claims/", "manifest/"]
            .iter()
            .any(|of| name.starts_with(of))
    };
    if cause != Cause::Permission && !for_good && of_a_part(&outcome.struck) {
        assert!(outcome.failed.is_none(), "{what}: {:?}", outcome.failed);
    }
    if outcome.failed.is_some() {
        // What an extraction left that failed, as its operator would find it.
        if rig::dump(&objects).contains_key("spool") {
            rig::assert_undamaged(&objects, kind, &what);
        }
        let objects = rig::bury(&objects);
        rig::extract(Arc::clone(&objects) as _, kind).expect(&what);
        finish(&objects, kind, &what);
    } else {
        finish(&objects, kind, &what);
    }
    outcome.requests >= number
}

fn finish(objects: &Arc<InMemory>, kind: Kind, what: &str) {
    rig::assert_undamaged(objects, kind, what);
    let target = MemoryTarget::new();
    rig::load(Arc::clone(objects) as _, kind, &target, false).expect(what);
    rig::assert_same(&target, what);
}

#[test]
fn nth_io_fails_in_extract() {
    for cause in CAUSES {
        let last = for_each(MOST, |number| extraction(PLAIN, number, cause, false));
        assert!((30..MOST).contains(&last), "{last} requests");
    }
}

#[test]
fn all_io_fails_in_extract_from_the_nth_on() {
    for cause in [Cause::NoSpace, Cause::Permission] {
        let last = for_each(MOST, |number| extraction(PLAIN, number, cause, true));
        assert!((30..MOST).contains(&last), "{last} requests");
    }
}

#[test]
fn nth_io_fails_in_load() {
    let objects = Arc::new(InMemory::new());
    rig::extract(Arc::clone(&objects) as _, PLAIN).unwrap();
    let spool = rig::dump(&objects);
    for (cause, for_good) in CAUSES
        .map(|cause| (cause, false))
        .into_iter()
        .chain([(Cause::Permission, true)])
    {
        let last = for_each(MOST, |number| {
            let what = format!("request {number}: {cause:?}, for good: {for_good}");
            let objects = rig::restore(&spool);
            let target = MemoryTarget::new();
            let decide = move |request: &Request<'_>| match request.number {
                n if n == number || for_good && n > number => Fate::Fail(cause),
                _ => Fate::Pass,
            };
            let load = |objects| rig::load(objects, PLAIN, &target, false);
            let outcome = half(&objects, decide, &what, load);
            rig::assert_no_wrong_row(&target, &what);
            rig::assert_undamaged(&objects, PLAIN, &what);
            if outcome.failed.is_some() {
                let objects = rig::bury(&objects);
                rig::load(objects, PLAIN, &target, false).expect(&what);
            }
            rig::assert_same(&target, &what);
            outcome.requests >= number
        });
        assert!((30..MOST).contains(&last), "{last} requests");
    }
}
