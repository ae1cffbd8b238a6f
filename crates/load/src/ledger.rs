//! The record of a migration, kept on the target.
