//! The connection against real PostgreSQL servers, started and thrown away here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod copy;
mod faults;
mod hosts;
mod login;
mod memory;
mod server;
mod sslmode;
