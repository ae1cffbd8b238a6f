//! A small migration through a spool, half by half.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use pghaul_relay::{Cancel, Options, Pipeline, Retry, Summary};
use pghaul_spool::{
    Damage, FileEncoding, Key, Recorder, Role, Spool, SpoolSource, SpoolTarget, Store, Storing,
    Worker,
};
use pghaul_stage::memory::{MemorySource, MemoryTarget};
use pghaul_stage::{
    Catalog, Column, Packed, Result, SequenceValue, Source, SourceLayer, TableId, Type,
};
use tokio::runtime::{Builder, Runtime};

/// So that what hangs fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The name of the store in messages.
pub(crate) const PLACE: &str = "memory";

pub(crate) fn table(name: &str) -> TableId {
    TableId::new("public", name)
}

fn sequence() -> SequenceValue {
    SequenceValue {
        id: table("numbers"),
        last_value: 4711,
        is_called: true,
    }
}

/// What the source holds: no two rows are the same.
fn tables() -> BTreeMap<TableId, Vec<String>> {
    let rows = |name: &str, count: u32| {
        let rows = (0..count).map(|n| format!("{n}\trow {n} of {name}"));
        (table(name), rows.collect())
    };
    BTreeMap::from([
        rows("large", 60),
        rows("empty", 0),
        rows("one", 1),
        rows("few", 3),
    ])
}

/// Files of a whole extraction: one for each slice that has rows.
pub(crate) const FILES: usize = 5;

/// A database in memory whose rows can be taken apart.
pub(crate) struct Database(MemorySource);

impl Database {
    pub(crate) fn new() -> Self {
        let mut source = MemorySource::new().sequence(sequence());
        for (table, rows) in tables() {
            source = source.table(table, rows);
        }
        let source = source.rows_per_part(20).tables_per_part(3);
        Self(source.batch_bytes(100))
    }
}

#[async_trait]
impl SourceLayer for Database {
    fn inside(&self) -> &dyn Source {
        &self.0
    }

    async fn catalog(&self) -> Result<Catalog> {
        let mut catalog = self.0.catalog().await?;
        let column = |name: &str, type_name: &str| Column {
            name: name.into(),
            type_name: type_name.into(),
        };
        let columns = vec![column("id", "integer"), column("words", "text")];
        catalog
            .tables
            .change(|table| table.columns = columns.clone().into());
        for (name, oid) in [("integer", 23), ("text", 25)] {
            let modifier = -1;
            let sent_as = oid;
            let kind = Type {
                oid,
                modifier,
                sent_as,
            };
            catalog.types.insert(name.into(), kind);
        }
        catalog.database.encoding = "UTF8".to_owned();
        catalog.archive = Packed::new(b"PGDMP of the schema").unwrap();
        catalog.statistics = Packed::new(b"PGDMP of the statistics").unwrap();
        Ok(catalog)
    }
}

/// How a spool is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) encoding: FileEncoding,
    pub(crate) encrypted: bool,
}

pub(crate) const PLAIN: Kind = Kind {
    encoding: FileEncoding::Copy,
    encrypted: false,
};

pub(crate) const ALL: [Kind; 4] = [
    PLAIN,
    Kind {
        encrypted: true,
        ..PLAIN
    },
    TYPED,
    Kind {
        encrypted: true,
        ..TYPED
    },
];

const TYPED: Kind = Kind {
    encoding: FileEncoding::Typed,
    encrypted: false,
};

impl Kind {
    pub(crate) fn key(self) -> Option<Key> {
        self.encrypted.then(|| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), [b'k'; 32]).unwrap();
            Key::read(file.path()).unwrap()
        })
    }

    /// Opens the spool, or begins it.
    pub(crate) async fn spool(self, objects: Arc<dyn ObjectStore>) -> Result<Arc<Spool>> {
        let store = Store::new(objects, PLACE);
        Ok(Arc::new(
            match Spool::open(store.clone(), self.key()).await? {
                Some(spool) => spool,
                None => Spool::create(store, self.encoding, self.key()).await?,
            },
        ))
    }
}

pub(crate) fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

fn options() -> Options {
    Options {
        jobs: NonZeroUsize::new(2).unwrap(),
        retry: Retry {
            attempts: 3,
            first: Duration::from_millis(1),
            limit: Duration::from_millis(2),
        },
    }
}

/// One run of `extract`, as a process of its own would do it, from its first request to its last.
pub(crate) fn extract(objects: Arc<dyn ObjectStore>, kind: Kind) -> Result<Summary> {
    let runtime = runtime();
    let spool = runtime.block_on(kind.spool(objects))?;
    let worker = runtime.block_on(Worker::enter(Arc::clone(&spool), Role::Extract))?;
    let worker = Arc::new(worker);
    let record: Recorder = Box::new(|| Box::pin(async { Ok(b"the checksums".to_vec()) }));
    let target = SpoolTarget::new(Arc::clone(&worker), Storing::default()).record(record);
    let facts = runtime.block_on(spool.put_facts(b"the facts"));
    let summary = facts.and_then(|()| {
        Pipeline::from(Arc::new(Database::new()))
            .to(Arc::new(target), runtime.handle().clone())
            .options(options())
            .cancel(limited())
            .run_as_planned()
    });
    runtime.block_on(worker.leave());
    settle(&runtime);
    summary
}

