//! The target stage.
