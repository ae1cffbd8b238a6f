//! The target database: what is there, and how to make it like the source's.