/// One run of `load`.
pub(crate) fn load(
    objects: Arc<dyn ObjectStore>,
    kind: Kind,
    target: &MemoryTarget,
    keep: bool,
) -> Result<Summary> {
    let runtime = runtime();
    let spool = runtime.block_on(kind.spool(objects))?;
    let worker = Arc::new(runtime.block_on(Worker::enter(spool, Role::Load))?);
    let source = SpoolSource::new(Arc::clone(&worker), keep);
    let summary = Pipeline::from(Arc::new(source))
        .to(Arc::new(target.clone()), runtime.handle().clone())
        .options(options())
        .cancel(limited())
        .run_as_planned();
    runtime.block_on(worker.leave());
    settle(&runtime);
    summary
}

/// A token that stops what hangs, whose error then says so.
pub(crate) fn limited() -> Cancel {
    let cancel = Cancel::new();
    let (token, began) = (cancel.clone(), Instant::now());
    // Nobody waits for it; it ends with the test.
    thread::spawn(move || {
        while began.elapsed() < LIMIT {
            thread::sleep(Duration::from_secs(1));
        }
        token.cancel();
    });
    cancel
}

/// What a dropped writer left to be done is done when nothing else is.
fn settle(runtime: &Runtime) {
    runtime.block_on(async {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    });
}

/// Fails unless the target has exactly what the source has.
#[track_caller]
pub(crate) fn assert_same(target: &MemoryTarget, what: &str) {
    for (table, mut expected) in tables() {
        let mut rows = rows(target, &table);
        rows.sort_unstable();
        expected.sort_unstable();
        assert_eq!(rows, expected, "{what}: {table}");
    }
    assert_eq!(target.completed(), Some(vec![sequence()]), "{what}");
}

/// Fails if the target has a row that the source does not have, or one of them twice.
#[track_caller]
pub(crate) fn assert_no_wrong_row(target: &MemoryTarget, what: &str) {
    for (table, expected) in tables() {
        let expected: BTreeSet<String> = expected.into_iter().collect();
        let rows = rows(target, &table);
        let distinct: BTreeSet<String> = rows.iter().cloned().collect();
        assert_eq!(rows.len(), distinct.len(), "{what}: {table} has rows twice");
        assert!(distinct.is_subset(&expected), "{what}: {table}: {rows:?}");
    }
    let sequences = target.completed();
    assert!(
        sequences.is_none() || sequences == Some(vec![sequence()]),
        "{what}: {sequences:?}"
    );
}

fn rows(target: &MemoryTarget, table: &TableId) -> Vec<String> {
    let rows = target.rows(table);
    let text = |row: Bytes| String::from_utf8(row.to_vec()).unwrap();
    rows.into_iter().map(text).collect()
}

/// What is damaged, by the spool's own account; nothing of the header.
pub(crate) fn damage(objects: &Arc<InMemory>, kind: Kind) -> Result<Vec<Damage>> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let spool = kind.spool(Arc::clone(objects) as _).await?;
        spool.check(|_| {}).await
    })
}

/// Fails if a manifest entry lists a file that is not there as a whole.
#[track_caller]
pub(crate) fn assert_undamaged(objects: &Arc<InMemory>, kind: Kind, what: &str) {
    let damage = damage(objects, kind).unwrap();
    assert!(damage.is_empty(), "{what}: {damage:?}");
}

/// All objects, by name.
pub(crate) fn dump(objects: &Arc<InMemory>) -> BTreeMap<String, Bytes> {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
        let mut all = BTreeMap::new();
        for meta in listed {
            let found = objects.get(&meta.location).await.unwrap();
            all.insert(meta.location.to_string(), found.bytes().await.unwrap());
        }
        all
    })
}

/// A store with these objects.
pub(crate) fn restore(all: &BTreeMap<String, Bytes>) -> Arc<InMemory> {
    let objects = Arc::new(InMemory::new());
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for (name, content) in all {
            let path = Path::from(name.as_str());
            objects.put(&path, content.clone().into()).await.unwrap();
        }
    });
    objects
}

/// Takes the signs of life of processes away that gave them until they were stopped. For others
/// that is as if they had watched them in vain for long enough.
pub(crate) fn bury(objects: &Arc<InMemory>) -> Arc<InMemory> {
    let mut all = dump(objects);
    all.retain(|name, _| !name.starts_with("workers/"));
    restore(&all)
}

/// Does something for each number at once, on several threads, for as long as it says that there
/// is more; at most so many times.
pub(crate) fn for_each(most: u64, work: impl Fn(u64) -> bool + Sync) -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    let (next, last) = (AtomicU64::new(1), AtomicU64::new(most));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number > last.load(Ordering::SeqCst) {
                        return;
                    }
                    if !work(number) {
                        last.fetch_min(number, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    last.load(Ordering::SeqCst)
}
