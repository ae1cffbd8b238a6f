//! Does jobs on tables in the background: several sessions, each with one job at a time.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pghaul_stage::{Error, Kind, Observer, Result, Side};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::apply::Apply;
use crate::build::Build;
use crate::cluster::{Cluster, Place};
use crate::config::Config;
use crate::entry::Unit;
use crate::ledger::Ledger;
use crate::schedule::Started;

/// Lets a job that would leave processors idle use the server's parallel workers; jobs side by
/// side share the processors among themselves. PostgreSQL 10 has none for this, and does not know
/// the setting.
const ALONE: &str = "SELECT pg_catalog.set_config(s.name, s.reset_val, true)
    FROM pg_catalog.pg_settings AS s WHERE s.name = 'max_parallel_maintenance_workers';";

/// Keeps a job among several from using them.
const AMONG_OTHERS: &str = "SELECT pg_catalog.set_config(s.name, '0', false)
    FROM pg_catalog.pg_settings AS s WHERE s.name = 'max_parallel_maintenance_workers'";

/// Jobs and the sessions that do them. Dropped, it stops them.
pub(crate) struct PostData {
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    observer: Arc<dyn Observer>,
    cluster: Arc<Cluster>,
    settings: String,
    widths: Widths,
    workers: Mutex<JoinSet<()>>,
}

/// How many jobs run at a time.
#[derive(Debug, Clone, Copy)]
struct Widths {
    /// As a rule.
    usual: usize,
    /// If these are all that are left: three jobs on two processors end sooner side by side than
    /// the third does by itself after the others.
    last: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    build: Build,
    /// What is still being copied.
    rows: Rows,
    outcome: Outcome,
}

/// Whether rows are still being copied, which needs processors and connections, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Some may be.
    #[default]
    Coming,
    /// None are, but the lanes may still have their connections.
    Over,
    /// None are, and the lanes have left.
    Left,
}

#[derive(Default)]
enum Outcome {
    #[default]
    Good,
    Failed(Error),
    /// Failed, and the error has been handed out.
    Reported,
}

impl PostData {
    /// Starts nothing yet.
    pub(crate) fn new(
        ledger: Arc<Ledger>,
        observer: Arc<dyn Observer>,
        config: &Config,
        cluster: Arc<Cluster>,
    ) -> Self {
        Self {
            shared: Arc::default(),
            ledger,
            observer,
            cluster,
            settings: settings(config),
            widths: Widths {
                usual: config.index_jobs,
                last: config.last_index_jobs(),
            },
            workers: Mutex::default(),
        }
    }

    /// A session of the kind that does the jobs.
    pub(crate) fn session(&self) -> Apply {
        let (ledger, observer) = (Arc::clone(&self.ledger), Arc::clone(&self.observer));
        Apply::new(ledger, observer, self.settings.clone())
    }

    /// Runs units in a session of this kind, as one of the builders.
    pub(crate) async fn run(&self, session: &mut Apply, units: &[Unit]) -> Result<()> {
        let _place = place(&self.cluster, session).await?;
        session.run(units).await?;
        if self.cluster.is_shared() {
            session.close();
        }
        Ok(())
    }

    /// Adds jobs and returns at once.
    ///
    /// # Errors
    ///
    /// If a job has failed before.
    pub(crate) fn add(&self, rows: Rows, jobs: impl FnOnce(&mut Build)) -> Result<()> {
        let mut state = self.shared.lock();
        state.check()?;
        state.rows = rows;
        jobs(&mut state.build);
        let wanted = state.build.schedule.unfinished().min(match rows {
            Rows::Left => self.widths.last,
            Rows::Coming | Rows::Over => self.widths.usual,
        });
        drop(state);
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        while workers.len() < wanted {
            let (shared, cluster) = (Arc::clone(&self.shared), Arc::clone(&self.cluster));
            workers.spawn(work(shared, cluster, self.session(), self.widths));
        }
        drop(workers);
        self.shared.changed.notify_waiters();
        Ok(())
    }

    /// Waits until every job is done.
    ///
    /// # Errors
    ///
    /// The first job's that fails; the others stop after what they are doing.
    pub(crate) async fn wait(&self) -> Result<()> {
        self.shared
            .when(|state| match state.check() {
                Ok(()) => (state.build.schedule.unfinished() == 0).then_some(Ok(())),
                Err(error) => Some(Err(error)),
            })
            .await
    }
}

