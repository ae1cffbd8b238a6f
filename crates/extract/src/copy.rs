//! Reads parts: lanes that adopt the snapshot, and streams of exact row counts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use pghaul_stage::{
    Batch, Encoding, Error, Kind, Mark, Part, Payload, Range, Result, Side, Slice, Work,
};
use pghaul_wire::quote::literal;
use pghaul_wire::{Conninfo, CopyEvent, CopyOut, Lane};

use crate::catalog::Inventory;
use crate::large::Weights;
use crate::snapshot::Snapshot;
use crate::statement::{object_metadata, object_pages, slice};

/// How long a lane waits for a table's lock. Nobody can have locked it against us, but a request
/// for such a lock, which waits for the holder of the snapshot, keeps later ones like ours out.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Connections that are between two parts.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Lane>>);

impl Pool {
    /// An idle lane, or a new one.
    async fn take(&self, info: &Conninfo) -> Result<Lane> {
        // The lock must be gone before anything is awaited.
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(lane) => Ok(lane),
            None => Lane::connect(info, Side::Source).await,
        }
    }

    fn put(&self, lane: Lane) {
        if lane.is_healthy() {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(lane);
        }
    }

    /// Closes one idle lane.
    pub(crate) fn shrink(&self) {
        let lane = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        drop(lane);
    }

    /// Closes all idle lanes.
    pub(crate) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// One COPY statement of a part.
struct Statement {
    sql: String,
    encoding: Encoding,
    /// Whether rows end in it.
    ends: bool,
    /// What it reads, for errors.
    subject: String,
}

/// Starts reading a part.
///
/// Everything goes as one query: a transaction that adopts the snapshot, a COPY per slice, and
/// COMMIT, so a part costs one round trip and leaves no lock behind.
pub(crate) async fn read(
    info: &Conninfo,
    pool: Arc<Pool>,
    snapshot: Arc<Snapshot>,
    inventory: &Inventory,
    part: &Part,
) -> Result<BoxStream<'static, Result<Batch>>> {
    let statements = statements(inventory, part)?;
    if statements.is_empty() {
        return Ok(stream::empty().boxed());
    }
    snapshot.check()?;
    let lane = pool.take(info).await?;
    let mut sql = String::new();
    if lane.server_version() >= 140_000 {
        // Outside of transactions, this is the timeout that could end an idle lane.
        sql.push_str("SET idle_session_timeout = 0; ");
    }
    sql.push_str(&snapshot.import());
    sql.push_str(&format!(
        " SET LOCAL lock_timeout = {};",
        LOCK_WAIT.as_millis()
    ));
    let encoding = &inventory.catalog.database.encoding;
    if encoding != "UTF8" {
        // Values leave the server as they lie there. It takes effect after this whole query has
        // been read, so the identifiers in it are still understood as UTF-8.
        sql.push_str(" SET LOCAL client_encoding = ");
        sql.push_str(&literal(encoding));
        sql.push(';');
    }
    for statement in &statements {
        sql.push(' ');
        sql.push_str(&statement.sql);
        sql.push(';');
    }
    sql.push_str(" COMMIT");
    let reading = Reading {
        copy: Some(lane.copy_out(&sql).await?),
        pool,
        snapshot,
        info: info.clone(),
        statements,
        current: 0,
        messages: 0,
        mark: 0,
        held: None,
    };
    Ok(stream::unfold(reading, |mut reading| async move {
        let next = reading.next().await.transpose()?;
        Some((next, reading))
    })
    .boxed())
}

fn statements(inventory: &Inventory, part: &Part) -> Result<Vec<Statement>> {
    match &part.work {
        Work::Rows(slices) => slices.iter().map(|slice| rows(inventory, slice)).collect(),
        Work::LargeObjects { from, to } => {
            let binary = |sql| Statement {
                sql,
                encoding: Encoding::Binary,
                ends: true,
                subject: part.to_string(),
            };
            let readable = inventory.large_objects.readable;
            Ok(vec![
                binary(object_metadata(*from, *to)),
                binary(object_pages(*from, *to, readable, inventory.block_size)),
            ])
        }
        _ => Err(
            Error::new(Kind::Permanent, "this source cannot read such a part")
                .at(Side::Source)
                .on(part.to_string()),
        ),
    }
}

