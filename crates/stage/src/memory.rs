//! A source and a target that live in memory.
//!
//! They keep every rule that a real one keeps, and are stricter where they can be: the target
//! refuses batches out of order, a row count that does not match, and a table declared loaded
//! too early. So a runner that satisfies them has few ways left to be wrong.
//!
//! ```
//! use pghaul_stage::memory::{MemorySource, MemoryTarget};
//! use pghaul_stage::{Format, Source, TableId, Target};
//!
//! # async fn copy() -> pghaul_stage::Result<()> {
//! use futures_util::TryStreamExt;
//!
//! let table = TableId::new("public", "greeting");
//! let source = MemorySource::new().table(table.clone(), ["1\thello", "2\tworld"]);
//! let target = MemoryTarget::new();
//! let plan = source.plan().await?;
//! target.prepare(&source.catalog().await?, &plan).await?;
//!
//! for part in &plan.parts {
//!     let mut writer = target.open(part, Format::Copy).await?;
//!     let mut batches = source.read(part, Format::Copy).await?;
//!     while let Some(batch) = batches.try_next().await? {
//!         writer.write(batch).await?;
//!     }
//!     let durable = writer.finish().await?;
//!     source.confirm(part, durable).await?;
//! }
//! assert_eq!(target.rows(&table), ["1\thello", "2\tworld"]);
//! # Ok(())
//! # }
//! # use futures_util::FutureExt;
//! # copy().now_or_never().expect("memory never waits")?;
//! # Ok::<(), pghaul_stage::Error>(())
//! ```

mod source;
mod target;

pub use source::MemorySource;
pub use target::MemoryTarget;
