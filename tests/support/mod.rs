//! What every end-to-end test stands on: throwaway servers, the binary, fixtures and the oracle.
//!
//! A test starts a [`Pair`] of clusters, fills the source from a fixture, runs [`Pghaul`] and
//! asks the [`oracle`] whether both databases are the same. Most do it in both [`Way`]s. Everything here is blocking and
//! speaks to PostgreSQL through its own programs, so that it shares no code with what it tests.
//! `server.rs` is for the tests of crates, which take it in by its path.

pub(crate) mod cluster;
pub(crate) mod fixture;
pub(crate) mod installed;
pub(crate) mod label_provider;
pub(crate) mod network;
pub(crate) mod object_store;
pub(crate) mod oracle;
pub(crate) mod pg;
pub(crate) mod pghaul;
pub(crate) mod proxy;
pub(crate) mod run_dir;
pub(crate) mod runtime_server;
pub(crate) mod tls;
pub(crate) mod way;

pub(crate) use cluster::{Cluster, Pair};
pub(crate) use installed::installed;
pub(crate) use pghaul::{Output, Pghaul};
pub(crate) use way::{Way, both_ways};
