//! The spool: sealed Parquet files between stages on separate hosts.
//!
//! ```text
//!   source network          anywhere              target network
//!  PgSource ─▶ SpoolTarget ─▶ Store ─▶ SpoolSource ─▶ PgTarget
//! ```
//!
//! A spool is a [`Target`](pghaul_stage::Target) to those who extract and a
//! [`Source`](pghaul_stage::Source) to those who load, so the runner that migrates in one process
//! does both halves as well, with the same retries, progress and resume. The format, and what each
//! crash leaves behind, is described in `docs/spool-format.md`.
//!
//! | what | file |
//! |---|---|
//! | where a spool is | `location.rs` |
//! | objects that are created if absent | `store.rs` |
//! | hashes and encryption | `seal.rs` |
//! | what is in a spool | `spool.rs`, `name.rs`, `manifest.rs` |
//! | rows to files | `slice_writer.rs`, `row_count.rs`, `target.rs` |
//! | files to rows | `file_reader.rs`, `source.rs` |
//! | who works on what | `worker.rs`, `process.rs`, `claim.rs` |
//! | room | `space.rs` |
//! | looking after one | `inspect.rs`, `gc.rs` |

mod claim;
mod file_reader;
mod gc;
mod inspect;
mod location;
mod manifest;
mod name;
mod process;
mod row_count;
mod seal;
mod slice_writer;
mod source;
mod space;
mod spool;
mod store;
mod target;
mod worker;

pub use gc::{Garbage, garbage};
pub use inspect::{Contents, Damage, contents};
pub use location::open;
pub use manifest::{Entry, File, FileEncoding, SliceSeal};
pub use seal::Key;
pub use source::SpoolSource;
pub use spool::{Exported, Header, Spool};
pub use store::Store;
pub use target::{Recorder, SpoolTarget, Storing};
pub use worker::{Role, Worker};
