//! Takes a plan from a source to a target.

use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pghaul_stage::{
    Catalog, Error, Event, Format, Kind, Mark, Observer, Part, PartId, Plan, Result, Side, Silent,
    Source, TableId, Target, Transform, Waits,
};
use tokio::runtime::Handle;

use crate::attempt::{Copied, contain};
use crate::cancel::cancelled;
use crate::loaded::Loaded;
use crate::{Cancel, Link, Retry, Summary};

/// How a [`Runner`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Parts that are copied at the same time; each takes two threads and one connection on
    /// either side.
    pub jobs: NonZeroUsize,
    /// How transient errors are retried.
    pub retry: Retry,
}

impl Default for Options {
    /// Four jobs.
    fn default() -> Self {
        Self {
            jobs: NonZeroUsize::MIN.saturating_add(3),
            retry: Retry::default(),
        }
    }
}

/// Moves all parts of a plan from a source, through transforms, to a target. A
/// [`Pipeline`](crate::Pipeline) puts one together.
///
/// ```
/// use std::sync::Arc;
///
/// use pghaul_relay::Runner;
/// use pghaul_stage::memory::{MemorySource, MemoryTarget};
/// use pghaul_stage::{Source, TableId};
///
/// let table = TableId::new("public", "greeting");
/// let source = Arc::new(MemorySource::new().table(table.clone(), ["1\thello", "2\tworld"]));
/// let target = Arc::new(MemoryTarget::new());
///
/// let runtime = tokio::runtime::Runtime::new().expect("a runtime");
/// let catalog = runtime.block_on(source.catalog())?;
/// let plan = runtime.block_on(source.plan())?;
/// let summary = Runner::new(source, target.clone(), runtime.handle().clone())
///     .run(&catalog, &plan)?;
///
/// assert_eq!(summary.rows, 2);
/// assert_eq!(target.rows(&table), ["1\thello", "2\tworld"]);
/// # Ok::<(), pghaul_stage::Error>(())
/// ```
pub struct Runner {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) target: Arc<dyn Target>,
    pub(crate) transforms: Vec<Arc<dyn Transform>>,
    pub(crate) link: Link,
    pub(crate) options: Options,
    observer: Arc<dyn Observer>,
    cancel: Cancel,
    pub(crate) handle: Handle,
}

impl Runner {
    /// A runner without transforms, with the default link and options, which nobody observes. All I/O
    /// runs on `handle`'s runtime, which must be a multi-threaded one.
    pub fn new(source: Arc<dyn Source>, target: Arc<dyn Target>, handle: Handle) -> Self {
        Self {
            source,
            target,
            transforms: Vec::new(),
            link: Link::default(),
            options: Options::default(),
            observer: Arc::new(Silent),
            cancel: Cancel::new(),
            handle,
        }
    }

    /// Adds a transform behind those already added.
    #[must_use]
    pub fn transform(mut self, transform: Arc<dyn Transform>) -> Self {
        self.transforms.push(transform);
        self
    }

    /// Sets what joins reading and writing; each part has such a link of its own.
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// Sets the options.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Sets who is told what happens; see [`Fanout`](crate::Fanout) for more than one.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Sets the token that stops the run.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Prepares the target, copies every part that is not durable there yet, and completes the
    /// target. Blocks; call it from a thread that is not one of the runtime's.
    ///
    /// Transient errors of a part are retried, up to [`Retry::attempts`] attempts. Any other
    /// error, and the last transient one, ends the run; the error returned is the cause, not a
    /// consequence. However the run ends, its threads have ended when this returns, and each
    /// part is on the target either whole or not at all. A run that was cancelled returns an
    /// error of [`Kind::Cancelled`]; a stage that panics is a permanent error.
    pub fn run(&self, catalog: &Catalog, plan: &Plan) -> Result<Summary> {
        contain(|| self.migrate(catalog, plan)).map_err(|error| match error.kind() {
            Kind::Input => error,
            _ => error.remedy("once the cause is removed, run again with --resume"),
        })
    }

