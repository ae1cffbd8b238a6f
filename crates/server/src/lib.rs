//! The runtime server: takes migrations through an API, queues them, runs each in a process of
//! its own, and tells how they go.

pub mod dashboard;
pub mod job;
pub mod model;
pub mod properties;
pub mod spool;
mod words;

pub use job::Job;

/// A moment, in UTC.
pub type Time = chrono::DateTime<chrono::Utc>;
