//! One attempt at a part: read it and write it at the same time, then commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use futures_util::TryStreamExt;
use pghaul_stage::{Batch, Error, Event, Kind, Mark, Part, Pass, Result, Side};

use crate::Cancel;
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
    /// The calling lane writes, a second thread reads. Whichever fails first cancels the other
    /// one, so neither is left waiting for a peer that will not come back. `complete` is set
    /// once the whole part was accepted and only the commit was still to come.
    pub(crate) fn attempt(&self, part: &Part, complete: &mut Option<Copied>) -> Result<Copied> {
        let token = self.stop.child();
        let (sender, receiver) = self.runner.link.open(&token);
        let (read, written) = thread::scope(|scope| {
            let token = &token;
            let reader = thread::Builder::new()
                .name("pghaul-reader".into())
                .spawn_scoped(scope, move || {
                    guard(token, || self.read(part, sender, token))
                })
                .map_err(|error| {
                    Error::new(Kind::Permanent, "cannot start a thread").because(error)
                })?;
            let written = guard(token, || self.write(part, receiver, token, complete));
            let read = reader.join().unwrap_or_else(|_| Err(panicked()));
            Ok((read, written))
        })?;
        match (read, written) {
            // The target knows the truth: what it has committed is done.
            (_, Ok(copied)) => Ok(copied),
            (Ok(()), Err(error)) => Err(error),
            (Err(read), Err(written)) => Err(root(read, written)),
        }
    }

    fn read(&self, part: &Part, sender: LinkSender, token: &Cancel) -> Result<()> {
        // Connections may only be dropped where their runtime can be found.
        let _context = self.runner.handle.enter();
        let mut meter = Meter::start(self, part, Side::Source);
        let source = &self.runner.source;
        let mut batches = meter.time(On::Source, || {
            self.wait(token, Side::Source, source.read(part, self.formats.read))
        })?;
        let mut mark = Mark::default();
        while let Some(batch) = meter.time(On::Source, || {
            self.wait(token, Side::Source, batches.try_next())
        })? {
            if batch.mark < mark {
                return Err(
                    Error::new(Kind::Protocol, "the mark of a batch went backwards")
                        .at(Side::Source),
                );
            }
            mark = batch.mark;
            meter.time(On::Link, || sender.send(batch))?;
        }
        sender.seal();
        Ok(())
    }

    fn write(
        &self,
        part: &Part,
        receiver: LinkReceiver,
        token: &Cancel,
        complete: &mut Option<Copied>,
    ) -> Result<Copied> {
        let mut meter = Meter::start(self, part, Side::Target);
        let target = &self.runner.target;
        let mut writer = meter.time(On::Target, || {
            self.wait(token, Side::Target, target.open(part, self.formats.write))
        })?;
        let mut passes = self.passes(part)?;
        let mut copied = Copied::default();
        while let Some((mut batch, permit)) = meter.time(On::Link, || receiver.recv())? {
            if !passes.is_empty() {
                batch = meter.time(On::Transforms, || self.transform(&mut passes, batch))?;
            }
            let (slice, rows, mark) = (batch.slice, batch.rows, batch.mark);
            let bytes = batch.payload.size() as u64;
            meter.time(On::Target, || {
                self.wait(token, Side::Target, writer.write(batch))
            })?;
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
        *complete = Some(copied);
        copied.mark = meter.time(On::Target, || {
            self.wait(token, Side::Target, writer.finish())
        })?;
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

/// Runs one side of an attempt; if it fails or panics, the other side is woken.
fn guard<T>(token: &Cancel, side: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = contain(side);
    if result.is_err() {
        token.cancel();
    }
    result
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