    /// As [`Runner::run`], with the catalog and the plan that the source gives now. If its plan
    /// is the same each time, calling this again resumes: parts that are durable are not read.
    pub fn run_as_planned(&self) -> Result<Summary> {
        let ask = |error: Error| error.at(Side::Source);
        let (catalog, plan) = self.handle.block_on(self.cancel.until(async {
            let catalog = self.source.catalog().await.map_err(ask)?;
            Ok((catalog, self.source.plan().await.map_err(ask)?))
        }))?;
        self.run(&catalog, &plan)
    }

    fn migrate(&self, catalog: &Catalog, plan: &Plan) -> Result<Summary> {
        let started = Instant::now();
        let formats = self.agree()?;
        let run = Run {
            runner: self,
            catalog,
            formats,
            stop: self.cancel.child(),
            failure: Mutex::new(None),
            summary: Mutex::new(Summary::default()),
            loaded: Mutex::new(Loaded::new(&plan.parts)),
        };
        run.wait(&run.stop, Side::Target, self.target.prepare(catalog, plan))?;

        let copying = Instant::now();
        run.copy_parts(plan)?;
        let copying = copying.elapsed();

        let completing = Instant::now();
        let sequences = run.retried(Side::Source, || self.source.sequences())?;
        run.wait(&run.stop, Side::Target, self.target.complete(&sequences))?;

        let mut summary = run.lock(&run.summary).clone();
        summary.copying = copying;
        summary.completing = completing.elapsed();
        summary.elapsed = started.elapsed();
        Ok(summary)
    }

    /// The first format of the source that the transforms turn into one the target accepts.
    fn agree(&self) -> Result<Formats> {
        let accepted = self.target.formats();
        self.source
            .formats()
            .iter()
            .find_map(|&read| {
                let write = self
                    .transforms
                    .iter()
                    .try_fold(read, |format, transform| transform.output(format))?;
                accepted.contains(&write).then_some(Formats { read, write })
            })
            .ok_or_else(|| {
                Error::input("the source offers no format that the target accepts").at(Side::Link)
            })
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("transforms", &self.transforms.len())
            .field("options", &self.options)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

/// The format before and after the transforms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Formats {
    pub(crate) read: Format,
    pub(crate) write: Format,
}

/// What the lanes of one run share.
pub(crate) struct Run<'a> {
    pub(crate) runner: &'a Runner,
    pub(crate) catalog: &'a Catalog,
    pub(crate) formats: Formats,
    /// Cancelled by the operator, and by the first failure.
    pub(crate) stop: Cancel,
    failure: Mutex<Option<Error>>,
    summary: Mutex<Summary>,
    pub(crate) loaded: Mutex<Loaded<'a>>,
}

