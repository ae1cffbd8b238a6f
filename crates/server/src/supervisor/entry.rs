//! One migration in the hands of the supervisor.

use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pghaul_stage::{Error, Kind, Result};
use uuid::Uuid;

use super::{Action, Setup, Shown};
use crate::agents;
use crate::job::{Password, Topology};
use crate::machine::{Command, Order, Phase, Seen, Status, Step};
use crate::model::{CurrentStatus, DbDetails, DbState, Failure, Migration, State, SubStateDetails};
use crate::problem::Problem;
use crate::run::RunDir;
use crate::run::fold::Fold;
use crate::run::tail::Tail;
use crate::store::{Row, Store};
use crate::vault::Vault;
use crate::{Job, Time, now};

/// A process that lived so long before it died, did not die of what killed the one before it.
const LONG: chrono::TimeDelta = chrono::TimeDelta::minutes(10);

/// A migration.
pub(super) struct Entry {
    pub(super) seq: i64,
    pub(super) id: Uuid,
    pub(super) name: String,
    /// With its passwords.
    pub(super) job: Job,
    pub(super) created_at: Time,
    pub(super) created_by: String,
    pub(super) status: Status,
    pub(super) run: RunDir,
    /// Whether a process of it lives, when it was looked at.
    pub(super) alive: bool,
    /// That process, if it was started by this one.
    child: Option<Child>,
    tail: Tail,
    fold: Arc<Mutex<Fold>>,
}

impl Entry {
    /// One that is new, and how to record it.
    pub(super) fn create(
        name: String,
        job: Job,
        user: String,
        setup: &Setup,
    ) -> Result<(Self, Row)> {
        let id = Uuid::now_v7();
        let run = RunDir::new(setup.runs.join(id.to_string()));
        let status = Status::new(&job);
        let passwords = job
            .passwords()
            .map(|password| password.map(Password::expose));
        let secrets = setup.vault.seal(id, json(&passwords)?.as_bytes())?;
        let created_at = now();
        let row = Row {
            seq: 0,
            id: id.to_string(),
            name: name.clone(),
            job: json(&job)?,
            secrets,
            created_at: created_at.to_rfc3339(),
            created_by: user.clone(),
            status: json(&status)?,
            view: None,
        };
        let entry = Self {
            seq: 0,
            id,
            name,
            job,
            created_at,
            created_by: user,
            status,
            alive: false,
            child: None,
            tail: Tail::new(run.events()),
            fold: Arc::default(),
            run,
        };
        Ok((entry, row))
    }

    /// One that was recorded; with what is said of it, if it has ended.
    pub(super) fn from_row(
        row: Row,
        run: RunDir,
        vault: &Vault,
    ) -> Result<(Self, Option<Migration>)> {
        let broken = |error: serde_json::Error| {
            Error::new(Kind::Permanent, "the record of a migration cannot be read")
                .on(format!("migration {:?}", row.name))
                .because(error)
        };
        let id: Uuid = row.id.parse().unwrap_or_default();
        let secrets = vault.open_sealed(id, &row.secrets)?;
        let passwords: [Option<String>; 2] = serde_json::from_slice(&secrets).map_err(broken)?;
        let job: Job = serde_json::from_str(&row.job).map_err(broken)?;
        let view = row.view.as_deref().map(serde_json::from_str).transpose();
        let view = view.map_err(broken)?;
        let entry = Self {
            seq: row.seq,
            id,
            job: job.with_passwords(passwords.map(|one| one.map(Password::from))),
            created_at: row.created_at.parse().unwrap_or_default(),
            created_by: row.created_by,
            status: serde_json::from_str(&row.status).map_err(broken)?,
            name: row.name,
            alive: false,
            child: None,
            tail: Tail::new(run.events()),
            fold: Arc::default(),
            run,
        };
        Ok((entry, view))
    }

