//! Several processes on one spool: claims keep them apart, and where they do not, rows come once
//! all the same.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use pghaul_relay::Pipeline;
use pghaul_spool::{Role, SpoolSource, SpoolTarget, Storing, Worker};
use pghaul_stage::memory::MemoryTarget;
use pghaul_stage::{Batches, Format, Kind, Part, Result, Source, Target, Turn};

use crate::rig::{self, Database, PLAIN};

#[test]
fn two_extractors_and_two_loaders_copy_each_row_once() {
    let objects = Arc::new(InMemory::new());
    let target = MemoryTarget::new();
    let together = Barrier::new(4);
    rig::runtime().block_on(async { PLAIN.spool(Arc::clone(&objects) as _).await.unwrap() });
    let extract = |helps| {
        let runtime = rig::runtime();
        let worker = runtime.block_on(async {
            let spool = PLAIN.spool(Arc::clone(&objects) as _).await.unwrap();
            Arc::new(Worker::enter(spool, Role::Extract).await.unwrap())
        });
        let storing = Storing {
            helps,
            ..Storing::default()
        };
        together.wait();
        let spooled = SpoolTarget::new(Arc::clone(&worker), storing);
        let summary = Pipeline::from(Arc::new(Database::new()))
            .to(Arc::new(spooled), runtime.handle().clone())
            .cancel(rig::limited())
            .run_as_planned();
        runtime.block_on(worker.leave());
        summary.unwrap();
    };
    let load = || {
        together.wait();
        rig::load(Arc::clone(&objects) as _, PLAIN, &target, true).unwrap();
    };
    thread::scope(|scope| {
        for helps in [false, true] {
            let extract = &extract;
            scope.spawn(move || extract(helps));
            scope.spawn(load);
        }
    });
    rig::assert_same(&target, "all at once");
    assert_eq!(target.writers(), 4, "a writer for each part");
    let all = rig::dump(&objects);
    let files = all.keys().filter(|name| name.starts_with("parts/"));
    assert_eq!(files.count(), rig::FILES, "no part was extracted twice");
    rig::assert_undamaged(&objects, PLAIN, "all at once");
}

/// A worker that claims parts and then never does anything.
async fn idler(objects: &Arc<InMemory>, role: Role) -> Arc<Worker> {
    let spool = PLAIN.spool(Arc::clone(objects) as _).await.unwrap();
    let worker = Arc::new(Worker::enter(spool, role).await.unwrap());
    let plan = Database::new().plan().await.unwrap();
    for part in &plan.parts {
        let turn = match role {
            Role::Extract => {
                let target = SpoolTarget::new(Arc::clone(&worker), Storing::default());
                target.turn(part).await.unwrap()
            }
            Role::Load => {
                let source = SpoolSource::new(Arc::clone(&worker), false);
                source.turn(part).await.unwrap()
            }
        };
        assert!(matches!(turn, Turn::Now(_)), "{turn:?}");
    }
    worker
}

#[test]
fn claims_of_the_living_are_respected_and_those_of_the_dead_are_not() {
    let objects = Arc::new(InMemory::new());
    let runtime = rig::runtime();
    let turns = async |role| {
        let spool = PLAIN.spool(Arc::clone(&objects) as _).await.unwrap();
        let worker = Arc::new(Worker::enter(spool, role).await.unwrap());
        let part = Database::new().plan().await.unwrap().parts.remove(0);
        let turn = match role {
            Role::Extract => {
                let target = SpoolTarget::new(Arc::clone(&worker), Storing::default());
                target.turn(&part).await.unwrap()
            }
            Role::Load => {
                let source = SpoolSource::new(Arc::clone(&worker), false);
                source.turn(&part).await.unwrap()
            }
        };
        worker.leave().await;
        turn
    };
    for role in [Role::Extract, Role::Load] {
        runtime.block_on(async {
            let living = idler(&objects, role).await;
            assert!(matches!(turns(role).await, Turn::Taken), "{role}");
            // Killed on this host: its sign of life names a process that is no more.
            let name = sign_of_life(&objects).await;
            let sign = objects.get(&name).await.unwrap().bytes().await.unwrap();
            let sign = String::from_utf8(sign.to_vec()).unwrap();
            let other = sign.replacen("\n", "1\n", 1);
            assert_ne!(sign, other);
            objects.put(&name, other.into()).await.unwrap();
            assert!(matches!(turns(role).await, Turn::Now(_)), "{role}");
            living.leave().await;
        });
        if role == Role::Extract {
            rig::extract(Arc::clone(&objects) as _, PLAIN).unwrap();
        }
    }
    let target = MemoryTarget::new();
    rig::load(Arc::clone(&objects) as _, PLAIN, &target, false).unwrap();
    rig::assert_same(&target, "after the dead");
}

