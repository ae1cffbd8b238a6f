//! A runner between memory and memory, where every call into a stage can be made to fail,
//! stall or panic.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::future::pending;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt;
use pghaul_relay::{Cancel, Lanes, Link, Options, Retry, Runner, Summary};
use pghaul_stage::memory::{MemorySource, MemoryTarget};
use pghaul_stage::{
    Batch, Batches, Catalog, Error, Format, Kind, Mark, Observer, Part, PartId, Plan, Result,
    SequenceValue, Silent, Source, SourceLayer, TableId, Target, TargetLayer, Transform, Writer,
};
use tokio::runtime::Runtime;

/// What the runtime's threads are called.
const RUNTIME: &str = "runtime";

/// A call into a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Point {
    Prepare,
    Durable,
    Read,
    Batch,
    Confirm,
    Sequences,
    Open,
    Write,
    Finish,
    /// The commit took place, but its reply has not arrived yet.
    Committed,
    TablesLoaded,
    Complete,
}

pub(crate) const POINTS: [Point; 12] = [
    Point::Prepare,
    Point::Durable,
    Point::Read,
    Point::Batch,
    Point::Confirm,
    Point::Sequences,
    Point::Open,
    Point::Write,
    Point::Finish,
    Point::Committed,
    Point::TablesLoaded,
    Point::Complete,
];

/// What becomes of a call.
#[derive(Debug)]
pub(crate) enum Fate {
    Go,
    Fail(Kind),
    Stall,
    Panic,
}

type Hook = Arc<dyn Fn(Point, Option<PartId>) -> Fate + Send + Sync>;

/// Everything a run needs.
pub(crate) struct Rig {
    runtime: Runtime,
    pub(crate) source: Arc<MemorySource>,
    pub(crate) target: MemoryTarget,
    pub(crate) options: Options,
    pub(crate) link: Link,
    pub(crate) cancel: Cancel,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) transform: Option<Arc<dyn Transform>>,
    /// Commits show late: the first question about each single part is answered with "not
    /// durable", whatever is true.
    pub(crate) late: bool,
    /// Whether the source always knows another form of a part.
    pub(crate) forms: bool,
    /// Lanes that it shares with others.
    pub(crate) lanes: Option<Arc<Lanes>>,
    /// How often a lane left it, by side.
    pub(crate) left: Arc<[AtomicU32; 2]>,
    hook: Hook,
}

