//! The spool as what an extraction writes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use pghaul_codec::Field;
use pghaul_stage::{
    Batch, Catalog, Error, Format, Kind, Mark, Part, Payload, Plan, Result, SequenceValue, Side,
    TableId, Tables, Target, Turn, Work, Writer,
};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::manifest::{Entry, File, FileEncoding, SliceSeal, Stream, streams};
use crate::name;
use crate::seal;
use crate::slice_writer::{Finished, SliceWriter};
use crate::space::{Room, Space};
use crate::spool::Spool;
use crate::worker::Worker;

/// Bytes of rows that become columns together, about. To hand work to another thread and to wait for
/// it costs as much as to work on a few kilobytes.
const AT_ONCE: usize = 1 << 20;

/// How an extraction is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storing {
    /// zstd's level, 1 to 22.
    pub level: i32,
    /// How many bytes of files may wait to be loaded; another part begins only below that.
    pub limit: Option<u64>,
    /// Whether password hashes and the schema's secrets come along; only into an encrypted spool.
    pub secrets: bool,
    /// Whether this process only helps another one, which describes the source and ends the
    /// extraction.
    pub helps: bool,
}

impl Default for Storing {
    /// Level 1, without a limit, without secrets.
    fn default() -> Self {
        Self {
            level: 1,
            limit: None,
            secrets: false,
            helps: false,
        }
    }
}

/// Takes a record of the source, for a comparison with the target later.
pub type Recorder = Box<dyn Fn() -> BoxFuture<'static, Result<Vec<u8>>> + Send + Sync>;

/// Writes the parts of a source into a spool.
pub struct SpoolTarget {
    spool: Arc<Spool>,
    worker: Arc<Worker>,
    storing: Storing,
    space: Space,
    recorder: Option<Recorder>,
    source: OnceCell<Described>,
}

/// What writers need to know of the source.
struct Described {
    tables: Tables,
    types: std::collections::BTreeMap<Arc<str>, pghaul_stage::Type>,
    utf8: bool,
}

impl SpoolTarget {
    /// Writes into this spool, as this worker.
    pub fn new(worker: Arc<Worker>, storing: Storing) -> Self {
        Self {
            spool: Arc::clone(&worker.spool),
            worker,
            storing,
            space: Space::new(storing.limit),
            recorder: None,
            source: OnceCell::new(),
        }
    }

    /// Records the source before the extraction ends, while its snapshot is still there.
    #[must_use]
    pub fn record(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Counts the files of these spools, too, against the limit of bytes that may wait.
    #[must_use]
    pub fn beside(mut self, others: Vec<Arc<Spool>>) -> Self {
        self.space = self.space.beside(others);
        self
    }

    fn described(&self) -> Result<&Described> {
        self.source
            .get()
            .ok_or_else(|| Error::new(Kind::Permanent, "the spool was not prepared").at(Side::Link))
    }
}

impl Described {
    fn new(catalog: &Catalog) -> Self {
        Self {
            tables: catalog.tables.clone(),
            types: catalog.types.clone(),
            utf8: catalog.database.encoding == "UTF8",
        }
    }

    /// The fields of each slice that can be taken apart.
    fn fields(&self, work: &Work) -> Vec<Option<Arc<[Field]>>> {
        let Work::Rows(slices) = work else {
            return Vec::new();
        };
        let fields = |table: &TableId| {
            let columns = &self.tables.named(table)?.columns;
            // Parquet has no rows without columns.
            if columns.is_empty() {
                return None;
            }
            let field = |column: &pghaul_stage::Column| {
                let kind = self.types.get(&column.type_name);
                Field {
                    name: column.name.to_string(),
                    type_name: column.type_name.to_string(),
                    oid: kind.map_or(0, |kind| kind.oid),
                    modifier: kind.map_or(-1, |kind| kind.modifier),
                    sent_as: kind.map_or(0, |kind| kind.sent_as),
                }
            };
            Some(columns.iter().map(field).collect())
        };
        slices.iter().map(|slice| fields(&slice.table)).collect()
    }
}

#[async_trait]
impl Target for SpoolTarget {
    fn formats(&self) -> &[Format] {
        &[Format::Copy]
    }

    async fn prepare(&self, catalog: &Catalog, plan: &Plan) -> Result<()> {
        if !self.storing.helps {
            let secrets = self.storing.secrets;
            self.spool.describe(catalog, plan, secrets).await?;
        }
        let described = async || Described::new(catalog);
        self.source.get_or_init(described).await;
        Ok(())
    }

