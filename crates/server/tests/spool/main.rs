//! The spool service, as the client of `object_store` and one by hand see it.

mod client;
mod rig;
mod wire;
