//! Why a target refuses characters.

use std::fmt;

/// The cause of an error: a database of this encoding cannot hold what it was sent.
///
/// The target says so; the source, which knows the rows, can then find the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untranslatable {
    /// The encoding, by PostgreSQL's name.
    pub encoding: String,
}

impl fmt::Display for Untranslatable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the target's encoding is {}", self.encoding)
    }
}

impl std::error::Error for Untranslatable {}