    async fn durable(&self, parts: &[Part]) -> Result<Vec<Option<Mark>>> {
        if let [part] = parts {
            let entry = self.spool.sealed(part.id).await?;
            return Ok(vec![entry.map(|entry| entry.mark)]);
        }
        let sealed = self.spool.all_sealed().await?;
        let marks: HashMap<_, _> = sealed
            .iter()
            .map(|entry| (entry.part, entry.mark))
            .collect();
        Ok(parts
            .iter()
            .map(|part| marks.get(&part.id).copied())
            .collect())
    }

    async fn turn(&self, part: &Part) -> Result<Turn> {
        if !self.space.allows(&self.spool, part).await? {
            return Ok(Turn::Later);
        }
        Ok(match self.worker.claim(part.id).await? {
            true => Turn::Now(part.clone()),
            false => Turn::Taken,
        })
    }

    async fn open(&self, part: &Part, format: Format) -> Result<Box<dyn Writer>> {
        if format != Format::Copy {
            return Err(Error::input("a spool takes COPY only").at(Side::Target));
        }
        let room = self.space.room(part);
        let described = self.described()?;
        if self.spool.sealed(part.id).await?.is_some() {
            return Err(sealed_already(part));
        }
        let typed = self.spool.header().encoding == FileEncoding::Typed;
        Ok(Box::new(PartWriter {
            spool: Arc::clone(&self.spool),
            part: part.clone(),
            attempt: Uuid::now_v7(),
            streams: streams(&part.work),
            fields: if typed {
                described.fields(&part.work)
            } else {
                Vec::new()
            },
            utf8: described.utf8,
            level: self.storing.level,
            slice: None,
            waiting: Vec::new(),
            slices: Vec::new(),
            files: Vec::new(),
            mark: Mark::default(),
            room,
        }))
    }

    async fn tables_loaded(&self, _: &[TableId]) -> Result<()> {
        Ok(())
    }

    async fn complete(&self, sequences: &[SequenceValue]) -> Result<()> {
        if self.storing.helps {
            return Ok(());
        }
        if let Some(record) = &self.recorder
            && self.spool.digest().await?.is_none()
        {
            self.spool.put_digest(&record().await?).await?;
        }
        self.spool.put_end(sequences).await
    }
}

fn sealed_already(part: &Part) -> Error {
    Error::new(Kind::Fenced, "the part is in the spool already")
        .at(Side::Target)
        .on(part.to_string())
}

/// Writes one part. Dropped before the end, it removes its files.
struct PartWriter {
    spool: Arc<Spool>,
    part: Part,
    attempt: Uuid,
    streams: Vec<Stream>,
    fields: Vec<Option<Arc<[Field]>>>,
    utf8: bool,
    level: i32,
    /// The slice whose rows come now; the ones before are in `slices`.
    slice: Option<SliceWriter>,
    /// Pieces of it that came since it was last given some, with the rows that end in each.
    waiting: Vec<(Bytes, u64)>,
    slices: Vec<SliceSeal>,
    files: Vec<File>,
    mark: Mark,
    room: Room,
}

impl PartWriter {
    async fn accept(&mut self, batch: Batch) -> Result<()> {
        let at = usize::try_from(batch.slice).unwrap_or(usize::MAX);
        if at < self.slices.len() || at >= self.streams.len() || batch.mark < self.mark {
            return Err(Error::new(Kind::Protocol, "a batch out of order").at(Side::Link));
        }
        let Payload::Copy(piece) = batch.payload else {
            return Err(Error::new(Kind::Protocol, "a batch that is not COPY").at(Side::Link));
        };
        self.advance(at).await?;
        self.mark = batch.mark;
        self.waiting.push((piece, batch.rows));
        let waiting: usize = self.waiting.iter().map(|(piece, _)| piece.len()).sum();
        if waiting < AT_ONCE {
            return Ok(());
        }
        let Some(mut slice) = self.slice.take() else {
            return Ok(());
        };
        // Columns and compression take milliseconds, which an executor does not have.
        let waiting = std::mem::take(&mut self.waiting);
        let work = tokio::task::spawn_blocking(move || {
            let mut finished = Vec::new();
            slice.push(waiting, &mut finished)?;
            Ok((slice, finished))
        });
        let (slice, finished) = joined(work.await)?;
        self.slice = Some(slice);
        self.store(finished).await
    }

