//! The spool: sealed Parquet files between stages on separate hosts.
