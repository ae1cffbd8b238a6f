//! The suite that every source, target and writer must pass.
//!
//! Call [`source`] and [`target`] from a test, with the real thing behind them. They panic with
//! the rule that was broken. They know no clock: give the test a time limit, for a stage that
//! hangs.
//!
//! A target cannot be tested with invented rows, since it needs the tables that they go into.
//! So the caller gives a [`Sample`], usually read from a source that has passed already, and a
//! [`Fixture`] that makes fresh targets for it.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use pghaul_stage::conformance::{self, Fixture, Sample};
//! use pghaul_stage::memory::{MemorySource, MemoryTarget};
//! use pghaul_stage::{TableId, Target};
//!
//! struct InMemory(Sample, Mutex<MemoryTarget>);
//!
//! #[async_trait::async_trait]
//! impl Fixture for InMemory {
//!     fn sample(&self) -> &Sample {
//!         &self.0
//!     }
//!     async fn fresh(&self) -> Arc<dyn Target> {
//!         *self.1.lock().unwrap() = MemoryTarget::new();
//!         self.again().await
//!     }
//!     async fn again(&self) -> Arc<dyn Target> {
//!         Arc::new(self.1.lock().unwrap().clone())
//!     }
//!     async fn rows(&self) -> u64 {
//!         self.1.lock().unwrap().rows(&TableId::new("public", "t")).len() as u64
//!     }
//! }
//!
//! # use futures_util::FutureExt;
//! # async {
//! let source = MemorySource::new()
//!     .table(TableId::new("public", "t"), ["1", "2", "3"])
//!     .batch_bytes(3);
//! conformance::source(&source).await;
//! let sample = Sample::read(&source).await;
//! conformance::target(&InMemory(sample, Mutex::default())).await;
//! # }.now_or_never().expect("memory never waits");
//! ```

mod reading;
mod source;
mod target;
#[cfg(test)]
mod tests;

use std::fmt::Display;

pub use source::source;
pub use target::{Fixture, Sample, target};

/// Panics with the rule unless it holds.
#[track_caller]
fn hold(rule: &str, holds: bool, found: impl Display) {
    assert!(holds, "rule broken: {rule}: {found}");
}

/// The value, or a panic with the rule that says why there must be one.
#[track_caller]
fn must<T>(rule: &str, result: crate::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("rule broken: {rule}: {error}"))
}
