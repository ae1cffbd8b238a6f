//! How far a migration was at times that are spread evenly over its run, for charts.

use chrono::TimeDelta;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Time;

/// So many are kept at most; then every second one goes, and they come half as often.
const MOST: usize = 1024;

/// How far all databases together were at a time.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) time: Time,
    /// Rows copied by the process that ran then.
    pub(crate) rows: u64,
    /// Bytes copied by the process that ran then.
    pub(crate) bytes: u64,
    /// How much of the plan was copied, from 0 to 1.
    pub(crate) fraction: f64,
}

/// The samples of a run.
#[derive(Debug)]
pub(crate) struct Samples {
    kept: Vec<Sample>,
    /// The least time between two of them.
    every: TimeDelta,
}

impl Default for Samples {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            every: TimeDelta::seconds(1),
        }
    }
}

impl Samples {
    /// Keeps a sample, unless the last one is too young.
    pub(crate) fn add(&mut self, sample: Sample) {
        let young = |last: &Sample| sample.time - last.time < self.every;
        if self.kept.last().is_some_and(young) {
            return;
        }
        self.kept.push(sample);
        if self.kept.len() > MOST {
            let mut odd = false;
            self.kept.retain(|_| {
                odd = !odd;
                odd
            });
            self.every = self.every * 2;
        }
    }

    /// All that are kept, the oldest first.
    pub(crate) fn all(&self) -> &[Sample] {
        &self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_few_samples_over_all_of_it() {
        let mut samples = Samples::default();
        let begin = Time::UNIX_EPOCH;
        for second in 0..200_000_u32 {
            samples.add(Sample {
                time: begin + TimeDelta::seconds(second.into()),
                rows: second.into(),
                bytes: 0,
                fraction: 0.0,
            });
        }
        let all = samples.all();
        assert!((MOST / 2..=MOST).contains(&all.len()), "{}", all.len());
        assert_eq!(all[0].rows, 0);
        assert!(all[all.len() - 1].rows > 199_000);
        let steps: Vec<_> = all
            .windows(2)
            .map(|two| two[1].rows - two[0].rows)
            .collect();
        let (least, most) = (steps.iter().min().unwrap(), steps.iter().max().unwrap());
        assert!(most - least <= 1, "{least} to {most}");
    }
}