impl Run<'_> {
    fn copy_parts(&self, plan: &Plan) -> Result<()> {
        let marks = self.durable(&plan.parts)?;
        let mut durable = Vec::new();
        let mut pending = Vec::new();
        for (part, mark) in plan.parts.iter().zip(marks) {
            match mark {
                Some(mark) => durable.push((part, mark)),
                None => pending.push(part),
            }
        }
        let identifiers: Vec<PartId> = durable.iter().map(|(part, _)| part.id).collect();
        self.observe(&Event::Planned {
            parts: &plan.parts,
            durable: &identifiers,
        });
        self.lock(&self.summary).skipped = durable.len() as u64;
        for (part, mark) in &durable {
            self.confirm(part, *mark)?;
        }
        let complete: Vec<TableId> = {
            let mut loaded = self.lock(&self.loaded);
            durable
                .iter()
                .flat_map(|(part, _)| loaded.done(part))
                .collect()
        };
        self.tables_loaded(&complete)?;
        self.start_lanes(&pending);
        match self.lock(&self.failure).take() {
            Some(error) => Err(error),
            None if self.stop.is_cancelled() => Err(cancelled()),
            None => Ok(()),
        }
    }

    /// Copies the parts, in order as far as several lanes can; returns once all lanes ended.
    fn start_lanes(&self, parts: &[&Part]) {
        let lanes = self.runner.options.jobs.get().min(parts.len());
        let (queue, lane_queue) = crossbeam_channel::bounded(lanes);
        thread::scope(|scope| {
            for number in 1..=lanes {
                let queue = lane_queue.clone();
                let lane = thread::Builder::new()
                    .name(format!("pghaul-lane-{number}"))
                    .spawn_scoped(scope, move || self.lane(&queue));
                if let Err(error) = lane {
                    let failed = Error::new(Kind::Permanent, "cannot start a thread");
                    self.fail(failed.because(error).remedy("use fewer --jobs"));
                    return;
                }
            }
            // The lanes alone hold the queue's other end: when they stop, so does the feeding.
            drop(lane_queue);
            for part in parts {
                if queue.send(*part).is_err() {
                    return;
                }
            }
            drop(queue);
        });
    }

    /// Records the first failure and stops all lanes. Errors after that, or after the operator
    /// asked to stop, are consequences.
    pub(crate) fn fail(&self, error: Error) {
        let mut failure = self.lock(&self.failure);
        if !self.stop.is_cancelled() {
            *failure = Some(error);
        }
        self.stop.cancel();
    }

    pub(crate) fn durable(&self, parts: &[Part]) -> Result<Vec<Option<Mark>>> {
        let marks = self.retried(Side::Target, || self.runner.target.durable(parts))?;
        if marks.len() == parts.len() {
            Ok(marks)
        } else {
            let counts = format!("{} answers for {} parts", marks.len(), parts.len());
            Err(Error::new(Kind::Protocol, counts).at(Side::Target))
        }
    }

    pub(crate) fn confirm(&self, part: &Part, mark: Mark) -> Result<()> {
        self.retried(Side::Source, || self.runner.source.confirm(part, mark))
    }

    pub(crate) fn tables_loaded(&self, tables: &[TableId]) -> Result<()> {
        if tables.is_empty() {
            return Ok(());
        }
        self.wait(
            &self.stop,
            Side::Target,
            self.runner.target.tables_loaded(tables),
        )
    }

    pub(crate) fn observe(&self, event: &Event<'_>) {
        if let Event::PartRetried { part, error, pause } = event {
            tracing::warn!(%part, %error, ?pause, "the part will be tried again");
        }
        self.runner.observer.observe(event);
    }

    pub(crate) fn note_part(&self, copied: &Copied) {
        let mut summary = self.lock(&self.summary);
        summary.parts += 1;
        summary.rows += copied.rows;
        summary.bytes += copied.bytes;
    }

    pub(crate) fn note_retry(&self) {
        self.lock(&self.summary).retries += 1;
    }

    pub(crate) fn note_waits(&self, side: Side, waits: Waits, elapsed: Duration) {
        let mut summary = self.lock(&self.summary);
        let thread = match side {
            Side::Source => &mut summary.reading,
            _ => &mut summary.writing,
        };
        thread.waits += waits;
        thread.elapsed += elapsed;
    }

    /// Drives a future of a stage from this thread until it ends or `token` is cancelled.
    pub(crate) fn wait<T>(
        &self,
        token: &Cancel,
        side: Side,
        future: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.runner
            .handle
            .block_on(token.until(async { future.await.map_err(|error| error.at(side)) }))
    }

    /// Asks until the answer is something else than a transient error. For questions that
    /// change nothing when asked twice.
    fn retried<T, F>(&self, side: Side, ask: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let retry = self.runner.options.retry;
        let mut attempt = 1;
        loop {
            match self.wait(&self.stop, side, ask()) {
                Err(error) if error.is_transient() && attempt < retry.attempts => {
                    let pause = retry.pause(0, attempt);
                    tracing::warn!(%error, ?pause, "asking again");
                    self.stop.sleep(pause)?;
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }

    pub(crate) fn lock<'m, T>(&self, mutex: &'m Mutex<T>) -> MutexGuard<'m, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