impl Rig {
    pub(crate) fn new(source: MemorySource) -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name(RUNTIME)
                .build()
                .expect("a runtime"),
            source: Arc::new(source),
            target: MemoryTarget::new(),
            options: Options {
                jobs: NonZeroUsize::MIN.saturating_add(2),
                retry: Retry {
                    attempts: 5,
                    first: Duration::from_micros(100),
                    limit: Duration::from_millis(1),
                },
            },
            link: Link::Channel { bytes: 64 },
            cancel: Cancel::new(),
            observer: Arc::new(Silent),
            transform: None,
            late: false,
            forms: false,
            lanes: None,
            left: Arc::default(),
            hook: Arc::new(|_, _| Fate::Go),
        }
    }

    pub(crate) fn hook(
        &mut self,
        hook: impl Fn(Point, Option<PartId>) -> Fate + Send + Sync + 'static,
    ) {
        self.hook = Arc::new(hook);
    }

    /// Lets the call number `from` (counted from 0) of this kind meet this fate, and `count - 1`
    /// further ones.
    pub(crate) fn at(
        &mut self,
        point: Point,
        from: u32,
        count: u32,
        fate: impl Fn() -> Fate + Send + Sync + 'static,
    ) {
        let calls = AtomicU32::new(0);
        self.hook(move |at, _| {
            if at != point {
                return Fate::Go;
            }
            let call = calls.fetch_add(1, Ordering::SeqCst);
            if call >= from && call - from < count {
                fate()
            } else {
                Fate::Go
            }
        });
    }

    pub(crate) fn plan(&self) -> Plan {
        self.runtime
            .block_on(self.source.plan())
            .expect("memory has a plan")
    }

    /// Runs once. A run that takes too long, or leaves a thread or a task behind, fails the test.
    pub(crate) fn run(&self) -> Result<Summary> {
        let catalog = self.runtime.block_on(self.source.catalog())?;
        let plan = self.plan();
        let threads = Arc::new(AtomicU32::new(0));
        let hook: Hook = {
            let (threads, hook) = (Arc::clone(&threads), Arc::clone(&self.hook));
            Arc::new(move |point, part| {
                Alive::enter(&threads);
                hook(point, part)
            })
        };
        let source = HookedSource {
            inner: Arc::clone(&self.source),
            forms: self.forms,
            left: Arc::clone(&self.left),
            hook: Arc::clone(&hook),
        };
        let target = HookedTarget {
            inner: self.target.clone(),
            late: self.late,
            asked: Mutex::default(),
            left: Arc::clone(&self.left),
            hook,
        };
        let mut runner = Runner::new(
            Arc::new(source),
            Arc::new(target),
            self.runtime.handle().clone(),
        )
        .options(self.options)
        .link(self.link.clone())
        .observer(Arc::clone(&self.observer))
        .cancel(self.cancel.clone());
        if let Some(lanes) = &self.lanes {
            runner = runner.lanes(Arc::clone(lanes));
        }
        if let Some(transform) = &self.transform {
            runner = runner.transform(Arc::clone(transform));
        }
        let result = within(Duration::from_secs(60), move || runner.run(&catalog, &plan));
        let limit = Instant::now() + Duration::from_secs(20);
        // Shared lanes live on with the others.
        let metrics = self.runtime.metrics();
        while metrics.num_alive_tasks() > 0
            || self.lanes.is_none() && threads.load(Ordering::SeqCst) > 0
        {
            assert!(
                Instant::now() < limit,
                "a thread or a task outlives its run"
            );
            thread::sleep(Duration::from_millis(1));
        }
        result
    }

    /// Fails the test unless source and target hold the same, and everything was done once.
    pub(crate) fn assert_complete(&self) {
        let plan = self.plan();
        let mut tables = Vec::new();
        for slice in plan.parts.iter().flat_map(Part::slices) {
            if !tables.contains(&slice.table) {
                tables.push(slice.table.clone());
            }
        }
        for table in &tables {
            let (mut expected, mut found) = (self.source.rows(table), self.target.rows(table));
            expected.sort();
            found.sort();
            assert_eq!(expected, found, "{table}");
        }
        assert_eq!(self.source.confirmed(), self.target.marks());
        assert_eq!(self.target.marks().len(), plan.parts.len());
        assert!(self.target.completed().is_some());
    }

    /// The tables in the order they were loaded, none twice.
    pub(crate) fn assert_loaded_once(&self) {
        let mut loaded = self.target.loaded();
        let count = loaded.len();
        loaded.sort();
        loaded.dedup();
        assert_eq!(loaded.len(), count, "a table was declared loaded twice");
        let plan = self.plan();
        let slices = plan.parts.iter().flat_map(Part::slices);
        assert!(
            slices
                .map(|slice| &slice.table)
                .all(|table| loaded.contains(table))
        );
    }
}

/// A small database with everything: tables in several parts, several tables in a part, an
/// empty one; batches that end inside rows.
pub(crate) fn database() -> MemorySource {
    let mut source = MemorySource::new()
        .table(table("large"), numbers(200))
        .table(table("middle"), numbers(41))
        .sequence(SequenceValue {
            id: table("sequence"),
            last_value: 7,
            is_called: true,
        });
    for number in 0..10 {
        source = source.table(table(&format!("small_{number}")), numbers(number));
    }
    source.rows_per_part(20).tables_per_part(4).batch_bytes(17)
}

pub(crate) fn table(name: &str) -> TableId {
    TableId::new("public", name)
}

pub(crate) fn numbers(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("{number}\tvalue {number}"))
}

/// The result of `work`, or a failed test if it takes longer.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, wait) = mpsc::channel();
    let worker = thread::spawn(move || {
        // Nobody listens any more if the time is over.
        let _late = done.send(work()).is_err();
    });
    match wait.recv_timeout(limit) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("it sends before it ends"),
        },
    }
}

/// Counts a thread of ours from its first call into a stage until it ends.
struct Alive(Arc<AtomicU32>);

