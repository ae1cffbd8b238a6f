//! The thin PostgreSQL connection that moves bulk bytes, and libpq's connection parameters.
//!
//! - [`Conninfo`] reads a connection string as libpq does.
//! - [`Lane`] is a bare session: statements, [`CopyOut`] and [`CopyIn`], which move COPY bytes
//!   without a look at the rows, in constant memory.
//! - [`Client`] is a tokio-postgres session opened by the same rules, for catalogs and DDL.
//! - [`quote`], [`pattern`] and [`sqlstate`] are for everybody who builds SQL or judges an error.
//! - [`Reach`] is which servers may be connected to at all.
//! - [`Chosen`] is a selection of objects as one server understands it.

mod auth;
pub mod bandwidth;
#[cfg(feature = "bench")]
pub mod bench;
mod cancel;
pub mod checkup;
mod chosen;
mod client;
mod conninfo;
mod copy_in;
mod copy_out;
mod frames;
mod lane;
pub mod pattern;
pub mod pem;
pub mod quote;
mod reach;
pub mod security_label;
mod server_error;
mod session;
mod session_attrs;
pub mod sqlstate;
mod startup;
mod stream;
mod tls;

pub use cancel::Canceller;
pub use chosen::{Chosen, search_path};
pub use client::Client;
pub use conninfo::{Address, Conninfo, Environment, Host};
pub use copy_in::{CopyIn, JOIN_BYTES};
pub use copy_out::{CopyEvent, CopyOut};
pub use lane::Lane;
pub use reach::Reach;
pub use server_error::server_error;
pub use startup::Unconnected;
pub use tls::https_refusal;
