//! The runtime server, through its API, with real processes and databases.

mod agents;
mod api;
mod command;
mod decommission;
mod endpoints;
mod hostile;
mod kill;
mod names;
mod predecessor;
mod queue;
mod restart;
mod roles;
mod secret;
mod streams;
mod transport;
mod validate;
