//! The steps that a migration has done.

use std::collections::HashSet;

/// What the step of an archive's entry begins with; its number follows.
const ENTRY: &str = "entry ";

/// Names of steps. Most are those of entries, of which there may be a million, so these are kept
/// as numbers.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    entries: HashSet<i32>,
    others: HashSet<String>,
}

impl Steps {
    /// Takes note of a step.
    pub(crate) fn insert(&mut self, step: &str) {
        match entry(step) {
            Some(entry) => self.entries.insert(entry),
            None => self.others.insert(step.to_owned()),
        };
    }

    /// Whether a step was done.
    pub(crate) fn contains(&self, step: &str) -> bool {
        match entry(step) {
            Some(entry) => self.entries.contains(&entry),
            None => self.others.contains(step),
        }
    }
}

fn entry(step: &str) -> Option<i32> {
    step.strip_prefix(ENTRY)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_others_are_told_apart() {
        let mut steps = Steps::default();
        for step in ["entry 7", "index 8", "entry and more"] {
            assert!(!steps.contains(step));
            steps.insert(step);
            assert!(steps.contains(step));
        }
        for step in ["entry 8", "index 7", "7", "entry ", ""] {
            assert!(!steps.contains(step), "{step}");
        }
    }
}
