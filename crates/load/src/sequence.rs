//! Sequences' values.