/// A lone session keeps the parallel workers that the server grants.
fn settings(config: &Config) -> String {
    let memory = format!(
        "SET maintenance_work_mem = '{}MB'",
        config.maintenance_work_mem
    );
    match config.index_jobs {
        1 => memory,
        _ => memory + "; " + AMONG_OTHERS,
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ask` has an answer.
    async fn when<T>(&self, mut ask: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            // Registered before the question, so that no change in between is missed.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(answer) = ask(&mut self.lock()) {
                return answer;
            }
            changed.await;
        }
    }
}

impl State {
    fn check(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.outcome, Outcome::Reported) {
            Outcome::Good => {
                self.outcome = Outcome::Good;
                Ok(())
            }
            Outcome::Failed(error) => Err(error),
            Outcome::Reported => Err(Error::new(
                Kind::Cancelled,
                "an index or a constraint has failed before",
            )
            .at(Side::Target)),
        }
    }

    /// Whether another job may start.
    fn has_room(&mut self, widths: Widths) -> bool {
        let schedule = &mut self.build.schedule;
        schedule.running() < widths.usual
            || self.rows == Rows::Left && schedule.current(widths.last + 1) <= widths.last
    }

    fn fail(&mut self, error: Error) {
        if matches!(self.outcome, Outcome::Good) {
            self.outcome = Outcome::Failed(error);
        }
    }
}

/// Does jobs until one fails.
async fn work(shared: Arc<Shared>, cluster: Arc<Cluster>, mut session: Apply, widths: Widths) {
    let _watch = Watch(Arc::clone(&shared));
    loop {
        let next = |state: &mut State| {
            if !matches!(state.outcome, Outcome::Good) {
                return Some(None);
            }
            if !state.has_room(widths) {
                return None;
            }
            let started = state.build.schedule.start()?;
            let lone = started.lone && state.rows != Rows::Coming;
            Some(Some(Started { lone, ..started }))
        };
        let ready = next(&mut shared.lock());
        let ready = match ready {
            Some(ready) => ready,
            None => {
                if cluster.is_shared() {
                    session.close();
                }
                shared.when(next).await
            }
        };
        let Some(Started { id, work, lone }) = ready else {
            break;
        };
        let outcome = match place(&cluster, &mut session).await {
            Ok(_place) => {
                let lone = lone && cluster.is_quiet();
                let settings = if lone { ALONE } else { "" };
                session.together(&work(), settings).await
            }
            Err(error) => Err(error),
        };
        let mut state = shared.lock();
        state.build.schedule.finish(id);
        if let Err(error) = outcome {
            state.fail(error);
        }
        drop(state);
        shared.changed.notify_waiters();
    }
}

/// Waits for a place among the builders of all databases; who has to wait does so without a
/// session, so that there are no more sessions than places.
async fn place(cluster: &Cluster, session: &mut Apply) -> Result<Place> {
    match cluster.try_place() {
        Some(place) => Ok(place),
        None => {
            session.close();
            cluster.place().await
        }
    }
}

/// Makes a panic of a worker known, so that nobody waits for its job for ever.
struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().fail(Error::new(
                Kind::Permanent,
                "a worker on indexes has panicked",
            ));
            self.0.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Terms;

    const WIDTHS: Widths = Widths { usual: 2, last: 3 };

    fn state(rows: Rows, jobs: usize) -> State {
        let mut state = State {
            rows,
            ..State::default()
        };
        for _ in 0..jobs {
            let terms = Terms::default();
            state.build.schedule.add(Box::new(Vec::new), terms, &[]);
        }
        state
    }

    /// How many of so many jobs run at once.
    fn at_once(mut state: State) -> usize {
        while state.has_room(WIDTHS) && state.build.schedule.start().is_some() {}
        state.build.schedule.running()
    }

    #[test]
    fn the_last_jobs_run_side_by_side() {
        assert_eq!(at_once(state(Rows::Left, 3)), 3);
        assert_eq!(at_once(state(Rows::Left, 4)), 2, "not the last ones");
        assert_eq!(at_once(state(Rows::Over, 3)), 2, "lanes have connections");
        assert_eq!(at_once(state(Rows::Coming, 3)), 2);
    }
}
