//! The PostgreSQL target against a real server.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod server;

#[path = "target/conformance.rs"]
mod conformance;
#[path = "target/create.rs"]
mod create;
#[path = "target/fence.rs"]
mod fence;
#[path = "target/inspect.rs"]
mod inspect;
#[path = "target/large_object.rs"]
mod large_object;
#[path = "target/migration.rs"]
mod migration;
#[path = "target/properties.rs"]
mod properties;
#[path = "target/resume.rs"]
mod resume;
#[path = "target/write.rs"]
mod write;
