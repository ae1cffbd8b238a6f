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
//! ```
//! use std::sync::Arc;
//!
//! use pghaul_relay::Pipeline;
//! use pghaul_spool::{FileEncoding, Role, Spool, SpoolSource, SpoolTarget, Storing, Worker};
//! use pghaul_stage::TableId;
//! use pghaul_stage::memory::{MemorySource, MemoryTarget};
//!
//! let table = TableId::new("public", "greeting");
//! let source = MemorySource::new().table(table.clone(), ["1\thello"]);
//! let target = MemoryTarget::new();
//! let folder = tempfile::tempdir().expect("a folder");
//!
//! let runtime = tokio::runtime::Runtime::new().expect("a runtime");
//! let handle = runtime.handle();
//! let spool = handle.block_on(async {
//!     let store = pghaul_spool::open(&folder.path().display().to_string(), true)?;
//!     Spool::create(store, FileEncoding::Typed, None).await.map(Arc::new)
//! })?;
//! let worker = |role| handle.block_on(Worker::enter(Arc::clone(&spool), role)).map(Arc::new);
//!
//! let into = SpoolTarget::new(worker(Role::Extract)?, Storing::default());
//! Pipeline::from(Arc::new(source)).to(Arc::new(into), handle.clone()).run_as_planned()?;
//! // Later, elsewhere:
//! let out_of = SpoolSource::new(worker(Role::Load)?, false);
//! let loading = Pipeline::from(Arc::new(out_of));
//! loading.to(Arc::new(target.clone()), handle.clone()).run_as_planned()?;
//!
//! assert_eq!(target.rows(&table), ["1\thello"]);
//! # Ok::<(), pghaul_stage::Error>(())
//! ```
//!
//! | what | file |
//! |---|---|
//! | where a spool is | `location.rs`, `cloud.rs`, `relay.rs` |
//! | objects that are created if absent | `store.rs` |
//! | hashes and encryption | `seal.rs` |
//! | what is in a spool | `spool.rs`, `losable.rs`, `examined.rs`, `sealed.rs`, `name.rs`, `object.rs`, `manifest.rs` |
//! | rows to files | `slice_writer.rs`, `layout.rs`, `row_count.rs`, `target.rs` |
//! | files to rows | `file_reader.rs`, `thrift.rs`, `source.rs` |
//! | who works on what | `worker.rs`, `process.rs`, `claim.rs` |
//! | room | `space.rs` |
//! | looking after one | `inspect.rs`, `gc.rs` |

mod claim;
mod cloud;
mod examined;
mod file_reader;
mod gc;
mod inspect;
mod layout;
mod location;
mod losable;
mod manifest;
mod name;
mod object;
mod process;
mod relay;
mod row_count;
mod seal;
mod sealed;
mod slice_writer;
mod source;
mod space;
mod spool;
mod store;
mod target;
mod thrift;
mod worker;

pub use examined::Examined;
pub use gc::{Garbage, garbage};
pub use inspect::{Contents, Damage, contents};
pub use location::{is_missing, objects, of_database, open};
pub use manifest::{Entry, File, FileEncoding, SliceSeal};
pub use object::Object;
pub use relay::{AGENT_HEADER, Access, Connection, EPOCH_HEADER, Relay, Seat, is_segment, segment};
pub use seal::Key;
pub use source::SpoolSource;
pub use spool::{Exported, Header, Spool};
pub use store::Store;
pub use target::{Recorder, SpoolTarget, Storing};
pub use worker::{Role, Worker};
