//! The stage that changes batches on their way.

use crate::{Batch, Format, Result};

/// A pure function on a batch.
pub trait Transform: Send + Sync {
    /// The format it makes of `input`, or `None` if it cannot read that.
    fn output(&self, input: Format) -> Option<Format>;

    /// Transforms one batch. The mark must stay as it is.
    fn apply(&self, batch: Batch) -> Result<Batch>;
}
