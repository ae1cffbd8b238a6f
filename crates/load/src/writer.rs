//! Writes one part: its rows and the record that they are there commit together.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pghaul_stage::{
    Batch, Encoding, Error, Kind, Mark, Observer, Part, PartId, Payload, Result, Selection, Side,
    Untranslatable, Work, Writer,
};
use pghaul_wire::{CopyIn, Lane};

use crate::config::Config;
use crate::copy::{EMPTY, Script};
use crate::extension_table::{self, Filled};
use crate::fence::{self, Registration};
use crate::large_object;
use crate::large_row::{self, Join};
use crate::ledger::{Durable, Ledger};
use crate::pool::{Pool, Session};
use crate::session::fenced;

/// How often a writer ends stale sessions before it gives up.
const ATTEMPTS: u32 = 3;

/// What all writers of a target share.
pub(crate) struct Desk {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) config: Config,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) selection: Selection,
}

/// Writes one part. Dropped before the end, it closes its session, and the server rolls back.
pub(crate) struct PartWriter {
    desk: Arc<Desk>,
    part: PartId,
    subject: String,
    large_objects: bool,
    stream: Stream,
    registration: Registration,
    /// The database's encoding.
    encoding: String,
    slices: Vec<Slice>,
    joins: Vec<Join>,
    filled: Vec<Filled>,
    current: usize,
    bytes: u64,
    mark: Mark,
}

/// What has arrived of one slice.
struct Slice {
    encoding: Encoding,
    /// Whether rows end in it, so that batches count them.
    ends: bool,
    rows: u64,
    begun: bool,
}

/// The session, during COPY or without any.
enum Stream {
    Copy(CopyIn),
    None(Lane),
}

impl PartWriter {
    /// Opens the part's record and its COPY.
    pub(crate) async fn open(desk: Arc<Desk>, part: &Part, script: Script) -> Result<PartWriter> {
        let subject = subject(part);
        let Session { lane, registration } = begin(&desk, part.id, &script.before)
            .await
            .map_err(|error| error.on(&*subject))?;
        let encoding = lane
            .parameter("server_encoding")
            .unwrap_or_default()
            .to_owned();
        let stream = if script.streams.is_empty() {
            Stream::None(lane)
        } else {
            let copy = lane.copy_in(&script.copy).await;
            Stream::Copy(copy.map_err(|error| error.on(&*subject))?)
        };
        let slices = script
            .streams
            .into_iter()
            .enumerate()
            .map(|(number, encoding)| Slice {
                encoding,
                ends: !script.unfinished.contains(&number),
                rows: 0,
                begun: false,
            })
            .collect();
        Ok(PartWriter {
            desk,
            part: part.id,
            subject,
            large_objects: matches!(part.work, Work::LargeObjects { .. }),
            stream,
            registration,
            encoding,
            slices,
            joins: script.joins,
            filled: script.filled,
            current: 0,
            bytes: 0,
            mark: Mark::default(),
        })
    }

    async fn accept(&mut self, batch: Batch) -> Result<()> {
        let at = usize::try_from(batch.slice).unwrap_or(usize::MAX);
        if at < self.current || at >= self.slices.len() || batch.mark < self.mark {
            return Err(Error::new(Kind::Protocol, "a batch out of order").at(Side::Link));
        }
        let Payload::Copy(bytes) = batch.payload else {
            return Err(Error::new(Kind::Protocol, "a batch that is not COPY").at(Side::Link));
        };
        self.advance(at).await?;
        if let Some(slice) = self.slices.get_mut(at) {
            slice.rows += batch.rows;
            slice.begun |= !bytes.is_empty();
        }
        self.bytes += bytes.len() as u64;
        self.mark = batch.mark;
        if let (Stream::Copy(copy), false) = (&mut self.stream, bytes.is_empty()) {
            copy.send(bytes).await?;
        }
        Ok(())
    }

    /// Ends the streams of all slices before `to`.
    async fn advance(&mut self, to: usize) -> Result<()> {
        let Stream::Copy(copy) = &mut self.stream else {
            return Ok(());
        };
        while self.current < to {
            if let Some(slice) = self.slices.get(self.current) {
                // A table without rows may come without a byte, which binary COPY refuses.
                if !slice.begun && slice.encoding == Encoding::Binary {
                    copy.send(Bytes::from_static(EMPTY)).await?;
                }
                copy.done().await?;
            }
            self.current += 1;
        }
        Ok(())
    }

