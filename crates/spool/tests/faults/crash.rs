//! A process stops between any two changes of the spool: what it left can be finished.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use object_store::memory::InMemory;
use pghaul_spool::{Role, Spool, SpoolTarget, Storing, Worker, garbage};
use pghaul_stage::memory::MemoryTarget;
use pghaul_stage::{Format, Source, Target};

use crate::faulty::{Cause, Fate, Faulty};
use crate::rig::{self, ALL, Database, Kind, for_each};

/// A store that a process can change so many times before it is gone.
fn dying(objects: &Arc<InMemory>, after: u64) -> Arc<Faulty> {
    let changes = AtomicU64::new(0);
    Faulty::new(objects, move |request| {
        let made = match request.mutates() {
            true => changes.fetch_add(1, Ordering::SeqCst) + 1,
            false => changes.load(Ordering::SeqCst),
        };
        match made <= after && (request.mutates() || made < after || after == 0) {
            true => Fate::Pass,
            false => Fate::Fail(Cause::Permission),
        }
    })
}

/// The rows of the table "What a crash leaves" that this state is one of.
fn rows_of_the_table(objects: &Arc<InMemory>) -> BTreeSet<&'static str> {
    let all = rig::dump(objects);
    let has = |name: &str| all.contains_key(name);
    let count = |prefix: &str| all.keys().filter(|name| name.starts_with(prefix)).count();
    let parts = |prefix: &str| -> BTreeSet<&str> {
        let names = all.keys().filter(|name| name.starts_with(prefix));
        let part = |name: &'_ String| name.rsplit_once('/').map(|(part, _)| part.len());
        let slice = |name| part(name).map(|end| name.get(prefix.len()..end).unwrap());
        names.filter_map(slice).collect()
    };
    let mut rows = BTreeSet::new();
    let mut note = |holds, row| {
        if holds {
            rows.insert(row);
        }
    };
    note(!has("spool"), "no spool");
    note(has("spool") && !has("plan"), "spool without plan");
    let sealed = parts("manifest/");
    note(
        !parts("parts/").is_subset(&sealed),
        "files without an entry",
    );
    note(
        !parts("claims/extract/").is_subset(&sealed),
        "a claim without an entry",
    );
    note(
        count("manifest/") == 4 && !has("end"),
        "all entries without end",
    );
    let loaded: BTreeSet<&str> = all
        .keys()
        .filter_map(|name| name.strip_prefix("loaded/"))
        .collect();
    let files = parts("parts/");
    note(!loaded.is_disjoint(&files), "loaded with files");
    rows
}

fn kinds() -> [Kind; 2] {
    [ALL[0], ALL[3]]
}

#[test]
fn spool_crash_states_of_extract() {
    let seen = Mutex::new(BTreeSet::new());
    for kind in kinds() {
        let last = for_each(200, |after| {
            let after = after - 1;
            let what = format!("{kind:?}, stopped after {after} changes");
            let objects = Arc::new(InMemory::new());
            let stopped = rig::extract(dying(&objects, after), kind);
            let objects = rig::bury(&objects);
            seen.lock().unwrap().extend(rows_of_the_table(&objects));

            // Who loads what is there waits for nobody, and takes nothing that is not sealed.
            let target = MemoryTarget::new();
            if rig::dump(&objects).contains_key("spool") {
                rig::assert_undamaged(&objects, kind, &what);
                let early = rig::load(rig::restore(&rig::dump(&objects)), kind, &target, true);
                if let Err(error) = &early {
                    assert!(
                        error.to_string().contains("not complete"),
                        "{what}: {error}"
                    );
                }
                rig::assert_no_wrong_row(&target, &what);
            }

            rig::extract(Arc::clone(&objects) as _, kind).expect(&what);
            collect(&objects, kind, &what);
            rig::assert_undamaged(&objects, kind, &what);
            rig::load(objects, kind, &target, false).expect(&what);
            rig::assert_same(&target, &what);
            stopped.is_err()
        });
        assert!((20..200).contains(&last), "{last} changes");
    }
    let seen = seen.into_inner().unwrap();
    for row in [
        "no spool",
        "spool without plan",
        "files without an entry",
        "a claim without an entry",
        "all entries without end",
    ] {
        assert!(seen.contains(row), "{row}: {seen:?}");
    }
}

