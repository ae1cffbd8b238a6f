//! The stage that changes batches on their way.

use crate::{Batch, Catalog, Format, Part, Result};

/// Changes what flows from a source to a target. A pipeline may have several, one after the
/// other.
///
/// A transform itself keeps nothing: what it has to remember of a part, for example half a row
/// because batches are cut anywhere, lives in the [`Pass`] that it opens for each attempt. For
/// one that looks at rows, [`MapRows`](crate::MapRows) does all of that.
pub trait Transform: Send + Sync {
    /// The format it makes of `input`, or `None` if it cannot read that.
    fn output(&self, input: Format) -> Option<Format>;

    /// Begins a part. An attempt that fails drops its pass, and the next one begins anew, so
    /// the same part must always give the same result.
    fn open(&self, catalog: &Catalog, part: &Part) -> Result<Box<dyn Pass>>;
}

/// One transform's work on one part.
pub trait Pass: Send {
    /// Transforms the next batch. Slice and mark must stay as they are; `rows` must count the
    /// rows that end in the batch it returns, whose payload may be empty.
    fn apply(&mut self, batch: Batch) -> Result<Batch>;

    /// Called after the last batch, for what must be whole by then.
    ///
    /// # Errors
    ///
    /// If the part ended too early; the part is then not committed.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
