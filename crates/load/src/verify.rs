//! Compares source and target.
