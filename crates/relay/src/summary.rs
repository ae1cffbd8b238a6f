//! What a run did.

use std::time::Duration;

use pghaul_stage::Waits;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// What a run moved and where its time went. Durations serialise as seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Parts copied by this run.
    pub parts: u64,
    /// Parts that an earlier run had made durable; they were not read again.
    pub skipped: u64,
    /// Parts that other processes made durable meanwhile.
    pub elsewhere: u64,
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
    /// What the tasks that read waited for, summed over all lanes and attempts.
    pub reading: Tasks,
    /// What the tasks that write waited for, summed over all lanes and attempts.
    pub writing: Tasks,
}

/// Where the time of one kind of task went. A task that waits for the link waits for its
/// peer, unless the link itself is slow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tasks {
    /// How long they lived.
    pub elapsed: Duration,
    /// How long they waited for what.
    pub waits: Waits,
}

impl Serialize for Tasks {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Tasks", 5)?;
        for (name, time) in [
            ("elapsed", self.elapsed),
            ("source", self.waits.source),
            ("link", self.waits.link),
            ("transforms", self.waits.transforms),
            ("target", self.waits.target),
        ] {
            fields.serialize_field(name, &time.as_secs_f64())?;
        }
        fields.end()
    }
}

pub(crate) fn seconds<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

pub(crate) fn some_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    duration
        .map(|time| time.as_secs_f64())
        .serialize(serializer)
}
