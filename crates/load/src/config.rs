//! How the target is to be written, and why these are the defaults.
