//! Removes what pghaul created on the target.
