//! The PostgreSQL target: schema restore, COPY in, indexes, sequences, verify.
//!
//! Everything that is known about a migration stands in the schema `pghaul` of the target
//! database (`ledger`); nothing is kept anywhere else.

mod acl;
mod admission;
mod agenda;
mod analyze;
mod apply;
mod archive;
mod build;
mod child_constraint;
mod cleanup;
mod cluster;
mod compression;
mod config;
mod copy;
mod database;
mod dialect;
mod entry;
mod exclusion;
mod existing;
mod extension_table;
mod fence;
mod foreign_key;
mod foresight;
mod forget;
mod grant;
mod inspect;
mod instead;
mod label;
mod large_object;
mod large_row;
mod ledger;
mod new_row;
mod owner;
mod parameter;
mod pool;
mod post_data;
mod power;
mod present;
mod properties;
mod refresh;
mod refusal;
mod restore;
mod role;
mod role_map;
mod schedule;
mod scratch;
mod secret;
mod selection;
mod sequence;
mod session;
mod setting;
mod statement;
mod statistics;
mod steps;
mod supplement;
mod tablespace;
mod target;
mod toc;
mod truncate;
mod unlogged;
mod vacant;

mod validate;
mod verify;
mod writer;

pub use cleanup::{Leftover, Migration, Trace, leftovers, refuse, remove};
pub use cluster::Cluster;
pub use config::{Config, Freeze};
pub use database::{create, drop_database, server_version};
pub use existing::{check_existing, large_objects};
pub use foresight::{Foreseen, foresee};
pub use inspect::{Occupied, State, inspect};
pub use ledger::{Durable, Saved};
pub use scratch::{SCRATCH, create_scratch, drop_scratch};
pub use secret::{reveal, withhold};
pub use tablespace::check_tablespaces;
pub use target::PgTarget;
pub use validate::{Available, Intent, Locale, TargetFacts, throughput, validate};
#[cfg(feature = "bench")]
pub use verify::bench;
pub use verify::{
    Algorithm, Checksum, Count, Difference, Digest, LargeObjectReport, Report, RowDifference,
    RowState, TableReport, VerifyOptions, digest, verify, verify_digest,
};
