//! Puts a pipeline together, stage by stage.

use std::fmt;
use std::sync::Arc;

use pghaul_stage::{Source, Target, Transform};
use tokio::runtime::Handle;

use crate::{Link, Runner};

/// A pipeline from any source, through any transforms, over a link, to any target. It is what
/// `pghaul migrate` runs, with the same retries, progress, back-pressure and resume.
///
/// ```
/// use std::sync::Arc;
///
/// use pghaul_relay::{Link, Pipeline};
/// use pghaul_stage::memory::{MemorySource, MemoryTarget};
/// use pghaul_stage::{MapRows, RowMap, TableId};
///
/// let table = TableId::new("public", "people");
/// let source = MemorySource::new().table(table.clone(), ["1\tada@example.com"]);
/// let target = MemoryTarget::new();
/// let mask = MapRows::new(|_| Some(RowMap::new(|row| row.set(1, Some(b"hidden")))));
///
/// let runtime = tokio::runtime::Runtime::new().expect("a runtime");
/// let summary = Pipeline::from(Arc::new(source))
///     .transform(Arc::new(mask))
///     .link(Link::Channel { bytes: 1 << 20 })
///     .to(Arc::new(target.clone()), runtime.handle().clone())
///     .run_as_planned()?;
///
/// assert_eq!(summary.rows, 1);
/// assert_eq!(target.rows(&table), ["1\thidden"]);
/// # Ok::<(), pghaul_stage::Error>(())
/// ```
pub struct Pipeline {
    source: Arc<dyn Source>,
    transforms: Vec<Arc<dyn Transform>>,
    link: Link,
}

impl Pipeline {
    /// Begins with a source.
    pub fn from(source: Arc<dyn Source>) -> Self {
        Self {
            source,
            transforms: Vec::new(),
            link: Link::default(),
        }
    }

    /// Adds a transform behind those already added.
    #[must_use]
    pub fn transform(mut self, transform: Arc<dyn Transform>) -> Self {
        self.transforms.push(transform);
        self
    }

    /// Sets what joins reading and writing, and how much may be under way in it.
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// Ends with a target. All I/O will run on `handle`'s runtime, which must be a
    /// multi-threaded one. The [`Runner`] takes options, an observer and a token that stops
    /// it, and runs.
    pub fn to(self, target: Arc<dyn Target>, handle: Handle) -> Runner {
        let runner = Runner::new(self.source, target, handle).link(self.link);
        let transforms = self.transforms.into_iter();
        transforms.fold(runner, Runner::transform)
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("transforms", &self.transforms.len())
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}
