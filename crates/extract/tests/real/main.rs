//! The source against real PostgreSQL servers.

mod catalog;
mod changed;
mod read;
mod server;
mod snapshot;
