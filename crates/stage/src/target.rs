//! The stage that writes.

use async_trait::async_trait;

use crate::{Batch, Catalog, Format, Mark, Part, Plan, Result, SequenceValue, TableId, Turn};

/// Writes one database.
///
/// The target alone knows how far a migration is: [`Target::durable`] is asked on every start,
/// and nothing else is believed.
#[async_trait]
pub trait Target: Send + Sync {
    /// The formats it accepts, best first.
    fn formats(&self) -> &[Format];

    /// Makes ready for rows: roles, the schema as far as rows need it, the record of the plan.
    /// Harmless when it has been done before.
    async fn prepare(&self, catalog: &Catalog, plan: &Plan) -> Result<()>;

    /// For each part, how far it is durable: `None` means that nothing of it is.
    async fn durable(&self, parts: &[Part]) -> Result<Vec<Option<Mark>>>;

    /// Asked before a part is begun: whether it may be written now, and in which form.
    async fn turn(&self, part: &Part) -> Result<Turn> {
        Ok(Turn::Now(part.clone()))
    }

    /// Starts writing a part of which nothing is durable: one of the plan, or another
    /// [form](crate::Source::reconsider) of it.
    ///
    /// A part that another, stale worker holds is taken over; one that is already durable is
    /// refused as [`Fenced`](crate::Kind::Fenced).
    async fn open(&self, part: &Part, format: Format) -> Result<Box<dyn Writer>>;

    /// Says that every part of these tables is durable, so their indexes may start. Returns as
    /// soon as that is noted; fails if work started earlier has failed meanwhile.
    async fn tables_loaded(&self, tables: &[TableId]) -> Result<()>;

    /// Finishes everything: waits for what `tables_loaded` started, then constraints between
    /// tables, the rest of the schema, sequences and statistics.
    async fn complete(&self, sequences: &[SequenceValue]) -> Result<()>;

    /// Says that one of those who write parts has gone to another database: a connection that it
    /// left idle is not needed any more. Returns at once.
    fn lane_left(&self) {}
}

/// Writes one part. Dropped before [`Writer::finish`] returns, nothing of the part remains,
/// except what [`Writer::flush`] had declared durable.
#[async_trait]
pub trait Writer: Send {
    /// Takes a batch. Accepted is not durable.
    async fn write(&mut self, batch: Batch) -> Result<()>;

    /// Makes durable what can be, and says up to where; `None` if a part is durable only as a
    /// whole.
    async fn flush(&mut self) -> Result<Option<Mark>>;

    /// Stores the rows together with the record that the part is done, in one transaction, and
    /// returns the mark of the last batch. Call it only after the complete part was written.
    async fn finish(self: Box<Self>) -> Result<Mark>;
}
