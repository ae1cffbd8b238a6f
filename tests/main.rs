//! End-to-end tests: real PostgreSQL servers, the real binary, one test program.

mod faults;
mod harness;
mod support;
