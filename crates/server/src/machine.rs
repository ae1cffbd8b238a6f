//! What a migration does next: a pure function of what was asked, what is recorded and what is
//! seen of its process. Nothing here asks, waits or changes anything.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::job::{Extent, Topology, Window};
use crate::model::{Failure, State, SubState};
use crate::{Job, Time};

/// How often a process may die before a migration fails.
const ATTEMPTS: u32 = 8;

/// How long a process may take to stop after it was told to.
const FAREWELL: TimeDelta = TimeDelta::seconds(90);

/// What is recorded of a migration besides its job. Only the supervisor changes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// How far it is.
    pub(crate) phase: Phase,
    /// When somebody asked to cancel it.
    pub(crate) canceled_at: Option<Time>,
    /// Whether somebody paused it.
    pub(crate) paused: bool,
    /// Whether somebody let it go on outside its window.
    pub(crate) window_ignored: bool,
    /// The limit that somebody set, or that of the job.
    pub(crate) bytes_per_second: Option<u64>,
    /// When the last process was started.
    pub(crate) attempted_at: Option<Time>,
    /// How many processes died one after the other.
    pub(crate) crashes: u32,
    /// When the last one was seen dead.
    pub(crate) crashed_at: Option<Time>,
    /// When the first process was started.
    pub(crate) started_at: Option<Time>,
    /// When it ended.
    pub(crate) ended_at: Option<Time>,
    /// Why it failed.
    pub(crate) error: Option<Failure>,
    /// Whether source and target are the same, if they were compared.
    pub(crate) verified: Option<bool>,
}

/// How far a migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Nothing is done.
    New,
    /// The checks passed.
    Validated,
    /// It has ended.
    Ended(State),
}

/// What a process of a migration does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Command {
    /// `pghaul validate`.
    Validate,
    /// `pghaul migrate`.
    Migrate,
}

/// What is seen of a migration.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    /// Whether its process lives.
    pub(crate) alive: bool,
    /// What its last process was started for.
    pub(crate) attempt: Option<Command>,
    /// How that ended, if it told.
    pub(crate) ended: Option<Ended>,
    /// Whether it was told to pause, last.
    pub(crate) told_pause: bool,
    /// The limit that it was told, last.
    pub(crate) told_rate: Option<u64>,
    /// Whether its checks have begun.
    pub(crate) checking: bool,
    /// Whether rows of it are still to be copied; `None` before it is known.
    pub(crate) copying: Option<bool>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) error: Option<Failure>,
}

/// The ends of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Done,
    Differs,
    Invalid,
    Failed,
    Canceled,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Nothing before something changes, or this time comes.
    Wait,
    /// To start a process, once there is a place for one.
    Start(Command),
    /// To tell the process.
    Tell(Order),
    /// To end the process at once.
    Kill,
    /// To note that the process died.
    Crashed,
    /// To note that the checks passed.
    Validated,
    /// To note how it ended.
    Finish(State, Option<Failure>),
}

/// What a process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Cancel,
    Pause,
    Resume,
    Throttle(Option<u64>),
}

impl Status {
    /// Of a migration that was just created.
    pub(crate) fn new(job: &Job) -> Self {
        Self {
            phase: Phase::New,
            canceled_at: None,
            paused: false,
            window_ignored: false,
            bytes_per_second: job.bytes_per_second,
            attempted_at: None,
            crashes: 0,
            crashed_at: None,
            started_at: None,
            ended_at: None,
            error: None,
            verified: None,
        }
    }

    /// Whether anything may still happen.
    pub(crate) fn is_active(&self) -> bool {
        !matches!(self.phase, Phase::Ended(_))
    }

    /// The process that comes next.
    fn command(&self, job: &Job) -> Command {
        match (job.option, self.phase) {
            (Extent::Migrate, _) | (_, Phase::Validated) => Command::Migrate,
            _ => Command::Validate,
        }
    }

    /// Whether rows may be copied as far as the window says.
    fn within(&self, window: Option<Window>, now: Time) -> bool {
        let open = window.is_none_or(|window| window.from <= now && now < window.to);
        open || self.window_ignored
    }

