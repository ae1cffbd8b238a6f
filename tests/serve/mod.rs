//! The runtime server, through its API, with real processes and databases.

mod api;
mod queue;
mod restart;
mod secret;
