//! Restores the schema.
