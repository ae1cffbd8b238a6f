//! Where the time of a lane goes.

use std::ops::AddAssign;
use std::time::Duration;

/// How long something waited, by what it waited for. What is missing to the whole time it
/// spent on its own work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waits {
    /// For the source to give the next batch. Only who reads waits for it.
    pub source: Duration,
    /// For the link: who reads, for room in it; who writes, for a batch out of it.
    pub link: Duration,
    /// For transforms to change a batch. Only who writes waits for them.
    pub transforms: Duration,
    /// For the target to begin a part, to take a batch, or to commit. Only who writes waits for
    /// it.
    pub target: Duration,
}

impl Waits {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.source + self.link + self.transforms + self.target
    }
}

impl AddAssign for Waits {
    fn add_assign(&mut self, other: Self) {
        self.source += other.source;
        self.link += other.link;
        self.transforms += other.transforms;
        self.target += other.target;
    }
}