    async fn commit(mut self) -> Result<Mark> {
        self.advance(self.slices.len()).await?;
        let mut lane = match self.stream {
            Stream::None(lane) => lane,
            Stream::Copy(copy) => {
                let (mut lane, counts) = copy.finish().await?;
                compare(&self.slices, &counts)?;
                large_row::insert(&mut lane, &self.joins, &counts).await?;
                extension_table::fill(&mut lane, &self.filled, &*self.desk.observer).await?;
                lane
            }
        };
        if self.large_objects {
            let desk = &self.desk;
            large_object::create(&mut lane, &*desk.observer, &desk.selection).await?;
        }
        let durable = Durable {
            rows: self.slices.iter().map(|slice| slice.rows).sum(),
            bytes: self.bytes,
            mark: self.mark,
        };
        let end = self.desk.ledger.end_sql(self.part, &durable);
        let tags = lane
            .execute(&format!("{end}; COMMIT"))
            .await
            .map_err(fenced)?;
        if tags.last().map(String::as_str) != Some("COMMIT") {
            return Err(
                Error::new(Kind::Protocol, "the transaction did not commit").at(Side::Target)
            );
        }
        self.desk.pool.put(Session {
            lane,
            registration: self.registration,
        });
        Ok(self.mark)
    }
}

#[async_trait]
impl Writer for PartWriter {
    async fn write(&mut self, batch: Batch) -> Result<()> {
        self.accept(batch)
            .await
            .map_err(|error| explained(error, &self.encoding).on(&*self.subject))
    }

    async fn flush(&mut self) -> Result<Option<Mark>> {
        Ok(None)
    }

    async fn finish(self: Box<Self>) -> Result<Mark> {
        let (subject, encoding) = (self.subject.clone(), self.encoding.clone());
        let committed = self.commit().await;
        committed.map_err(|error| explained(error, &encoding).on(subject))
    }
}

/// A session with an open transaction that holds the part's record.
async fn begin(desk: &Desk, part: PartId, before: &str) -> Result<Session> {
    let statements = format!(
        "BEGIN; SET LOCAL lock_timeout = {}; {}; SET LOCAL lock_timeout = 0",
        desk.config.lock_timeout.as_millis(),
        desk.ledger.begin_sql(part),
    );
    let idle = desk.pool.idle();
    let mut used = idle.is_some();
    let mut session = match idle {
        Some(session) => session,
        None => desk.pool.connect().await?,
    };
    let mut attempt = 0;
    loop {
        let error = match session.lane.execute(&statements).await {
            Ok(tags) if tags.iter().any(|tag| tag == "INSERT 0 1") => {
                session.registration.writes(Some(part));
                // Not before the record is ours: a stale run would wait for its successor here.
                if !before.is_empty() {
                    session.lane.execute(before).await?;
                }
                return Ok(session);
            }
            Ok(_) => {
                return Err(
                    Error::new(Kind::Fenced, "another run has taken over this migration")
                        .at(Side::Target),
                );
            }
            Err(error) => error,
        };
        match error.code() {
            Some("23505") => {
                return Err(Error::new(Kind::Fenced, "the part is already durable")
                    .at(Side::Target)
                    .because(error));
            }
            Some("55P03") if attempt < ATTEMPTS => {
                attempt += 1;
                session.lane.execute("ROLLBACK").await?;
                release(desk, part, error).await?;
            }
            // The server may have ended an idle session long ago.
            _ if used && error.is_transient() => {
                used = false;
                session = desk.pool.connect().await?;
            }
            _ => return Err(error),
        }
    }
}

/// Ends the stale session that holds a part's record.
async fn release(desk: &Desk, part: PartId, error: Error) -> Result<()> {
    let client = desk.ledger.session().await?;
    client
        .batch_execute(&desk.ledger.fence_sql())
        .await
        .map_err(crate::session::failed)?;
    let patience = desk.config.fence_timeout;
    let ended = fence::release(&client, &desk.ledger, part, desk.pool.live(), patience).await?;
    tracing::info!(ended, "ended stale sessions");
    if ended > 0 { Ok(()) } else { Err(error) }
}

fn subject(part: &Part) -> String {
    match &part.work {
        Work::Rows(_) => format!("table {part} (part {})", part.id),
        _ => format!("{part} (part {})", part.id),
    }
}

/// Adds the cause of an error of invalid bytes or of characters that the encoding does not have.
fn explained(error: Error, encoding: &str) -> Error {
    if matches!(error.code(), Some("22021" | "22P05")) {
        let encoding = encoding.to_owned();
        error.because(Untranslatable { encoding })
    } else {
        error
    }
}

/// Compares the rows that were sent with those that the server stored.
fn compare(slices: &[Slice], stored: &[u64]) -> Result<()> {
    let mut sent: Vec<u64> = slices.iter().map(|slice| slice.rows).collect();
    // Rows end with their last columns; as many must have begun.
    for (at, slice) in slices.iter().enumerate().rev() {
        if !slice.ends
            && let Some(rows) = sent.get(at + 1).copied()
            && let Some(unfinished) = sent.get_mut(at)
        {
            *unfinished = rows;
        }
    }
    if sent == stored {
        return Ok(());
    }
    let at = sent
        .iter()
        .zip(stored)
        .position(|(sent, stored)| sent != stored);
    let count = |counts: &[u64]| {
        at.and_then(|at| counts.get(at))
            .copied()
            .unwrap_or_default()
    };
    Err(Error::new(
        Kind::Mismatch,
        format!(
            "slice {}: the source sent {} rows, the target stored {}",
            at.unwrap_or_default(),
            count(&sent),
            count(stored)
        ),
    )
    .at(Side::Target))
}
