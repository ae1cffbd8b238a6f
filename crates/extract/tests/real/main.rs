//! The source against real PostgreSQL servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod catalog;
mod changed;
mod conformance;
mod read;
mod server;
mod snapshot;
