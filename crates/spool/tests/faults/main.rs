//! What a spool must survive: requests that fail or lie, crashes between any two of them, damage,
//! hostile files, and processes that get in each other's way. The store is in memory, and so are
//! source and target.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod ambiguous;
mod corruption;
mod crash;
mod faulty;
mod hostile;
mod nth_io;
mod rig;
mod workers;