impl Alive {
    fn enter(threads: &Arc<AtomicU32>) {
        if thread::current().name() == Some(RUNTIME) {
            return;
        }
        thread_local!(static THIS: OnceCell<Alive> = const { OnceCell::new() });
        THIS.with(|this| {
            this.get_or_init(|| {
                threads.fetch_add(1, Ordering::SeqCst);
                Alive(Arc::clone(threads))
            });
        });
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn meet(hook: &Hook, point: Point, part: Option<PartId>) -> Result<()> {
    match hook(point, part) {
        Fate::Go => Ok(()),
        Fate::Fail(kind) => Err(Error::new(kind, format!("failed at {point:?}"))),
        Fate::Stall => pending().await,
        Fate::Panic => panic!("panicked at {point:?}, as the test asked"),
    }
}

struct HookedSource {
    inner: Arc<MemorySource>,
    forms: bool,
    left: Arc<[AtomicU32; 2]>,
    hook: Hook,
}

struct HookedTarget {
    inner: MemoryTarget,
    late: bool,
    asked: Mutex<HashSet<PartId>>,
    left: Arc<[AtomicU32; 2]>,
    hook: Hook,
}

struct HookedWriter {
    inner: Box<dyn Writer>,
    part: PartId,
    hook: Hook,
    _connection: Connection,
}

#[async_trait]
impl SourceLayer for HookedSource {
    fn inside(&self) -> &dyn Source {
        &*self.inner
    }

    async fn read(&self, part: &Part, format: Format) -> Result<Batches> {
        meet(&self.hook, Point::Read, Some(part.id)).await?;
        let (hook, id, connection) = (Arc::clone(&self.hook), part.id, Connection);
        let batches = self.inner.read(part, format).await?;
        Ok(batches
            .then(move |batch| {
                let _open = &connection;
                let hook = Arc::clone(&hook);
                async move {
                    meet(&hook, Point::Batch, Some(id)).await?;
                    batch
                }
            })
            .boxed())
    }

    async fn reconsider(&self, part: &Part, error: Error) -> Result<Part> {
        if !self.forms {
            return Err(error);
        }
        Ok(Part {
            bytes: part.bytes + 1,
            ..part.clone()
        })
    }

    async fn confirm(&self, part: &Part, durable: Mark) -> Result<()> {
        meet(&self.hook, Point::Confirm, Some(part.id)).await?;
        self.inner.confirm(part, durable).await
    }

    async fn sequences(&self) -> Result<Vec<SequenceValue>> {
        meet(&self.hook, Point::Sequences, None).await?;
        self.inner.sequences().await
    }

    fn lane_left(&self) {
        drop(Connection);
        self.left[0].fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl TargetLayer for HookedTarget {
    fn inside(&self) -> &dyn Target {
        &self.inner
    }

    async fn prepare(&self, catalog: &Catalog, plan: &Plan) -> Result<()> {
        meet(&self.hook, Point::Prepare, None).await?;
        self.inner.prepare(catalog, plan).await
    }

    async fn durable(&self, parts: &[Part]) -> Result<Vec<Option<Mark>>> {
        meet(&self.hook, Point::Durable, None).await?;
        if let [part] = parts
            && self.late
            && self.asked.lock().expect("a set").insert(part.id)
        {
            return Ok(vec![None]);
        }
        self.inner.durable(parts).await
    }

    async fn open(&self, part: &Part, format: Format) -> Result<Box<dyn Writer>> {
        meet(&self.hook, Point::Open, Some(part.id)).await?;
        Ok(Box::new(HookedWriter {
            inner: self.inner.open(part, format).await?,
            part: part.id,
            hook: Arc::clone(&self.hook),
            _connection: Connection,
        }))
    }

    async fn tables_loaded(&self, tables: &[TableId]) -> Result<()> {
        meet(&self.hook, Point::TablesLoaded, None).await?;
        self.inner.tables_loaded(tables).await
    }

    async fn complete(&self, sequences: &[SequenceValue]) -> Result<()> {
        meet(&self.hook, Point::Complete, None).await?;
        self.inner.complete(sequences).await
    }

    fn lane_left(&self) {
        drop(Connection);
        self.left[1].fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Writer for HookedWriter {
    async fn write(&mut self, batch: Batch) -> Result<()> {
        meet(&self.hook, Point::Write, Some(self.part)).await?;
        self.inner.write(batch).await
    }

    async fn flush(&mut self) -> Result<Option<Mark>> {
        self.inner.flush().await
    }

    async fn finish(self: Box<Self>) -> Result<Mark> {
        meet(&self.hook, Point::Finish, Some(self.part)).await?;
        let mark = self.inner.finish().await?;
        meet(&self.hook, Point::Committed, Some(self.part)).await?;
        Ok(mark)
    }
}

/// A connection closes with the help of its runtime, so it panics when dropped elsewhere.
struct Connection;

impl Drop for Connection {
    fn drop(&mut self) {
        drop(tokio::runtime::Handle::current());
    }
}
