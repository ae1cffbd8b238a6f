//! The spool as what a load reads.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use futures_util::{StreamExt, TryStreamExt};
use pghaul_stage::{
    Batch, Batches, Catalog, Encoding, Error, Format, Kind, Mark, Part, Payload, Plan, Result,
    SequenceValue, Side, Source, Turn,
};
use tokio::time::Instant;

use crate::file_reader::{FileReader, Piece};
use crate::manifest::{Entry, HEADER, Stream, TRAILER, streams};
use crate::name;
use crate::spool::Spool;
use crate::target::joined;
use crate::worker::{Role, Worker};

/// How often the spool is looked at while something is waited for.
const POLL: Duration = Duration::from_millis(500);

/// How long nobody extracts before that is believed of a spool that has just been found: who makes
/// one enters it a moment later.
const GRACE: Duration = Duration::from_secs(3);

/// Reads the parts of an extraction that may still be going on.
#[derive(Debug)]
pub struct SpoolSource {
    spool: Arc<Spool>,
    worker: Arc<Worker>,
    keep: bool,
    patient: bool,
    began: Instant,
}

impl SpoolSource {
    /// Reads this worker's spool. Files of parts that the target holds are removed, unless they are
    /// to be kept.
    pub fn new(worker: Arc<Worker>, keep: bool) -> Self {
        Self {
            spool: Arc::clone(&worker.spool),
            worker,
            keep,
            patient: false,
            began: Instant::now(),
        }
    }

    /// Waits for what is not there yet even if nobody gives a sign of life who could bring it about:
    /// somebody sees to it that an extraction which ended is taken up again.
    #[must_use]
    pub fn patient(self) -> Self {
        Self {
            patient: true,
            ..self
        }
    }

