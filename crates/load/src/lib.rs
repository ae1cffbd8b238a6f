//! The PostgreSQL target: schema restore, COPY in, indexes, sequences, verify.
//!
//! Everything that is known about a migration stands in the schema `pghaul` of the target
//! database (`ledger`); nothing is kept anywhere else.

mod acl;
mod analyze;
mod apply;
mod archive;
mod cleanup;
mod config;
mod copy;
mod database;
mod entry;
mod fence;
mod large_object;
mod ledger;
mod owner;
mod post_data;
mod pre_data;
mod restore;
mod role;
mod schedule;
mod sequence;
mod session;
mod statement;
mod target;
mod verify;
mod writer;