    /// Ends the slices before this one, and begins it.
    async fn advance(&mut self, to: usize) -> Result<()> {
        while self.slices.len() < to {
            self.end_slice().await?;
        }
        if self.slice.is_none() {
            self.slice = self.begin();
        }
        Ok(())
    }

    fn begin(&self) -> Option<SliceWriter> {
        let at = self.slices.len();
        let stream = *self.streams.get(at)?;
        let fields = self.fields.get(at).cloned().flatten();
        let fields = fields.filter(|_| stream.typed);
        Some(SliceWriter::new(stream, fields, self.utf8, self.level))
    }

    async fn end_slice(&mut self) -> Result<()> {
        let Some(mut slice) = self.slice.take() else {
            self.slices.push(SliceSeal::default());
            return Ok(());
        };
        let waiting = std::mem::take(&mut self.waiting);
        let work = tokio::task::spawn_blocking(move || {
            let mut finished = Vec::new();
            slice.push(waiting, &mut finished)?;
            let sealed = slice.end(&mut finished)?;
            Ok((sealed, finished))
        });
        let (sealed, finished) = joined(work.await)?;
        self.store(finished).await?;
        self.slices.push(sealed);
        Ok(())
    }

    async fn store(&mut self, finished: Vec<Finished>) -> Result<()> {
        for file in finished {
            let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
            let name = name::file(self.part.id, self.attempt, number);
            let stored = encrypted(&self.spool, &name, file.parquet).await?;
            // Noted before it is there, so that it is removed if only the answer is lost.
            self.files.push(File {
                slice: u32::try_from(self.slices.len()).unwrap_or(u32::MAX),
                encoding: file.encoding,
                rows: file.rows,
                bytes: file.bytes,
                content: file.content,
                size: stored.len() as u64,
                hash: seal::hash(&stored),
                name: name.clone(),
            });
            if !self.spool.store.create(&name, &stored).await? {
                return Err(self.spool.store.damaged(&name, "its name is taken"));
            }
        }
        Ok(())
    }
}

/// A file as it is stored.
async fn encrypted(spool: &Arc<Spool>, name: &str, parquet: Bytes) -> Result<Bytes> {
    if !spool.is_encrypted() {
        return Ok(parquet);
    }
    let (spool, name) = (Arc::clone(spool), name.to_owned());
    joined(tokio::task::spawn_blocking(move || spool.seal.encrypt(&name, parquet)).await)
}

#[async_trait]
impl Writer for PartWriter {
    async fn write(&mut self, batch: Batch) -> Result<()> {
        let accepted = self.accept(batch).await;
        accepted.map_err(|error| error.on(self.part.to_string()))
    }

    async fn flush(&mut self) -> Result<Option<Mark>> {
        Ok(None)
    }

    async fn finish(mut self: Box<Self>) -> Result<Mark> {
        while self.slices.len() < self.streams.len() {
            let ended = self.end_slice().await;
            ended.map_err(|error| error.on(self.part.to_string()))?;
        }
        let entry = Entry {
            part: self.part.id,
            entry: 0,
            last: true,
            work: self.part.work.clone(),
            mark: self.mark,
            slices: self.slices.clone(),
            files: self.files.clone(),
        };
        entry.check(entry.part, 0)?;
        // From here on they may be listed, even if the answer is lost or comes late; only a refusal
        // says that they are not.
        let files = std::mem::take(&mut self.files);
        if !self.spool.put_entry(&entry).await? {
            self.files = files;
            return Err(sealed_already(&self.part));
        }
        self.room
            .keep(entry.files.iter().map(|file| file.size).sum());
        Ok(self.mark)
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        let files = std::mem::take(&mut self.files);
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if files.is_empty() {
            return;
        }
        let spool = Arc::clone(&self.spool);
        runtime.spawn(async move {
            for file in &files {
                if let Err(error) = spool.store.remove(&file.name).await {
                    tracing::debug!(%error, "a file is left for `pghaul spool gc`");
                }
            }
        });
    }
}

/// What a task on the blocking pool gave; one that panicked met something nobody foresaw.
pub(crate) fn joined<T>(
    ended: std::result::Result<Result<T>, tokio::task::JoinError>,
) -> Result<T> {
    ended.unwrap_or_else(|error| {
        let failed = Error::new(Kind::Protocol, "rows could not be converted");
        Err(failed.at(Side::Link).because(error))
    })
}

impl fmt::Debug for SpoolTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolTarget")
            .field("spool", &self.spool)
            .field("storing", &self.storing)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Described")
            .field("tables", &self.tables.len())
            .finish_non_exhaustive()
    }
}
