//! A spool keeps the rules of a target on one side and of a source on the other, and gives back what
//! it was given.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use object_store::memory::InMemory;
use pghaul_relay::Pipeline;
use pghaul_spool::{
    FileEncoding, Key, Role, Spool, SpoolSource, SpoolTarget, Store, Storing, Worker, contents,
};
use pghaul_stage::conformance::{self, Fixture, Sample};
use pghaul_stage::memory::{MemorySource, MemoryTarget};
use pghaul_stage::{Source, TableId, Target};
use tokio::runtime::Runtime;

/// So that what hangs fails.
const LIMIT: Duration = Duration::from_secs(60);

fn table(name: &str) -> TableId {
    TableId::new("public", name)
}

fn source() -> MemorySource {
    MemorySource::new()
        .table(table("large"), (0..100).map(|n| format!("{n}\trow {n}")))
        .table(table("empty"), [""; 0])
        .table(table("a"), ["1", "2"])
        .table(table("b"), ["x\\ny"])
        .rows_per_part(20)
        .tables_per_part(4)
        .batch_bytes(7)
}

/// A spool in memory, and how another process opens it.
struct Place {
    objects: Arc<InMemory>,
    key: Option<&'static str>,
    encoding: FileEncoding,
}

impl Place {
    fn new(key: Option<&'static str>, encoding: FileEncoding) -> Self {
        Self {
            objects: Arc::default(),
            key,
            encoding,
        }
    }

    fn key(&self) -> Option<Key> {
        let key = self.key?;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), key).unwrap();
        Some(Key::read(file.path()).unwrap())
    }

    async fn worker(&self, role: Role) -> Arc<Worker> {
        let store = Store::new(Arc::clone(&self.objects) as _, "memory");
        let spool = match Spool::open(store.clone(), self.key()).await.unwrap() {
            Some(spool) => spool,
            None => Spool::create(store, self.encoding, self.key())
                .await
                .unwrap(),
        };
        Arc::new(Worker::enter(Arc::new(spool), role).await.unwrap())
    }
}

struct Spooled {
    sample: Sample,
    place: Mutex<Arc<Place>>,
}

#[async_trait]
impl Fixture for Spooled {
    fn sample(&self) -> &Sample {
        &self.sample
    }

    async fn fresh(&self) -> Arc<dyn Target> {
        *self.place.lock().unwrap() = Arc::new(Place::new(None, FileEncoding::Copy));
        self.again().await
    }

    async fn again(&self) -> Arc<dyn Target> {
        let place = Arc::clone(&self.place.lock().unwrap());
        let worker = place.worker(Role::Extract).await;
        Arc::new(SpoolTarget::new(worker, Storing::default()))
    }

    async fn rows(&self) -> u64 {
        let place = Arc::clone(&self.place.lock().unwrap());
        let store = Store::new(Arc::clone(&place.objects) as _, "memory");
        let spool = Spool::open(store, None).await.unwrap().unwrap();
        let contents = contents(&spool).await.unwrap();
        contents.sealed.iter().map(|entry| entry.rows()).sum()
    }
}

fn limited<T>(work: impl Future<Output = T>) -> T {
    let runtime = Runtime::new().unwrap();
    let limited = async { tokio::time::timeout(LIMIT, work).await };
    runtime.block_on(limited).expect("it ends")
}

#[test]
fn a_spool_is_a_target() {
    limited(async {
        let sample = Sample::read(&source()).await;
        let place = Mutex::new(Arc::new(Place::new(None, FileEncoding::Copy)));
        conformance::target(&Spooled { sample, place }).await;
    });
}

/// Runs both halves, one after the other.
fn through(place: &Place) -> (Arc<MemoryTarget>, pghaul_relay::Summary) {
    let runtime = Runtime::new().unwrap();
    let worker = runtime.block_on(place.worker(Role::Extract));
    let spool = Arc::new(SpoolTarget::new(worker, Storing::default()));
    Pipeline::from(Arc::new(source()))
        .to(spool, runtime.handle().clone())
        .run_as_planned()
        .unwrap();
    let target = Arc::new(MemoryTarget::new());
    let worker = runtime.block_on(place.worker(Role::Load));
    let summary = Pipeline::from(Arc::new(SpoolSource::new(worker, true)))
        .to(Arc::clone(&target) as _, runtime.handle().clone())
        .run_as_planned()
        .unwrap();
    (target, summary)
}

#[test]
fn a_spool_gives_back_what_it_was_given() {
    for key in [None, Some("0123456789abcdef0123456789abcdef")] {
        for encoding in [FileEncoding::Copy, FileEncoding::Typed] {
            let place = Place::new(key, encoding);
            let (target, summary) = through(&place);
            let expected: Vec<String> = (0..100).map(|n| format!("{n}\trow {n}")).collect();
            let mut rows: Vec<String> = target
                .rows(&table("large"))
                .iter()
                .map(|row| String::from_utf8(row.to_vec()).unwrap())
                .collect();
            rows.sort_by_key(|row| row.split('\t').next().unwrap().parse::<u32>().unwrap());
            assert_eq!(rows, expected);
            assert_eq!(target.rows(&table("a")), ["1", "2"]);
            assert_eq!(target.rows(&table("b")), ["x\\ny"]);
            assert_eq!(summary.rows, 103);
            limited(async {
                let worker = place.worker(Role::Load).await;
                conformance::source(&SpoolSource::new(worker, true)).await;
            });
        }
    }
}

#[test]
fn a_load_removes_what_it_has_loaded() {
    let place = Place::new(None, FileEncoding::Copy);
    through(&place);
    let count = |prefix: &'static str| {
        limited(async {
            use futures_util::StreamExt;
            use object_store::ObjectStore;
            let prefix = object_store::path::Path::from(prefix);
            place.objects.list(Some(&prefix)).count().await
        })
    };
    assert!(count("parts") > 0, "it was to keep them");
    let runtime = Runtime::new().unwrap();
    let worker = runtime.block_on(place.worker(Role::Load));
    let source = SpoolSource::new(worker, false);
    let plan = runtime.block_on(source.plan()).unwrap();
    for part in &plan.parts {
        runtime
            .block_on(source.confirm(part, pghaul_stage::Mark(0)))
            .unwrap();
    }
    assert_eq!(count("parts"), 0);
    assert_eq!(count("loaded"), plan.parts.len());
}
