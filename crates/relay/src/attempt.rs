//! One attempt at a part: read it and write it at the same time, then commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use futures_util::{FutureExt, TryStreamExt};
use pghaul_stage::{Batch, Error, Event, Kind, Mark, Part, Pass, Result, Side};
use tokio::task::{JoinError, block_in_place};

use crate::Cancel;
use crate::cancel::cancelled;
use crate::link::{LinkReceiver, LinkSender};
use crate::meter::{Meter, On};
use crate::runner::Run;

/// What the target accepted of a part.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Copied {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) mark: Mark,
}

impl Run {
    /// Copies a part once, with a fresh reader and a fresh writer.
    ///
    /// Both are tasks of the runtime, which hand a batch over without waking a thread each time,
    /// and the lane waits for them. Whichever fails first cancels the other one, so neither is
    /// left waiting for a peer that will not come back. `complete` is set once the whole part was
    /// accepted and only the commit was still to come.
    pub(crate) fn attempt(
        self: &Arc<Self>,
        part: &Part,
        complete: &mut Option<Copied>,
    ) -> Result<Copied> {
        let token = self.stop.child();
        let (sender, receiver) = self.runner.link.open(&token);
        let part = Arc::new(part.clone());
        let accepted = Arc::new(OnceLock::new());
        let reading = {
            let (run, part, token) = (Arc::clone(self), Arc::clone(&part), token.clone());
            async move { guard(&token, run.read(&part, sender, &token)).await }
        };
        let writing = {
            let (run, accepted) = (Arc::clone(self), Arc::clone(&accepted));
            async move { guard(&token, run.write(&part, receiver, &token, &accepted)).await }
        };
        let handle = self.handle();
        let (reading, writing) = (handle.spawn(reading), handle.spawn(writing));
        let (read, written) = handle.block_on(async { tokio::join!(reading, writing) });
        if let Some(accepted) = accepted.get() {
            *complete = Some(*accepted);
        }
        match (ended(read), ended(written)) {
            // The target knows the truth: what it has committed is done.
            (_, Ok(copied)) => Ok(copied),
            (Ok(()), Err(error)) => Err(error),
            (Err(read), Err(written)) => Err(root(read, written)),
        }
    }

    async fn read(&self, part: &Part, sender: LinkSender, token: &Cancel) -> Result<()> {
        let mut meter = Meter::start(self, part, Side::Source);
        let reading = self.runner.source.read(part, self.formats.read);
        let reading = meter.time(On::Source, until(token, Side::Source, reading));
        let mut batches = reading.await?;
        let mut mark = Mark::default();
        loop {
            let next = until(token, Side::Source, batches.try_next());
            let Some(batch) = meter.time(On::Source, next).await? else {
                break;
            };
            if batch.mark < mark {
                return Err(
                    Error::new(Kind::Protocol, "the mark of a batch went backwards")
                        .at(Side::Source),
                );
            }
            mark = batch.mark;
            meter.time(On::Link, sender.send(batch)).await?;
        }
        sender.seal();
        Ok(())
    }

    async fn write(
        &self,
        part: &Part,
        mut receiver: LinkReceiver,
        token: &Cancel,
        accepted: &OnceLock<Copied>,
    ) -> Result<Copied> {
        let mut meter = Meter::start(self, part, Side::Target);
        let opening = self.runner.target.open(part, self.formats.write);
        let opening = meter.time(On::Target, until(token, Side::Target, opening));
        let mut writer = opening.await?;
        let mut passes = self.passes(part)?;
        let mut copied = Copied::default();
        while let Some((mut batch, permit)) = meter.time(On::Link, receiver.recv()).await? {
            if !passes.is_empty() {
                let transformed = async { block_in_place(|| self.transform(&mut passes, batch)) };
                batch = meter.time(On::Transforms, transformed).await?;
            }
            let (slice, rows, mark) = (batch.slice, batch.rows, batch.mark);
            let bytes = batch.payload.size() as u64;
            let writing = until(token, Side::Target, writer.write(batch));
            meter.time(On::Target, writing).await?;
            drop(permit);
            copied.rows += rows;
            copied.bytes += bytes;
            copied.mark = mark;
            self.observe(&Event::PartProgress {
                part: part.id,
                slice,
                rows,
                bytes,
            });
        }
        for pass in &mut passes {
            pass.finish()?;
        }
        accepted.get_or_init(|| copied);
        let finishing = until(token, Side::Target, writer.finish());
        copied.mark = meter.time(On::Target, finishing).await?;
        Ok(copied)
    }

    /// A fresh pass of every transform.
    fn passes(&self, part: &Part) -> Result<Vec<Box<dyn Pass>>> {
        let transforms = self.runner.transforms.iter();
        let passes = transforms.map(|transform| transform.open(&self.catalog, part));
        passes.collect()
    }

    fn transform(&self, passes: &mut [Box<dyn Pass>], mut batch: Batch) -> Result<Batch> {
        let (slice, mark) = (batch.slice, batch.mark);
        for pass in passes {
            batch = pass.apply(batch)?;
        }
        let agreed = batch.payload.format() == self.formats.write;
        if agreed && (slice, mark) == (batch.slice, batch.mark) {
            Ok(batch)
        } else {
            let message = "a transform changed a batch's slice or mark, or left its format";
            Err(Error::new(Kind::Protocol, message).at(Side::Link))
        }
    }
}

/// Drives one side of an attempt; if it fails or panics, the other side is woken.
async fn guard<T>(token: &Cancel, side: impl Future<Output = Result<T>>) -> Result<T> {
    // What the side leaves half-changed is dropped with the attempt.
    let result = AssertUnwindSafe(side).catch_unwind().await;
    let result = result.unwrap_or_else(|_| Err(panicked()));
    if result.is_err() {
        token.cancel();
    }
    result
}

/// Waits for a stage until the token is cancelled.
async fn until<T>(
    token: &Cancel,
    side: Side,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    // What was asked to stop begins nothing new, even if it need not wait for it.
    if token.is_cancelled() {
        return Err(cancelled());
    }
    let located = async { future.await.map_err(|error| error.at(side)) };
    token.until(located).await
}

/// What a task ended with; one that was not driven to its end lost its runtime.
fn ended<T>(task: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    task.unwrap_or_else(|error| {
        let ended = Error::new(Kind::Cancelled, "the runtime ended before the part");
        Err(ended.because(error))
    })
}

/// Turns a panic into an error, so that a bug in a stage ends the run instead of hanging it.
pub(crate) fn contain<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // What the closure leaves half-changed is dropped with the attempt.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> Error {
    Error::new(
        Kind::Permanent,
        "a stage panicked; standard error says where",
    )
    .remedy("this is a bug: report it with the lines printed on standard error")
}

/// The one of two errors that explains the other.
fn root(read: Error, written: Error) -> Error {
    let rank = |error: &Error| match error.kind() {
        Kind::Cancelled => 3,
        Kind::Protocol if error.side() == Some(Side::Link) => 2,
        // Both are causes: the one that no retry cures decides.
        Kind::Transient => 1,
        _ => 0,
    };
    if rank(&read) < rank(&written) {
        read
    } else {
        written
    }
}
