//! What joins stages and keeps a migration going.
//!
//! ```text
//!            ┌──────────────── lane (one thread per job) ────────────────┐
//!  plan ──▶  │ reader task:   Source::read ──link──▶ transforms ─▶ Writer │ ──▶ durable
//!  (queue)   └───────────────────────────────────────────────────────────┘
//! ```
//!
//! * A [`Pipeline`] joins a source, transforms, a link and a target, whoever wrote them.
//! * A [`Runner`] takes a plan through a source, transforms and a target, several parts at a
//!   time, with retries; it believes only the target about what is done.
//! * [`Lanes`] copy the parts of one run, or of several that share them.
//! * A [`Link`] carries the batches of one part; its memory is bounded in bytes ([`channel`]).
//! * A [`Cancel`] token ends every wait of a run, blocked threads and futures alike.
//! * [`Progress`] adds up what a run reports; [`Fanout`] reports to several observers.

mod attempt;
mod cancel;
pub mod channel;
mod fanout;
mod lane;
mod lanes;
mod link;
mod loaded;
mod meter;
mod pace;
mod pipeline;
mod progress;
mod retry;
mod runner;
mod summary;

pub use cancel::Cancel;
pub use fanout::Fanout;
pub use lanes::Lanes;
pub use link::{Link, LinkReceiver, LinkSender};
pub use pace::Pace;
pub use pipeline::Pipeline;
pub use progress::{Progress, RunningPart, RunningStep, Snapshot, StepReport, TableReport};
pub use retry::Retry;
pub use runner::{Options, Runner};
pub use summary::{Summary, Tasks};

/// The guide's code is compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/compose.md")]
struct Guide;