/// Removes garbage: what is needed stays, and nothing else.
#[track_caller]
fn collect(objects: &Arc<InMemory>, kind: Kind, what: &str) {
    let runtime = rig::runtime();
    runtime.block_on(async {
        let spool = kind.spool(Arc::clone(objects) as _).await.unwrap();
        let found = garbage(&spool, false).await.unwrap();
        spool.remove(&found).await.unwrap();
    });
    let all = rig::dump(objects);
    let files = all.keys().filter(|name| name.starts_with("parts/"));
    assert_eq!(files.count(), rig::FILES, "{what}");
}

#[test]
fn spool_crash_states_of_load() {
    let seen = Mutex::new(BTreeSet::new());
    for kind in kinds() {
        let objects = Arc::new(InMemory::new());
        rig::extract(Arc::clone(&objects) as _, kind).unwrap();
        let spool = rig::dump(&objects);
        let last = for_each(100, |after| {
            let after = after - 1;
            let what = format!("{kind:?}, stopped after {after} changes");
            let objects = rig::restore(&spool);
            let target = MemoryTarget::new();
            let stopped = rig::load(dying(&objects, after), kind, &target, false);
            rig::assert_no_wrong_row(&target, &what);
            rig::assert_undamaged(&objects, kind, &what);
            let objects = rig::bury(&objects);
            let mut rows = rows_of_the_table(&objects);
            let loaded = rig::dump(&objects);
            let loaded = loaded.keys().filter(|name| name.starts_with("loaded/"));
            if target.marks().len() > loaded.count() {
                rows.insert("no loaded though the target has the part");
            }
            seen.lock().unwrap().extend(rows);

            rig::load(Arc::clone(&objects) as _, kind, &target, false).expect(&what);
            rig::assert_same(&target, &what);
            let all = rig::dump(&objects);
            let count = |prefix: &str| all.keys().filter(|name| name.starts_with(prefix)).count();
            assert_eq!((count("parts/"), count("loaded/")), (0, 4), "{what}");
            stopped.is_err()
        });
        assert!((12..100).contains(&last), "{last} changes");
    }
    let seen = seen.into_inner().unwrap();
    for row in [
        "loaded with files",
        "no loaded though the target has the part",
    ] {
        assert!(seen.contains(row), "{row}: {seen:?}");
    }
}

/// Who writes into a directory stops while a file has no name yet.
#[test]
fn spool_crash_states_of_a_directory() {
    let home = tempfile::tempdir().unwrap();
    let url = home.path().join("spool");
    let url = url.to_str().unwrap();
    let runtime = rig::runtime();
    let begun = [
        "manifest/0000000000/000000",
        "parts/0000000000/x.parquet",
        "plan",
        "end",
    ];
    let target = MemoryTarget::new();
    runtime.block_on(async {
        let store = pghaul_spool::open(url, true).unwrap();
        let spool = Spool::create(store, Default::default(), None)
            .await
            .unwrap();
        for name in begun {
            let path = home.path().join("spool").join(format!("{name}#1"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "half").unwrap();
        }
        let spool = Arc::new(spool);
        let worker = Arc::new(
            Worker::enter(Arc::clone(&spool), Role::Extract)
                .await
                .unwrap(),
        );
        let source = Database::new();
        let (catalog, plan) = (
            source.catalog().await.unwrap(),
            source.plan().await.unwrap(),
        );
        let spooled = SpoolTarget::new(Arc::clone(&worker), Storing::default());
        spooled.prepare(&catalog, &plan).await.unwrap();
        assert_eq!(spooled.durable(&plan.parts).await.unwrap(), [None; 4]);
        for part in &plan.parts {
            let mut writer = spooled.open(part, Format::Copy).await.unwrap();
            let mut batches = source.read(part, Format::Copy).await.unwrap();
            while let Some(batch) = futures_util::TryStreamExt::try_next(&mut batches)
                .await
                .unwrap()
            {
                writer.write(batch).await.unwrap();
            }
            writer.finish().await.unwrap();
        }
        spooled
            .complete(&source.sequences().await.unwrap())
            .await
            .unwrap();
        worker.leave().await;

        let found = garbage(&spool, false).await.unwrap();
        assert!(found.names.is_empty(), "{found:?}");
        assert_eq!((found.unnamed.len(), found.bytes), (begun.len(), 16));
        spool.remove(&found).await.unwrap();
        assert_eq!(garbage(&spool, false).await.unwrap(), Default::default());
        assert!(spool.check(|_| {}).await.unwrap().is_empty());
    });
    let objects = object_store::local::LocalFileSystem::new_with_prefix(url).unwrap();
    rig::load(Arc::new(objects), rig::PLAIN, &target, false).unwrap();
    rig::assert_same(&target, "a directory");
}
