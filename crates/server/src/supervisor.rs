//! Sees every migration through: starts its processes, tells them what was asked for, starts them
//! again when they die, and records how it ended. One thread does all of it, and only it changes
//! what is recorded.

mod entry;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pghaul_stage::{Error, Kind, Result};
use tokio::sync::oneshot;

use crate::Job;
use crate::machine::Step;
use crate::model::Migration;
use crate::problem::Problem;
use crate::run::fold::Fold;
use crate::run::{Program, RunDir};
use crate::store::{Row, Store};
use crate::vault::Vault;
use entry::Entry;

/// How often all migrations are looked at.
const TICK: Duration = Duration::from_millis(250);

/// Requests that may wait.
pub(crate) const QUEUE: usize = 256;

/// How long processes may take to stop when the server does.
const FAREWELL: Duration = Duration::from_secs(25);

/// What the supervisor is asked for.
#[derive(Debug)]
pub(crate) enum Request {
    /// To take on a migration. Tells whether it is new.
    Create {
        name: String,
        job: Box<Job>,
        user: String,
        answer: oneshot::Sender<Result<(bool, Arc<Shown>), Problem>>,
    },
    /// To do something with one.
    Act {
        name: String,
        action: Action,
        answer: oneshot::Sender<Result<Arc<Shown>, Problem>>,
    },
    /// To forget one that has ended.
    Delete {
        name: String,
        answer: oneshot::Sender<Result<(), Problem>>,
    },
    /// To tell its job with its passwords, for what is done on its servers.
    Reveal {
        name: String,
        answer: oneshot::Sender<Result<Job, Problem>>,
    },
    /// To end.
    Stop,
}

/// What can be done with a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Cancel,
    Pause,
    Resume,
    /// To so many bytes a second.
    Throttle(Option<u64>),
}

/// A migration as it is shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) seq: i64,
    pub(crate) migration: Migration,
    pub(crate) run: RunDir,
    /// Where its tables are; `None` once it has ended, when its events tell.
    pub(crate) fold: Option<Arc<Mutex<Fold>>>,
}

/// What everybody may look at.
#[derive(Debug)]
pub(crate) struct Board {
    migrations: RwLock<BTreeMap<String, Arc<Shown>>>,
    looked: Mutex<Instant>,
}

impl Board {
    fn new() -> Self {
        Self {
            migrations: RwLock::default(),
            looked: Mutex::new(Instant::now()),
        }
    }

    /// One of them.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Shown>> {
        let migrations = self.migrations.read();
        let migrations = migrations.unwrap_or_else(PoisonError::into_inner);
        migrations.get(name).cloned()
    }

    /// All of them, in the order in which they were created.
    pub(crate) fn all(&self) -> Vec<Arc<Shown>> {
        let migrations = self.migrations.read();
        let migrations = migrations.unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = migrations.values().cloned().collect();
        all.sort_by_key(|shown| shown.seq);
        all
    }

    /// How long ago all were looked at.
    pub(crate) fn age(&self) -> Duration {
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.elapsed()
    }

    /// Shows these from now on, all at once: who looks sees the queue as it was at one moment.
    fn show(&self, all: impl IntoIterator<Item = Arc<Shown>>) {
        let migrations = self.migrations.write();
        let mut migrations = migrations.unwrap_or_else(PoisonError::into_inner);
        for shown in all {
            migrations.insert(shown.migration.name.clone(), shown);
        }
    }

    fn take_down(&self, name: &str) {
        let migrations = self.migrations.write();
        let mut migrations = migrations.unwrap_or_else(PoisonError::into_inner);
        migrations.remove(name);
    }

    fn note_look(&self) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// How others reach the supervisor. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    requests: SyncSender<Request>,
    pub(crate) board: Arc<Board>,
}

impl Desk {
    /// Asks for something, and waits for the answer.
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Problem>>) -> Request,
    ) -> Result<T, Problem> {
        let (answer, answered) = oneshot::channel();
        match self.requests.try_send(request(answer)) {
            Ok(()) => answered.await.map_err(|_| Problem::busy())?,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Problem::busy()),
        }
    }

    /// Asks it to end.
    pub(crate) fn stop(&self) {
        // If it has ended already, there is nothing to ask for.
        drop(self.requests.send(Request::Stop));
    }
}

/// How to supervise.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) program: Program,
    /// Where the directories of all migrations are.
    pub(crate) runs: PathBuf,
    /// Processes at the same time.
    pub(crate) max_running: usize,
    /// Whether processes go on when the server stops.
    pub(crate) detach: bool,
}

struct Supervisor {
    setup: Setup,
    board: Arc<Board>,
    /// All of them, by the order in which they were created.
    entries: BTreeMap<i64, Entry>,
}

/// Reads what is recorded and begins to supervise it.
///
/// # Errors
///
/// If what is recorded cannot be read.
pub(crate) fn start(setup: Setup) -> Result<(Desk, JoinHandle<()>)> {
    let (requests, asked) = std::sync::mpsc::sync_channel(QUEUE);
    let board = Arc::new(Board::new());
    let mut supervisor = Supervisor {
        setup,
        board: Arc::clone(&board),
        entries: BTreeMap::new(),
    };
    supervisor.load()?;
    let thread = thread::Builder::new()
        .name("pghaul-supervisor".to_owned())
        .spawn(move || supervisor.work(&asked))
        .map_err(|error| Error::new(Kind::Permanent, "no thread").because(error))?;
    Ok((Desk { requests, board }, thread))
}