fn rows(inventory: &Inventory, wanted: &Slice) -> Result<Statement> {
    let subject = format!("table {}{}", wanted.table, wanted.range);
    let Some((table, facts)) = inventory.table(&wanted.table) else {
        return Err(
            Error::new(Kind::Identity, "the plan names a table that does not exist")
                .at(Side::Source)
                .on(subject)
                .remedy("start a new migration: the source's tables are not those of the plan"),
        );
    };
    if matches!(wanted.range, Range::Blocks { .. }) && !facts.heap {
        return Err(Error::new(
            Kind::Identity,
            "the table's rows no longer lie in heap blocks",
        )
        .at(Side::Source)
        .on(subject));
    }
    Ok(Statement {
        sql: slice(table, wanted, &Weights::new(table, facts, &inventory.types)),
        encoding: wanted.encoding,
        ends: wanted.shape.ends_rows(),
        subject,
    })
}

/// A part being read. Dropping it closes the connection and cancels the statement.
struct Reading {
    /// `None` once it has ended, well or not.
    copy: Option<CopyOut>,
    pool: Arc<Pool>,
    snapshot: Arc<Snapshot>,
    info: Conninfo,
    statements: Vec<Statement>,
    /// The statement whose rows come now.
    current: usize,
    /// Messages of that statement so far.
    messages: u64,
    /// Bytes so far.
    mark: u64,
    /// The last batch, held back until it is known whether it carries the end of its statement.
    held: Option<Batch>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Batch>> {
        while let Some(copy) = &mut self.copy {
            match copy.next().await {
                Ok(Some(CopyEvent::Data { bytes, rows })) => {
                    self.messages += rows;
                    self.mark += bytes.len() as u64;
                    let ends = self
                        .statements
                        .get(self.current)
                        .is_some_and(|one| one.ends);
                    let batch = Batch {
                        slice: u32::try_from(self.current).unwrap_or(u32::MAX),
                        payload: Payload::Copy(bytes),
                        rows: if ends { rows } else { 0 },
                        mark: Mark(self.mark),
                    };
                    if let Some(ready) = self.held.replace(batch) {
                        return Ok(Some(ready));
                    }
                }
                Ok(Some(CopyEvent::Done { rows })) => {
                    let last = self.settle(rows)?;
                    if last.is_some() {
                        return Ok(last);
                    }
                }
                Ok(None) => {
                    let lane = self.copy.take().map(CopyOut::into_lane).transpose()?;
                    if self.current != self.statements.len() {
                        return Err(self.broken("the server ended before every COPY was complete"));
                    }
                    if let Some(lane) = lane {
                        self.pool.put(lane);
                    }
                }
                Err(error) => {
                    self.copy = None;
                    return Err(self.failed(error).await);
                }
            }
        }
        Ok(None)
    }

    /// Ends a statement: the messages must be the rows that the server counted, and one more
    /// in binary, where the trailer has its own.
    fn settle(&mut self, rows: u64) -> Result<Option<Batch>> {
        let trailer = match self.statements.get(self.current).map(|one| one.encoding) {
            Some(Encoding::Binary) => 1,
            Some(Encoding::Text) => 0,
            None => {
                return Err(self.broken("the server sent more COPY results than were asked for"));
            }
        };
        let ends = self
            .statements
            .get(self.current)
            .is_some_and(|one| one.ends);
        let mut last = self.held.take();
        let counted = last.as_mut().filter(|_| ends).is_none_or(|batch| {
            batch
                .rows
                .checked_sub(trailer)
                .inspect(|rows| batch.rows = *rows)
                .is_some()
        });
        if !counted || self.messages != rows + trailer {
            return Err(
                self.broken("the number of rows received is not the one the server counted")
            );
        }
        self.current += 1;
        self.messages = 0;
        Ok(last)
    }

    fn broken(&mut self, what: &'static str) -> Error {
        self.copy = None;
        Error::new(Kind::Protocol, what)
            .at(Side::Source)
            .on(self.subject())
    }

    fn subject(&self) -> String {
        self.statements
            .get(self.current)
            .map(|one| one.subject.clone())
            .unwrap_or_default()
    }

    /// What an error of the running query means.
    ///
    /// The codes by which a server refuses to adopt a snapshot have other uses too, so a fresh
    /// session tries again to be sure.
    async fn failed(&self, error: Error) -> Error {
        let error = error.on(self.subject());
        if error.is_transient() {
            // What broke this connection has probably broken the idle ones.
            self.pool.clear();
        }
        if error.code() == Some("55P03") {
            return self.snapshot.overtaken(&self.info, error).await;
        }
        let untouched = self.current == 0 && self.mark == 0;
        if untouched && matches!(error.code(), Some("22023" | "42704" | "55000")) {
            match self.snapshot.session(&self.info).await {
                Err(lost) if !lost.is_transient() => return lost.on(self.subject()),
                _ => {}
            }
        }
        error
    }
}
