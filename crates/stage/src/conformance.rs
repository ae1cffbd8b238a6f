//! The suite that every source, target and writer must pass.
