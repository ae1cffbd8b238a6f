//! The schema restore against a real server: the same as pg_restore, whatever happens meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests use more of it")]
mod server;

// The reader has no public face; its own tests run in the library.
#[path = "../src/archive.rs"]
#[expect(dead_code, reason = "the tests look at a few fields only")]
mod archive;
#[path = "../src/toc.rs"]
#[expect(dead_code, reason = "the tests only read")]
mod toc;

#[path = "restore/faithful.rs"]
mod faithful;
#[path = "restore/list.rs"]
mod list;
#[path = "restore/order.rs"]
mod order;
#[path = "restore/refused.rs"]
mod refused;
#[path = "restore/resume.rs"]
mod resume;
#[path = "restore/role.rs"]
mod role;

#[path = "restore/source.rs"]
mod source;
