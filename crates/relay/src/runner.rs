//! Takes a plan from a source to a target.

use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pghaul_stage::{
    Catalog, Error, Event, Format, Kind, Mark, Observer, Part, PartId, Plan, Result, Side, Silent,
    Source, TableId, Target, Transform, Waits,
};
use tokio::runtime::Handle;

use crate::attempt::{Copied, contain};
use crate::cancel::cancelled;
use crate::loaded::Loaded;
use crate::{Cancel, Lanes, Link, Retry, Summary};

/// How a [`Runner`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Parts that are copied at the same time; each takes a thread that waits, two tasks of the
    /// runtime and one connection on either side. Without effect on a run that is given [`Lanes`].
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
#[derive(Clone)]
pub struct Runner {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) target: Arc<dyn Target>,
    pub(crate) transforms: Vec<Arc<dyn Transform>>,
    pub(crate) link: Link,
    pub(crate) options: Options,
    lanes: Option<Arc<Lanes>>,
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
            lanes: None,
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

    /// Copies in these lanes, together with whatever other runs have parts for them, instead of
    /// in lanes of its own.
    #[must_use]
    pub fn lanes(mut self, lanes: Arc<Lanes>) -> Self {
        self.lanes = Some(lanes);
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
    /// consequence. However the run ends, its tasks and threads have ended when this returns, and each
    /// part is on the target either whole or not at all. A run that was cancelled returns an
    /// error of [`Kind::Cancelled`]; a stage that panics is a permanent error.
    pub fn run(&self, catalog: &Catalog, plan: &Plan) -> Result<Summary> {
        contain(|| self.migrate(catalog, plan)).map_err(|error| match error.kind() {
            Kind::Input => error,
            _ => error.remedy("once the cause is removed, run again; what is durable is kept"),
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
        let run = Arc::new(Run {
            // The lanes hold the run, so the run must not hold them.
            runner: Runner {
                lanes: None,
                ..self.clone()
            },
            catalog: match self.transforms.as_slice() {
                [] => Catalog::default(),
                _ => catalog.clone(),
            },
            formats,
            stop: self.cancel.child(),
            failure: Mutex::new(None),
            summary: Mutex::new(Summary::default()),
            loaded: Mutex::new(Loaded::new(&plan.parts)),
        });
        run.wait(&run.stop, Side::Target, self.target.prepare(catalog, plan))?;

        let copying = Instant::now();
        run.copy_parts(plan, self.lanes.as_deref())?;
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

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("runner", &self.runner)
            .field("formats", &self.formats)
            .finish_non_exhaustive()
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
pub(crate) struct Run {
    pub(crate) runner: Runner,
    /// For the transforms; empty where there are none, because a catalog may be large.
    pub(crate) catalog: Catalog,
    pub(crate) formats: Formats,
    /// Cancelled by the operator, and by the first failure.
    pub(crate) stop: Cancel,
    failure: Mutex<Option<Error>>,
    summary: Mutex<Summary>,
    pub(crate) loaded: Mutex<Loaded>,
}

impl Run {
    fn copy_parts(self: &Arc<Self>, plan: &Plan, lanes: Option<&Lanes>) -> Result<()> {
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
        let pending: Vec<Part> = pending.into_iter().cloned().collect();
        let jobs =
            NonZeroUsize::new(pending.len()).map(|parts| self.runner.options.jobs.min(parts));
        match (lanes, jobs) {
            (Some(lanes), _) => lanes.copy(self, pending),
            (None, Some(jobs)) => Lanes::start(jobs)?.copy(self, pending),
            (None, None) => {}
        }
        match self.lock(&self.failure).take() {
            Some(error) => Err(error),
            None if self.stop.is_cancelled() => Err(cancelled()),
            None => Ok(()),
        }
    }

    /// Where its stages' connections live.
    pub(crate) fn handle(&self) -> &Handle {
        &self.runner.handle
    }

    /// Records the first failure and stops all lanes. Errors after that, or after the operator
    /// asked to stop, are consequences.
    pub(crate) fn fail(&self, part: &Part, error: Error) {
        let mut failure = self.lock(&self.failure);
        if !self.stop.is_cancelled() {
            self.observe(&Event::PartFailed {
                part,
                error: &error,
            });
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

    pub(crate) fn note_elsewhere(&self) {
        self.lock(&self.summary).elsewhere += 1;
    }

    pub(crate) fn note_retry(&self) {
        self.lock(&self.summary).retries += 1;
    }

    pub(crate) fn note_waits(&self, side: Side, waits: Waits, elapsed: Duration) {
        let mut summary = self.lock(&self.summary);
        let task = match side {
            Side::Source => &mut summary.reading,
            _ => &mut summary.writing,
        };
        task.waits += waits;
        task.elapsed += elapsed;
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
    pub(crate) fn retried<T, F>(&self, side: Side, ask: impl Fn() -> F) -> Result<T>
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
