//! End-to-end tests: real PostgreSQL servers, the real binary, one test program.

mod bench;
mod connect;
mod data_only;
mod databases;
mod encodings;
mod examples;
mod faults;
mod foresight;
mod harness;
mod large_rows;
mod managed;
mod many_tables;
mod migrate;
mod migration;
mod networks;
mod object_stores;
mod objects;
mod selection;
mod server;
mod support;
mod trace;
mod validate;
mod values;
mod verify;
mod versions;
