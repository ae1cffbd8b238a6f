//! The runner and its parts, without PostgreSQL.

mod channel;
mod endings;
mod faults;
mod moves;
mod rig;
mod shared;
mod transforms;
mod turns;
mod watching;
