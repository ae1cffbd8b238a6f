//! Which work on tables is ready, and which is not.
