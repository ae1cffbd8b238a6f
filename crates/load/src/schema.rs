//! The schema as far as rows need it.
