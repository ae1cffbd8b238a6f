//! The runtime server: takes migrations through an API, queues them, runs each in a process of
//! its own, and tells how they go.
//!
//! ```text
//!   HTTP ──▶ router ──▶ api ──requests──▶ supervisor ──starts──▶ pghaul migrate --run-dir …
//!                        ▲                    │    ▲                      │
//!                        └────── board ◀──────┘    └── events, lock ◀─────┘
//! ```
//!
//! * The supervisor is one thread. Only it changes what is recorded of a migration, and what it
//!   does next is decided by a pure function, in `machine`.
//! * A migration's process can be killed, and so can the server: each finds what the other left in
//!   the directory of the run.
//! * [`access`] is the one layer that every request passes: who asks, and whether they may.
//! * [`Store`] is the SQLite file in which everything is recorded that must outlive the process.

pub mod access;
pub mod agents;
mod api;
mod app;
pub mod dashboard;
pub mod decommission;
pub mod job;
pub mod listen;
mod machine;
pub mod model;
pub mod page;
mod private_file;
mod problem;
pub mod properties;
mod reach;
#[cfg(test)]
mod reference;
mod router;
mod run;
mod serve;
pub mod spool;
mod store;
mod supervisor;
mod vault;
mod words;

pub use app::App;
pub use job::Job;
pub use problem::Problem;
pub use router::document;
pub use serve::{Listening, Options, serve};
pub use store::Store;

/// A moment, in UTC.
pub type Time = chrono::DateTime<chrono::Utc>;

/// This moment, in whole milliseconds, which is what is kept of it.
fn now() -> Time {
    use chrono::SubsecRound;
    chrono::Utc::now().trunc_subsecs(3)
}