    /// Asks for what this object says until it is there, as long as somebody extracts who can bring
    /// it about.
    async fn awaited<T>(
        &self,
        name: &str,
        ask: impl AsyncFn(&Spool) -> Result<Option<T>>,
    ) -> Result<T> {
        loop {
            if let Some(answer) = ask(&self.spool).await? {
                return Ok(answer);
            }
            if !self.may_come().await? {
                let answer = ask(&self.spool).await?;
                return answer.ok_or_else(|| self.spool.missing(name));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether what is not there may still come. Fails if nobody extracts any more and the extraction
    /// is not complete. Who ended it had written everything else before.
    async fn may_come(&self) -> Result<bool> {
        if self.worker.anyone(Role::Extract).await? {
            return Ok(true);
        }
        if self.spool.end().await?.is_some() {
            return Ok(false);
        }
        if self.spool.lost().await?.contains(&name::END) {
            return Err(self.spool.was_lost(name::END));
        }
        if self.patient || self.began.elapsed() < GRACE {
            return Ok(true);
        }
        Err(Error::new(
            Kind::Permanent,
            "the extraction is not complete, and no process that extracts gives a sign of life",
        )
        .at(Side::Source)
        .on(format!("the spool {}", self.spool.place()))
        .remedy("go on with `pghaul extract --resume`, or copy the rest of the spool, then load with --resume"))
    }

    async fn entry(&self, part: &Part) -> Result<Arc<Entry>> {
        let entry = self.spool.sealed(part.id).await?;
        entry.ok_or_else(|| {
            Error::new(Kind::Transient, "the part is not in the spool yet")
                .at(Side::Source)
                .on(part.to_string())
        })
    }
}

#[async_trait]
impl Source for SpoolSource {
    fn formats(&self) -> &[Format] {
        &[Format::Copy]
    }

    async fn catalog(&self) -> Result<Catalog> {
        self.awaited(name::PLAN, Spool::catalog).await
    }

    async fn plan(&self) -> Result<Plan> {
        self.awaited(name::PLAN, Spool::plan).await
    }

    async fn turn(&self, part: &Part) -> Result<Turn> {
        let entry = match self.spool.sealed_lately(part.id).await? {
            Some(entry) => entry,
            None if self.may_come().await? => return Ok(Turn::Later),
            None => {
                let entry = self.spool.sealed(part.id).await?;
                entry.ok_or_else(|| self.spool.missing(&name::entry(part.id, 0)))?
            }
        };
        Ok(match self.worker.claim(part.id).await? {
            true => Turn::Now(entry.form(part)),
            false => Turn::Taken,
        })
    }

    async fn read(&self, part: &Part, format: Format) -> Result<Batches> {
        if format != Format::Copy {
            return Err(Error::input("a spool gives COPY only").at(Side::Source));
        }
        let entry = self.entry(part).await?;
        let reading = Reading {
            spool: Arc::clone(&self.spool),
            streams: streams(&entry.work),
            entry,
            slice: 0,
            begun: false,
            file: 0,
            reader: None,
            mark: 0,
        };
        let steps = stream::try_unfold(reading, |mut reading: Reading| async move {
            let step = reading.step().await?;
            Ok::<_, Error>(step.map(|batches| (batches, reading)))
        });
        let batches = steps.map_ok(|batches| stream::iter(batches).map(Ok));
        Ok(batches.try_flatten().boxed())
    }

    async fn confirm(&self, part: &Part, _: Mark) -> Result<()> {
        let Some(entry) = self.spool.sealed_lately(part.id).await? else {
            return Ok(());
        };
        self.spool.put(&name::loaded(part.id), b"").await?;
        if !self.keep {
            for file in &entry.files {
                self.spool.store.remove(&file.name).await?;
            }
        }
        self.spool.forget(part.id);
        Ok(())
    }

    async fn sequences(&self) -> Result<Vec<SequenceValue>> {
        self.awaited(name::END, Spool::end).await
    }
}

/// A part being read.
struct Reading {
    spool: Arc<Spool>,
    entry: Arc<Entry>,
    streams: Vec<Stream>,
    /// The slice that comes next or is under way.
    slice: usize,
    /// Whether its header was given.
    begun: bool,
    /// The file that comes next or is under way.
    file: usize,
    reader: Option<FileReader>,
    mark: u64,
}

impl Reading {
    /// The next batches; `None` after the last one.
    async fn step(&mut self) -> Result<Option<Vec<Batch>>> {
        let part = self.entry.part;
        let step = self.next().await;
        step.map_err(|error| error.on(format!("part {part}")))
    }

    async fn next(&mut self) -> Result<Option<Vec<Batch>>> {
        loop {
            let Some(stream) = self.streams.get(self.slice).copied() else {
                return if self.mark == self.entry.mark.0 {
                    Ok(None)
                } else {
                    Err(
                        Error::new(Kind::Identity, "the files do not hold the whole part")
                            .at(Side::Link),
                    )
                };
            };
            let sealed = self
                .entry
                .slices
                .get(self.slice)
                .copied()
                .unwrap_or_default();
            let framed = stream.encoding == Encoding::Binary && sealed.bytes > 0;
            if !self.begun {
                self.begun = true;
                if framed {
                    return Ok(Some(vec![self.batch(Bytes::from_static(HEADER), 0)]));
                }
            }
            let file = self.entry.files.get(self.file);
            let number = u32::try_from(self.slice).unwrap_or(u32::MAX);
            if file.is_some_and(|file| file.slice == number) {
                if let Some(pieces) = self.pieces().await? {
                    let batches = pieces.into_iter().map(|(piece, rows)| {
                        self.batch(piece, if stream.counts { rows } else { 0 })
                    });
                    return Ok(Some(batches.collect()));
                }
                self.file += 1;
                continue;
            }
            self.slice += 1;
            self.begun = false;
            if framed {
                self.slice -= 1;
                let trailer = self.batch(Bytes::from_static(TRAILER), 0);
                self.slice += 1;
                return Ok(Some(vec![trailer]));
            }
        }
    }

    /// The file's next rows; `None` after the last ones.
    async fn pieces(&mut self) -> Result<Option<Vec<Piece>>> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => open(&self.spool, &self.entry, self.file).await?,
        };
        let work = tokio::task::spawn_blocking(move || {
            let mut reader = reader;
            let pieces = reader.next()?;
            Ok((reader, pieces))
        });
        let (reader, pieces) = joined(work.await)?;
        if pieces.is_some() {
            self.reader = Some(reader);
        }
        Ok(pieces)
    }

    fn batch(&mut self, piece: Bytes, rows: u64) -> Batch {
        self.mark += piece.len() as u64;
        Batch {
            slice: u32::try_from(self.slice).unwrap_or(u32::MAX),
            payload: Payload::Copy(piece),
            rows,
            mark: Mark(self.mark),
        }
    }
}

/// Opens the file of this number of a part.
async fn open(spool: &Arc<Spool>, entry: &Entry, number: usize) -> Result<FileReader> {
    let Some(file) = entry.files.get(number).cloned() else {
        return Err(Error::new(Kind::Protocol, "there is no such file").at(Side::Link));
    };
    let stored = match spool.store.read(&file.name).await? {
        Some(stored) => stored,
        None => return Err(gone(spool, entry, &file.name).await?),
    };
    let spool = Arc::clone(spool);
    let opening = tokio::task::spawn_blocking(move || FileReader::open(&file, stored, &spool.seal));
    joined(opening.await)
}

/// The error of a file that is not there.
async fn gone(spool: &Spool, entry: &Entry, name: &str) -> Result<Error> {
    let store = &spool.store;
    let loaded = store.read(&name::loaded(entry.part)).await?;
    if loaded.is_none() {
        return Ok(store.damaged(name, "it is missing"));
    }
    // Another process has loaded the part, or did so long ago into another target.
    Ok(
        Error::new(Kind::Fenced, "it was removed when the part had been loaded")
            .at(Side::Link)
            .on(store.subject(name))
            .remedy("to load a spool more than once, extract again, and load with --keep"),
    )
}