async fn sign_of_life(objects: &Arc<InMemory>) -> Path {
    let signs: Vec<_> = objects
        .list(Some(&Path::from("workers")))
        .try_collect()
        .await
        .unwrap();
    let [sign] = signs.as_slice() else {
        panic!("{signs:?}");
    };
    sign.location.clone()
}

/// Two extractors are at the same part, each in the belief that the other one is dead.
#[test]
fn a_part_that_two_extract_is_sealed_once() {
    let objects = Arc::new(InMemory::new());
    let source = Database::new();
    rig::runtime().block_on(async {
        let spool = PLAIN.spool(Arc::clone(&objects) as _).await.unwrap();
        let worker = Arc::new(Worker::enter(spool, Role::Extract).await.unwrap());
        let target = SpoolTarget::new(worker, Storing::default());
        let (catalog, plan) = (
            source.catalog().await.unwrap(),
            source.plan().await.unwrap(),
        );
        target.prepare(&catalog, &plan).await.unwrap();
        let part = &plan.parts[0];
        let mut writers = Vec::new();
        for _ in 0..2 {
            let mut writer = target.open(part, Format::Copy).await.unwrap();
            let batches = source.read(part, Format::Copy).await.unwrap();
            let batches: Vec<_> = batches.try_collect().await.unwrap();
            for batch in batches {
                writer.write(batch).await.unwrap();
            }
            writers.push(writer);
        }
        let late = writers.pop().unwrap();
        writers.pop().unwrap().finish().await.unwrap();
        let error = late.finish().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Fenced, "{error}");
        let error = target.open(part, Format::Copy).await.err().unwrap();
        assert_eq!(error.kind(), Kind::Fenced, "{error}");
    });
    rig::assert_undamaged(&objects, PLAIN, "sealed once");
    let objects = rig::bury(&objects);
    rig::extract(Arc::clone(&objects) as _, PLAIN).unwrap();
    let target = MemoryTarget::new();
    rig::load(objects, PLAIN, &target, true).unwrap();
    rig::assert_same(&target, "sealed once");
}

/// A source before whose first part somebody else loads everything, and removes the files.
struct Overtaken {
    source: SpoolSource,
    objects: Arc<InMemory>,
    target: MemoryTarget,
    overtaken: AtomicBool,
}

#[async_trait]
impl pghaul_stage::SourceLayer for Overtaken {
    fn inside(&self) -> &dyn Source {
        &self.source
    }

    async fn read(&self, part: &Part, format: Format) -> Result<Batches> {
        if !self.overtaken.swap(true, Ordering::SeqCst) {
            // As this one gives no sign of life, the other one takes its parts.
            let sign = sign_of_life(&self.objects).await;
            self.objects.delete(&sign).await.unwrap();
            let (objects, target) = (Arc::clone(&self.objects), self.target.clone());
            let (told, end) = tokio::sync::oneshot::channel();
            thread::spawn(move || {
                let loaded = rig::load(objects, PLAIN, &target, false);
                drop(told.send(loaded.map(drop)));
            });
            end.await.unwrap()?;
        }
        self.source.read(part, format).await
    }
}

/// A loader falls asleep with a part, another one loads it and removes its files: the first one has
/// lost nothing, and ends well.
#[test]
fn a_loader_that_was_overtaken_ends_well() {
    let objects = Arc::new(InMemory::new());
    rig::extract(Arc::clone(&objects) as _, PLAIN).unwrap();
    let runtime = rig::runtime();
    let worker = runtime.block_on(async {
        let spool = PLAIN.spool(Arc::clone(&objects) as _).await.unwrap();
        Arc::new(Worker::enter(spool, Role::Load).await.unwrap())
    });
    let target = MemoryTarget::new();
    let source = Overtaken {
        source: SpoolSource::new(worker, false),
        objects,
        target: target.clone(),
        overtaken: AtomicBool::new(false),
    };
    Pipeline::from(Arc::new(source))
        .to(Arc::new(target.clone()), runtime.handle().clone())
        .cancel(rig::limited())
        .run_as_planned()
        .unwrap();
    rig::assert_same(&target, "overtaken");
}
