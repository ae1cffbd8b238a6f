//! Reads a pg_dump archive in the custom format.