    /// Sees whether its process lives, and what it told since.
    pub(super) fn look(&mut self) {
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            tracing::info!(name = self.name, %status, "a process ended");
            self.child = None;
        }
        // Looked at before the events are read, so that what it told last is among them.
        let alive = self.child.is_some()
            || self.run.is_alive().unwrap_or_else(|error| {
                tracing::warn!(name = self.name, %error, "cannot tell whether its process lives");
                self.alive
            });
        self.alive = alive;
        let fold = Arc::clone(&self.fold);
        let mut fold = lock(&fold);
        if let Err(error) = self.tail.read(|event| fold.add(event)) {
            tracing::warn!(name = self.name, %error, "its events cannot be read");
        }
        if self.is_of_agents() {
            // Whoever works on it, it lives until it has ended.
            self.alive = fold.under_way().is_some();
        }
    }

    /// Whether no process of this host works on it.
    pub(super) fn is_of_agents(&self) -> bool {
        self.job.topology == Topology::Agents
    }

    fn seen(&self) -> Seen {
        lock(&self.fold).seen(self.alive)
    }

    /// What to do next.
    pub(super) fn next(&self) -> Step {
        self.status.next(&self.job, &self.seen(), now())
    }

    /// Starts a process for it.
    pub(super) fn start(&mut self, command: Command, setup: &Setup) {
        let status = Status {
            started_at: self.status.started_at.or(Some(now())),
            attempted_at: Some(now()),
            crashed_at: None,
            ..self.status.clone()
        };
        if !self.record(status, &setup.store) {
            return;
        }
        let rate = self.status.bytes_per_second;
        let noted = self
            .run
            .make()
            .and_then(|()| self.run.note_attempt(command, rate));
        let child = noted.and_then(|()| {
            // From now on, agents find work.
            let start = || setup.program.start(&self.run, &self.job, command, rate);
            (!self.is_of_agents()).then(start).transpose()
        });
        match child {
            Ok(child) => {
                let pid = child.as_ref().map(Child::id);
                tracing::info!(name = self.name, pid, ?command, "a migration starts");
                self.child = child;
                self.alive = true;
            }
            // As if it had died at once: it is tried again, and not for ever.
            Err(error) => {
                tracing::error!(name = self.name, %error, "its process cannot be started");
                let _noted = self.take(Step::Crashed, &setup.store);
            }
        }
    }

    /// Takes a step that starts nothing; whether to go on with the next one at once.
    pub(super) fn take(&mut self, step: Step, store: &Store) -> bool {
        let status = self.status.clone();
        match step {
            Step::Wait | Step::Start(_) => false,
            Step::Tell(order) => {
                self.tell(order);
                false
            }
            Step::Kill => {
                let killed = match self.is_of_agents() {
                    true => agents::append(
                        &self.run,
                        &[serde_json::json!({ "event": "ended", "outcome": "canceled" })],
                    ),
                    false => self.run.kill(),
                };
                if let Err(error) = killed {
                    tracing::warn!(name = self.name, %error, "its process cannot be ended");
                }
                false
            }
            Step::Crashed => {
                let long = status.attempted_at.is_some_and(|at| now() - at > LONG);
                let crashes = if long { 1 } else { status.crashes + 1 };
                tracing::warn!(name = self.name, crashes, "its process died");
                let crashed_at = Some(now());
                self.record(
                    Status {
                        crashes,
                        crashed_at,
                        ..status
                    },
                    store,
                )
            }
            Step::Validated => self.record(
                Status {
                    phase: Phase::Validated,
                    crashes: 0,
                    ..status
                },
                store,
            ),
            Step::Finish(state, error) => self.finish(state, error, store),
        }
    }

    /// Does what somebody asked for.
    pub(super) fn act(&mut self, action: Action, store: &Store) -> Result<(), Problem> {
        if !self.status.is_active() {
            let name = &self.name;
            return Err(Problem::conflict(format!("migration {name:?} has ended")));
        }
        let mut status = self.status.clone();
        match action {
            Action::Cancel => {
                status.canceled_at.get_or_insert(now());
            }
            Action::Pause => status.paused = true,
            Action::Resume => {
                status.paused = false;
                status.window_ignored = self.job.window.is_some_and(|window| window.to <= now());
            }
            Action::Throttle(rate) => status.bytes_per_second = rate,
        }
        self.record(status, store)
            .then_some(())
            .ok_or_else(Problem::busy)
    }

    /// Asks the process to stop, because the server does.
    pub(super) fn interrupt(&self) {
        if !self.is_of_agents() && self.alive && lock(&self.fold).seen(true).ended.is_none() {
            self.tell(Order::Cancel);
        }
    }

    /// Lets go of what its events added up to, which is recorded.
    pub(super) fn release(&mut self) {
        self.fold = Arc::default();
        self.tail = Tail::new(self.run.events());
    }

    fn tell(&self, order: Order) {
        if self.is_of_agents() {
            // They ask what holds whenever they call, so it is only noted.
            return self.note(order);
        }
        // One that has just been started does not listen yet; it is told again.
        if let Err(error) = self.run.tell(order) {
            tracing::debug!(name = self.name, ?order, %error, "its process was not told");
        }
    }

    fn note(&self, order: Order) {
        let event = match order {
            Order::Cancel => return,
            Order::Pause => serde_json::json!({ "event": "control", "action": "pause" }),
            Order::Resume => serde_json::json!({ "event": "control", "action": "resume" }),
            Order::Throttle(rate) => serde_json::json!({
                "event": "control", "action": "throttle", "bytesPerSecond": rate,
            }),
        };
        if let Err(error) = agents::append(&self.run, &[event]) {
            tracing::warn!(name = self.name, %error, "an order cannot be noted yet");
        }
    }

    fn finish(&mut self, state: State, error: Option<Failure>, store: &Store) -> bool {
        let before = self.status.clone();
        self.status.phase = Phase::Ended(state);
        self.status.paused = false;
        self.status.ended_at = Some(now());
        self.status.error = error;
        self.status.verified = lock(&self.fold).verified();
        let view = json(&self.migration(None));
        let recorded = view.and_then(|view| self.save(&self.status, Some(view), store));
        match recorded {
            Ok(()) => {
                tracing::info!(name = self.name, %state, "a migration ended");
                true
            }
            Err(error) => {
                tracing::error!(name = self.name, %error, "its end cannot be recorded yet");
                self.status = before;
                false
            }
        }
    }

    /// Changes the record; nothing is changed if that fails, and the same is tried again.
    fn record(&mut self, status: Status, store: &Store) -> bool {
        match self.save(&status, None, store) {
            Ok(()) => {
                self.status = status;
                true
            }
            Err(error) => {
                tracing::error!(name = self.name, %error, "its record cannot be changed yet");
                false
            }
        }
    }

    fn save(&self, status: &Status, view: Option<String>, store: &Store) -> Result<()> {
        let (seq, status) = (self.seq, json(status)?);
        store.wait(move |file| Row::update(file, seq, &status, view.as_deref()))
    }

    /// As it is shown, at this place in the queue.
    pub(super) fn show(&self, position: Option<u64>) -> Shown {
        self.shown(self.migration(position))
    }

    /// As it is shown, where that is known already.
    pub(super) fn shown(&self, migration: Migration) -> Shown {
        Shown {
            seq: self.seq,
            migration,
            run: self.run.clone(),
            fold: self.status.is_active().then(|| Arc::clone(&self.fold)),
        }
    }

    fn migration(&self, queue_position: Option<u64>) -> Migration {
        let (job, status) = (self.job.clone().with_passwords([None, None]), &self.status);
        let (seen, fold) = (self.seen(), lock(&self.fold));
        let (state, current_sub_state) = status.states(&job, &seen, now());
        let mut db_details = fold.databases();
        for name in &job.databases {
            let new = || DbDetails::new(name);
            db_details.entry(name.clone()).or_insert_with(new);
        }
        for details in db_details.values_mut() {
            self.settle(details, state);
        }
        Migration {
            name: self.name.clone(),
            migration_id: self.id,
            migration_mode: job.mode.into(),
            migration_option: job.option.into(),
            topology: job.topology,
            source: job.source.clone(),
            target: job.target.clone(),
            dbs_to_migrate: job.databases.clone(),
            created_at: self.created_at,
            created_by: self.created_by.clone(),
            started_at: status.started_at,
            ended_at: status.ended_at,
            paused: status.paused,
            bytes_per_second: status.bytes_per_second,
            queue_position,
            current_status: CurrentStatus {
                state,
                error: status.error.clone(),
                current_sub_state_details: SubStateDetails {
                    current_sub_state,
                    db_details,
                    validation_details: fold.validation(),
                },
            },
            verified: fold.verified(),
            job,
        }
    }

    /// What becomes of a database when the migration is stopped, or has ended without it.
    fn settle(&self, details: &mut DbDetails, state: State) {
        if details.migration_state != DbState::InProgress {
            return;
        }
        details.migration_state = match state {
            State::Canceled => DbState::Canceled,
            State::Failed | State::ValidationFailed => DbState::Failed,
            State::Succeeded => DbState::Succeeded,
            _ if self.status.canceled_at.is_some() => DbState::Canceling,
            _ => DbState::InProgress,
        };
        if !state.is_active() {
            details.ended_on = details.ended_on.or(self.status.ended_at);
            details.running_steps = Vec::new();
            details.eta_seconds = None;
            details.bytes_per_second = 0.0;
        }
    }
}

fn lock(fold: &Mutex<Fold>) -> MutexGuard<'_, Fold> {
    fold.lock().unwrap_or_else(PoisonError::into_inner)
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(Kind::Permanent, "no JSON can be made").because(error))
}
