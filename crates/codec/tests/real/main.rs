//! The codec against a real server, which says what the values are.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod every_type;
mod native;
mod server;
