//! Every object of a finished spool is damaged in every way: it is refused by its name, and no
//! wrong row gets anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use object_store::memory::InMemory;
use pghaul_spool::{Spool, Store};
use pghaul_stage::memory::MemoryTarget;

use crate::rig::{self, ALL, Kind, for_each};

type Objects = BTreeMap<String, Bytes>;

/// What is done to an object.
#[derive(Debug)]
enum Harm {
    Flipped(usize, u8),
    Cut(usize),
    Grown,
    Exchanged(String),
    Foreign(String),
    Removed,
}

/// What only tells processes of one another. It may be lost or wrong; what counts is elsewhere.
const HINTS: [&str; 4] = ["claims/", "workers/", "loaded/", "snapshots/"];

fn is_hint(name: &str) -> bool {
    HINTS.iter().any(|hint| name.starts_with(hint))
}

/// What no row needs: it is for the checks before a load, for a comparison, and for this.
const ASIDE: [&str; 3] = ["facts", "digest", "complete"];

/// Whether this is done to such objects alone.
fn is_aside(name: &str, harm: &Harm) -> bool {
    let other = match harm {
        Harm::Exchanged(other) => other,
        _ => name,
    };
    ASIDE.contains(&name) && ASIDE.contains(&other)
}

fn spool(kind: Kind) -> Objects {
    let objects = Arc::new(InMemory::new());
    rig::extract(Arc::clone(&objects) as _, kind).unwrap();
    let mut all = rig::dump(&objects);
    // What processes left behind who are gone.
    all.retain(|name, _| !name.starts_with("workers/"));
    all
}

/// What can be exchanged for what: objects of the same place.
fn place(name: &str) -> &str {
    name.split_once('/').map_or("", |(place, _)| place)
}

/// Everything that is done to this object.
fn harms(all: &Objects, foreign: &Objects, name: &str) -> Vec<Harm> {
    let length = all[name].len();
    let mut harms = vec![Harm::Removed, Harm::Cut(0), Harm::Grown];
    let spread = |count: usize| (0..count).map(move |step| step * length / count);
    // The beginning has what says how to read the rest.
    let flips = (0..length.min(16)).chain(spread(16)).chain([length - 1]);
    harms.extend(flips.map(|at| Harm::Flipped(at, 1 << (at % 8))));
    harms.extend(spread(8).chain([length - 1]).map(Harm::Cut));
    let like = |other: &&String| place(other) == place(name) && *other != name;
    let others = all
        .keys()
        .filter(like)
        .filter(|other| all[*other] != all[name]);
    harms.extend(others.take(3).cloned().map(Harm::Exchanged));
    // Of another extraction of the same source, an object for the same purpose.
    let at = all
        .keys()
        .filter(|other| place(other) == place(name))
        .position(|n| n == name);
    let mut same = foreign.keys().filter(|other| place(other) == place(name));
    let other = same.nth(at.unwrap());
    let other = other.filter(|other| foreign[*other] != all[name]);
    harms.extend(other.cloned().map(Harm::Foreign));
    harms
}

fn harmed(all: &Objects, foreign: &Objects, name: &str, harm: &Harm) -> Objects {
    let mut all = all.clone();
    let content = all[name].clone();
    let new: Option<Bytes> = match harm {
        Harm::Removed => None,
        Harm::Cut(length) => Some(content.slice(..*length)),
        Harm::Grown => Some([&content[..], b"\n"].concat().into()),
        Harm::Flipped(at, bit) => {
            let mut content = content.to_vec();
            content[*at] ^= bit;
            Some(content.into())
        }
        Harm::Exchanged(other) => all.insert(other.clone(), content),
        Harm::Foreign(other) => Some(foreign[other].clone()),
    };
    match new {
        Some(new) => all.insert(name.to_owned(), new),
        None => all.remove(name),
    };
    all
}

/// What `pghaul spool check` would say; `None` if there is no spool.
fn check(objects: Arc<InMemory>, kind: Kind) -> Option<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::new(objects, rig::PLACE);
        match Spool::open(store, kind.key()).await {
            Ok(None) => None,
            Ok(Some(spool)) => {
                let damage = Arc::new(spool).check(|_| {}).await.unwrap();
                Some(damage.iter().map(|one| one.error.to_string()).collect())
            }
            Err(error) => Some(vec![error.to_string()]),
        }
    })
}

#[test]
fn part_corruption_matrix() {
    let done = AtomicUsize::new(0);
    for kind in ALL {
        let (all, foreign) = (spool(kind), spool(kind));
        let mut cases: Vec<(String, Harm)> = Vec::new();
        for name in all.keys() {
            let harms = harms(&all, &foreign, name).into_iter();
            cases.extend(harms.map(|harm| (name.clone(), harm)));
        }
        for_each(cases.len() as u64, |number| {
            let (name, harm) = &cases[number as usize - 1];
            let what = format!("{kind:?}, {name}: {harm:?}");
            let broken = harmed(&all, &foreign, name, harm);
            let told = check(rig::restore(&broken), kind);
            let target = MemoryTarget::new();
            let load = || rig::load(rig::restore(&broken), kind, &target, true);
            let loaded = told.as_ref().map(|_| load());
            rig::assert_no_wrong_row(&target, &what);
            done.fetch_add(1, Ordering::SeqCst);
            if is_hint(name) {
                assert_eq!(told, Some(vec![]), "{what}");
                loaded.unwrap().expect(&what);
                rig::assert_same(&target, &what);
                return true;
            }
            match (name.as_str(), harm) {
                // Then there is no spool.
                ("spool", Harm::Removed) => assert_eq!(told, None, "{what}"),
                // All that it names is there.
                ("complete", Harm::Removed) => {
                    assert_eq!(told, Some(vec![]), "{what}");
                    loaded.unwrap().expect(&what);
                }
                (name, harm) if is_aside(name, harm) => {
                    let told = told.unwrap();
                    let named = told.iter().any(|said| said.contains(name));
                    assert!(named, "{what}: {told:?}");
                    loaded.unwrap().expect(&what);
                    rig::assert_same(&target, &what);
                }
                // Of another extraction's header nothing else is right.
                ("spool", Harm::Foreign(_)) => {
                    assert!(!told.unwrap().is_empty(), "{what}");
                    loaded.unwrap().expect_err(&what);
                }
                _ => {
                    let named = |said: &String| match harm {
                        // Either of the two may be met first.
                        Harm::Exchanged(other) => said.contains(other) || said.contains(name),
                        _ => said.contains(name),
                    };
                    let told = told.unwrap();
                    assert!(told.iter().any(named), "{what}: {told:?}");
                    let error = loaded.unwrap().expect_err(&what).to_string();
                    assert!(named(&error), "{what}: {error}");
                    assert_eq!(target.completed(), None, "{what}");
                }
            }
            true
        });
    }
    let done = done.into_inner();
    assert!(done > 2000, "{done} cases");
}
