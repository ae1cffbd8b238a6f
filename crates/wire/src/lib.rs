//! The thin PostgreSQL connection that moves bulk bytes, and libpq's connection parameters.

mod cancel;
mod client;
mod conninfo;
mod copy_in;
mod copy_out;
mod lane;
pub mod quote;
pub mod sqlstate;

pub use cancel::Canceller;
pub use client::{Client, server_error};
pub use conninfo::{Address, Conninfo, Environment, Host};
pub use copy_in::CopyIn;
pub use copy_out::{CopyEvent, CopyOut};
pub use lane::Lane;