impl Supervisor {
    fn load(&mut self) -> Result<()> {
        for row in self.setup.store.wait(Row::all)? {
            let run = self.run(&row.id);
            let (entry, view) = Entry::from_row(row, run, &self.setup.vault)?;
            match view {
                Some(migration) => self.board.show([Arc::new(entry.shown(migration))]),
                None => self.board.show([Arc::new(entry.show(None))]),
            }
            self.entries.insert(entry.seq, entry);
        }
        Ok(())
    }

    fn run(&self, id: &str) -> RunDir {
        RunDir::new(self.setup.runs.join(id))
    }

    fn work(mut self, asked: &Receiver<Request>) {
        loop {
            self.round();
            self.board.note_look();
            let mut request = match asked.recv_timeout(TICK) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return self.farewell(),
            };
            // What was asked for at the same time is done before all are looked at again.
            while let Some(next) = request {
                match next {
                    Request::Stop => return self.farewell(),
                    Request::Create {
                        name,
                        job,
                        user,
                        answer,
                    } => drop(answer.send(self.create(name, *job, user))),
                    Request::Act {
                        name,
                        action,
                        answer,
                    } => drop(answer.send(self.act(&name, action))),
                    Request::Delete { name, answer } => drop(answer.send(self.delete(&name))),
                    Request::Reveal { name, answer } => {
                        drop(answer.send(self.find(&name).map(|entry| entry.job.clone())));
                    }
                }
                request = asked.try_recv().ok();
            }
        }
    }

    /// Looks at every migration that has not ended, and does what comes next.
    fn round(&mut self) {
        let active = || |entry: &&mut Entry| entry.status.is_active();
        for entry in self.entries.values_mut().filter(active()) {
            entry.look();
        }
        let alive = self.entries.values().filter(|entry| entry.alive).count();
        let mut free = self.setup.max_running.saturating_sub(alive);
        let (mut waiting, mut changed) = (0, Vec::new());
        for entry in self.entries.values_mut().filter(active()) {
            let mut position = None;
            // A few steps follow from one another.
            for _ in 0..4 {
                match entry.next() {
                    Step::Wait => break,
                    Step::Start(_) if free == 0 => {
                        waiting += 1;
                        position = Some(waiting);
                        break;
                    }
                    Step::Start(command) => {
                        free -= 1;
                        entry.start(command, &self.setup);
                        break;
                    }
                    step => {
                        if !entry.take(step, &self.setup.store) {
                            break;
                        }
                    }
                }
            }
            let shown = entry.show(position);
            if !entry.status.is_active() {
                entry.release();
            }
            let before = self.board.get(&entry.name);
            if before.is_none_or(|before| before.migration != shown.migration) {
                changed.push(Arc::new(shown));
            }
        }
        self.board.show(changed);
    }

    fn find(&mut self, name: &str) -> Result<&mut Entry, Problem> {
        let mut entries = self.entries.values_mut();
        let found = entries.find(|entry| entry.name == name);
        found.ok_or_else(|| Problem::not_found("migration", name))
    }

    fn create(
        &mut self,
        name: String,
        job: Job,
        user: String,
    ) -> Result<(bool, Arc<Shown>), Problem> {
        if let Ok(entry) = self.find(&name) {
            if entry.job != job {
                return Err(Problem::conflict(format!(
                    "there is another migration {name:?}, which was created with another body"
                ))
                .remedy("choose another name, or delete that migration"));
            }
            let shown = self.board.get(&name);
            return shown.map(|shown| (false, shown)).ok_or_else(Problem::busy);
        }
        let (mut entry, row) = Entry::create(name, job, user, &self.setup)?;
        entry.seq = self.setup.store.wait(move |file| row.insert(file))?;
        let shown = Arc::new(entry.show(None));
        self.board.show([Arc::clone(&shown)]);
        self.entries.insert(entry.seq, entry);
        Ok((true, shown))
    }

    fn act(&mut self, name: &str, action: Action) -> Result<Arc<Shown>, Problem> {
        let store = self.setup.store.clone();
        let entry = self.find(name)?;
        entry.act(action, &store)?;
        let position = self
            .board
            .get(name)
            .and_then(|shown| shown.migration.queue_position);
        let entry = self.find(name)?;
        let shown = Arc::new(entry.show(position));
        self.board.show([Arc::clone(&shown)]);
        Ok(shown)
    }

    fn delete(&mut self, name: &str) -> Result<(), Problem> {
        let entry = self.find(name)?;
        if entry.status.is_active() {
            return Err(
                Problem::conflict(format!("migration {name:?} has not ended"))
                    .remedy("cancel it first"),
            );
        }
        let (seq, run) = (entry.seq, entry.run.clone());
        self.setup.store.wait(move |file| Row::delete(file, seq))?;
        self.entries.remove(&seq);
        self.board.take_down(name);
        // The record is gone, so what is left of the files belongs to nothing.
        run.remove()?;
        Ok(())
    }

    /// Asks all processes to stop, unless they are to go on without this one.
    fn farewell(mut self) {
        if self.setup.detach {
            return;
        }
        let deadline = Instant::now() + FAREWELL;
        while Instant::now() < deadline {
            let mut left = false;
            for entry in self.entries.values_mut() {
                if entry.status.is_active() {
                    entry.look();
                    left |= entry.alive && !entry.is_of_agents();
                    entry.interrupt();
                }
            }
            if !left {
                return;
            }
            thread::sleep(TICK);
        }
        tracing::warn!("some migrations did not stop in time; they go on by themselves");
    }
}
