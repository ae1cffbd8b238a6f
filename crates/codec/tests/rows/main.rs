//! Rows made up here, into batches and back: no server, any bytes.

mod garbage;
mod identity;
mod limits;
mod parquet;
mod random;