    /// What to do next.
    pub(crate) fn next(&self, job: &Job, seen: &Seen, now: Time) -> Step {
        if !self.is_active() {
            return Step::Wait;
        }
        if seen.alive {
            return self.steer(job, seen, now);
        }
        match (seen.attempt, &seen.ended) {
            // That was noted before, and the next process was not started yet.
            (Some(Command::Validate), Some(_))
                if self.phase == Phase::Validated && self.canceled_at.is_none() => {}
            (Some(command), Some(ended)) if ended.outcome != Outcome::Canceled => {
                return self.judge(job, command, ended);
            }
            _ if self.canceled_at.is_some() => return Step::Finish(State::Canceled, None),
            // One that told that it was stopped, for which nobody here asked, is gone on with.
            _ => {}
        }
        let died = seen.attempt.is_some() && seen.ended.is_none();
        if (died || self.crashed_at.is_some())
            && let Some(step) = self.after_crash(now)
        {
            return step;
        }
        let command = self.command(job);
        let early = job.start_at.is_some_and(|at| now < at);
        let shut = command == Command::Migrate && !self.within(job.window, now);
        if early || shut || self.paused {
            Step::Wait
        } else {
            Step::Start(command)
        }
    }

    /// What to tell a process that lives.
    fn steer(&self, job: &Job, seen: &Seen, now: Time) -> Step {
        if let Some(at) = self.canceled_at {
            return if now - at > FAREWELL {
                Step::Kill
            } else {
                Step::Tell(Order::Cancel)
            };
        }
        if seen.attempt == Some(Command::Validate) {
            return Step::Wait;
        }
        let pause = self.paused || !self.within(job.window, now);
        if pause != seen.told_pause {
            return Step::Tell(if pause { Order::Pause } else { Order::Resume });
        }
        if self.bytes_per_second != seen.told_rate {
            return Step::Tell(Order::Throttle(self.bytes_per_second));
        }
        Step::Wait
    }

    /// What follows from how a process ended.
    fn judge(&self, job: &Job, command: Command, ended: &Ended) -> Step {
        let failed = || {
            let unknown = || Failure::new("a database failed; its own error says why");
            Step::Finish(
                State::Failed,
                Some(ended.error.clone().unwrap_or_else(unknown)),
            )
        };
        match (command, ended.outcome) {
            (Command::Validate, Outcome::Invalid) => Step::Finish(State::ValidationFailed, None),
            (Command::Validate, Outcome::Done) if job.option == Extent::Validate => {
                Step::Finish(State::Succeeded, None)
            }
            (Command::Validate, Outcome::Done) if self.canceled_at.is_some() => {
                Step::Finish(State::Canceled, None)
            }
            (Command::Validate, Outcome::Done) => Step::Validated,
            (Command::Migrate, Outcome::Done) => Step::Finish(State::Succeeded, None),
            (Command::Migrate, Outcome::Differs) => Step::Finish(
                State::Failed,
                Some(Failure {
                    remedy: Some("the events list the differences".to_owned()),
                    ..Failure::new("source and target were compared and differ")
                }),
            ),
            _ => failed(),
        }
    }

    /// What to do about a process that died without a word; `None` if another one is to start.
    fn after_crash(&self, now: Time) -> Option<Step> {
        let Some(at) = self.crashed_at else {
            return Some(Step::Crashed);
        };
        if self.crashes >= ATTEMPTS {
            return Some(Step::Finish(
                State::Failed,
                Some(Failure {
                    remedy: Some("the log of the migration has its last words".to_owned()),
                    ..Failure::new("its process died again and again")
                }),
            ));
        }
        (now < at + pause(self.crashes)).then_some(Step::Wait)
    }

    /// What the service calls the place where it is.
    pub(crate) fn states(&self, job: &Job, seen: &Seen, now: Time) -> (State, SubState) {
        if let Phase::Ended(state) = self.phase {
            return (state, SubState::Completed);
        }
        let active = |sub| (State::InProgress, sub);
        if self.canceled_at.is_some() {
            return active(SubState::CancelingRequestedDbMigrations);
        }
        let command = match seen.attempt {
            Some(command) if seen.alive => command,
            _ => self.command(job),
        };
        if job.start_at.is_some_and(|at| now < at) && !seen.alive {
            return active(SubState::WaitingForDataMigrationScheduling);
        }
        if command == Command::Migrate && !self.within(job.window, now) {
            let over = job.window.is_some_and(|window| now >= window.to);
            let sub = SubState::WaitingForDataMigrationWindow;
            return if over {
                (State::WaitingForUserAction, sub)
            } else {
                active(sub)
            };
        }
        // What agents are to check, waits for them.
        let checking = seen.checking || job.topology == Topology::Server;
        active(match (seen.alive, command, seen.copying) {
            (true, Command::Validate, _) if checking => SubState::ValidationInProgress,
            (true, Command::Migrate, Some(true)) => SubState::MigratingData,
            (true, Command::Migrate, Some(false)) => SubState::CompletingMigration,
            _ => SubState::PerformingPreRequisiteSteps,
        })
    }
}

/// How long to wait after so many crashes.
fn pause(crashes: u32) -> TimeDelta {
    TimeDelta::seconds(1 << crashes.saturating_sub(1).min(6))
}

#[cfg(test)]
mod tests;
