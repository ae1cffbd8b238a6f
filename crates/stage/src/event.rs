//! What a migration tells those who watch it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::{Part, PartId};

/// Receives events. Called from the threads that do the work, so it must return quickly.
pub trait Observer: Send + Sync {
    /// Takes note of one event.
    fn observe(&self, event: &Event<'_>);
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&self, _: &Event<'_>) {}
}

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The plan stands. `durable` lists parts that an earlier run finished.
    Planned {
        /// All parts.
        parts: &'a [Part],
        /// Those already done.
        durable: &'a [PartId],
    },
    /// A part is being read. Sent again for each attempt; what an earlier attempt of the part
    /// reported is void.
    PartStarted {
        /// Which one.
        part: &'a Part,
        /// Counted from 1.
        attempt: u32,
    },
    /// The target accepted a batch.
    PartProgress {
        /// Of which part.
        part: PartId,
        /// Of which slice of it, as in [`Batch`](crate::Batch).
        slice: u32,
        /// Rows that ended in the batch.
        rows: u64,
        /// Its size.
        bytes: u64,
    },
    /// What one of the two tasks of a lane waited for since it said so last, or since the
    /// attempt began. Comes about ten times a second from each, unless a single wait is longer.
    Waited {
        /// Working on which part.
        part: PartId,
        /// [`Side::Source`](crate::Side::Source) is the task that reads,
        /// [`Side::Target`](crate::Side::Target) the one that writes.
        side: crate::Side,
        /// How long for what.
        waits: crate::Waits,
        /// How long ago it began to count.
        elapsed: Duration,
    },
    /// An attempt failed and the part will be tried again.
    PartRetried {
        /// Which one.
        part: &'a Part,
        /// Why it failed.
        error: &'a crate::Error,
        /// How long until the next attempt.
        pause: Duration,
    },
    /// A part is durable.
    PartDone {
        /// Which one.
        part: &'a Part,
        /// Rows in it, exactly.
        rows: u64,
        /// Payload bytes moved.
        bytes: u64,
        /// From first attempt to commit.
        elapsed: Duration,
    },
    /// A part failed for good, which ends the run. What is told of other parts after that is a
    /// consequence, and not told.
    PartFailed {
        /// Which one.
        part: &'a Part,
        /// Why.
        error: &'a crate::Error,
    },
    /// A part is durable, and another process made it so.
    PartElsewhere {
        /// Which one.
        part: &'a Part,
    },
    /// A step other than copying began.
    StepStarted {
        /// Which step.
        step: Step,
        /// On what, for example an index; empty for a step that happens once.
        subject: &'a str,
        /// The table it belongs to, if it belongs to one.
        table: Option<&'a crate::TableId>,
    },
    /// It ended well.
    StepDone {
        /// Which step.
        step: Step,
        /// The subject given at its start.
        subject: &'a str,
        /// The table given at its start.
        table: Option<&'a crate::TableId>,
        /// How long it took.
        elapsed: Duration,
    },
    /// The target will lack something of the source. May be sent again on another start.
    Omitted(&'a crate::Omission),
    /// Something the operator should read.
    Notice {
        /// How much it matters.
        severity: Severity,
        /// One sentence.
        message: &'a str,
    },
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For information.
    Info,
    /// Something needs a look. What is not carried over is an [`Omission`](crate::Omission).
    Warning,
}

/// The steps of a migration besides copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Step {
    /// Reading the source's catalog and dumping its schema.
    Catalog,
    /// Creating roles.
    Roles,
    /// Creating the target database.
    Database,
    /// Restoring what rows need: types, functions, tables.
    PreData,
    /// Building one index.
    Index,
    /// Adding one constraint of a single table.
    Constraint,
    /// Adding one foreign key.
    ForeignKey,
    /// Restoring the rest: triggers, rules, policies, grants, comments.
    PostData,
    /// Refreshing one materialized view.
    Refresh,
    /// Setting sequences.
    Sequences,
    /// Collecting planner statistics.
    Analyze,
    /// Comparing source and target.
    Verify,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Catalog => "catalog",
            Step::Roles => "roles",
            Step::Database => "database",
            Step::PreData => "pre-data",
            Step::Index => "index",
            Step::Constraint => "constraint",
            Step::ForeignKey => "foreign key",
            Step::PostData => "post-data",
            Step::Refresh => "refresh",
            Step::Sequences => "sequences",
            Step::Analyze => "analyze",
            Step::Verify => "verify",
        })
    }
}
