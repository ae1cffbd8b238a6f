//! End-to-end tests: real PostgreSQL servers, the real binary, one test program.

mod harness;
mod support;
