//! A source and a target that live in memory.
