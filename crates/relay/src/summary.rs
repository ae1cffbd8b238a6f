//! What a run did.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// What a run moved and where its time went. Durations serialise as seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Parts copied by this run.
    pub parts: u64,
    /// Parts that an earlier run had made durable; they were not read again.
    pub skipped: u64,
    /// Rows copied by this run, exactly.
    pub rows: u64,
    /// Payload bytes copied by this run.
    pub bytes: u64,
    /// Attempts that failed and were repeated.
    pub retries: u64,
    /// From the first part to the last.
    #[serde(serialize_with = "seconds")]
    pub copying: Duration,
    /// What remained to be done after the last part: indexes that were still being built,
    /// constraints between tables, the rest of the schema, sequences, statistics.
    #[serde(serialize_with = "seconds")]
    pub completing: Duration,
    /// All of it, preparation included.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
    /// How long readers waited because the target was slower; summed over all lanes.
    #[serde(serialize_with = "seconds")]
    pub waited_for_target: Duration,
    /// How long writers waited because the source was slower; summed over all lanes.
    #[serde(serialize_with = "seconds")]
    pub waited_for_source: Duration,
}

pub(crate) fn seconds<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
