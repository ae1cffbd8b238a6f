//! Statements of an archive entry.
