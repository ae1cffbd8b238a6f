//! The stage that reads.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::{Batch, Catalog, Error, Format, Mark, Part, Plan, Result, SequenceValue, Turn};

/// The batches of a part, in order. Dropping it stops the reading at once.
pub type Batches = BoxStream<'static, Result<Batch>>;

/// Reads one database under one snapshot.
///
/// All methods may be called from several threads at once; `catalog`, `plan` and every `read`
/// see the same snapshot.
#[async_trait]
pub trait Source: Send + Sync {
    /// The formats it can produce, best first.
    fn formats(&self) -> &[Format];

    /// What the database is and holds.
    async fn catalog(&self) -> Result<Catalog>;

    /// The parts that together are every row, each row in exactly one of them.
    async fn plan(&self) -> Result<Plan>;

    /// Asked before a part is begun: whether it can be read now, and in which
    /// [form](Source::reconsider).
    async fn turn(&self, part: &Part) -> Result<Turn> {
        Ok(Turn::Now(part.clone()))
    }

    /// Reads a part from its beginning. Reading the same part again gives the same rows.
    ///
    /// A stream that ends without an error is complete; anything else must be an error.
    async fn read(&self, part: &Part, format: Format) -> Result<Batches>;

    /// What to do about an attempt at a part that failed, on whichever side: another form of the
    /// part, of the same identifier and the same rows, in which the cause does not arise; or the
    /// error, with what the source knows of its cause.
    async fn reconsider(&self, _part: &Part, error: Error) -> Result<Part> {
        Err(error)
    }

    /// Says that the target holds the part up to `durable`; the source may forget what it kept
    /// for a second reading. Never called with a mark that is not durable.
    async fn confirm(&self, part: &Part, durable: Mark) -> Result<()>;

    /// The present values of all sequences. Sequences are outside every snapshot, so this is
    /// asked once the rows have been copied.
    async fn sequences(&self) -> Result<Vec<SequenceValue>>;

    /// Says that one of those who read parts has gone to another database: a connection that it
    /// left idle is not needed any more. Returns at once.
    fn lane_left(&self) {}
}
