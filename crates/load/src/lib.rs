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
mod forget;
mod inspect;
mod large_object;
mod ledger;
mod owner;
mod post_data;
mod pool;
mod pre_data;
mod properties;
mod restore;
mod role;
mod schedule;
mod sequence;
mod session;
mod setting;
mod statement;
mod target;
mod vacant;
mod verify;
mod writer;

pub use config::{Config, Freeze};
pub use database::{create, drop_database};
pub use inspect::{Occupied, State, inspect};
pub use ledger::{Durable, Saved};
pub use target::PgTarget;
