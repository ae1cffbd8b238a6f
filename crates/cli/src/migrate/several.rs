//! `pghaul migrate` of several databases: each is a migration of its own, and all share the
//! lanes, the builders of indexes, and the turn at what belongs to the server.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pghaul_load::Cluster;
use pghaul_relay::{Cancel, Fanout, Lanes, Progress};
use pghaul_stage::{Error, Kind, Observer, Omission, Result, Scope, Side};
use pghaul_wire::Conninfo;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{Finished, Request, Shared, at_a_time};
use crate::args::{Form, Migrate};
use crate::databases::label;
use crate::output::{Screen, bytes, count, duration, of_database, print_json, say};
use crate::report::{self, Migration, ReportFile};
use crate::run_dir::RunDir;
use crate::runbook::Origin;
use crate::trace::Trace;
use crate::{Outcome, signal};

/// What all databases of a run have in common.
struct Run<'a> {
    args: &'a Migrate,
    source: Conninfo,
    target: Conninfo,
    jobs: usize,
    shared: Shared,
    run_dir: Option<&'a RunDir>,
    screen: Screen,
    trace: Option<Trace>,
    file: Option<ReportFile>,
    handle: Handle,
    cancel: Cancel,
    /// What the target's server lacks, whichever database told it.
    lacking: Mutex<Vec<Omission>>,
}

/// How one database ended.
#[derive(Debug)]
struct Row {
    name: String,
    state: State,
    rows: u64,
    bytes: u64,
    elapsed: Duration,
}

/// The ends of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Migrated,
    Differs,
    Complete,
    Failed,
    Stopped,
    NotBegun,
}

/// Runs the command.
pub(super) fn run(args: &Migrate, run_dir: Option<&RunDir>) -> Result<Outcome> {
    let began = Instant::now();
    let jobs = args.copying.jobs();
    let cancel = Cancel::new();
    signal::cancel_on_interrupt(cancel.clone());
    let mut run = Run {
        args,
        source: args.connections.source()?,
        target: args.connections.target()?,
        jobs,
        shared: Shared {
            lanes: None,
            cluster: Arc::new(Cluster::of_several(args.writing.index_jobs(jobs))),
            comparing: Arc::default(),
            pace: args.copying.pace(),
            databases: 1,
        },
        run_dir,
        screen: Screen::open(args.output.output),
        file: args
            .writing
            .report
            .as_deref()
            .map(ReportFile::create)
            .transpose()?,
        trace: args
            .copying
            .trace
            .as_deref()
            .map(Trace::create)
            .transpose()?,
        handle: Handle::current(),
        cancel,
        lacking: Mutex::default(),
    };
    run_dir.map_or(Ok(()), |dir| dir.listen(&run.cancel, &run.shared.pace))?;
    let choice = args.databases.choose(&run.source, Side::Source);
    let chosen = run.handle.block_on(run.cancel.until(choice))?;
    chosen.tell(&run.screen, args.output.output);
    run.shared.databases = at_a_time(jobs).min(chosen.names.len());
    run.check(&chosen.names)?;

    let lanes = NonZeroUsize::new(jobs).ok_or_else(|| Error::input("no jobs"))?;
    run.shared.lanes = Some(Arc::new(Lanes::start(lanes)?));
    let rows = run.migrate(chosen.names);
    let failed = rows.iter().any(|row| row.state == State::Failed);
    let stopped = rows
        .iter()
        .any(|row| row.state == State::Stopped || row.state == State::NotBegun);
    drop(run.screen);
    let lacking = run
        .lacking
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    print(args.output.output, &rows, &lacking, began.elapsed());
    if let Some(file) = run.file.filter(|_| !lacking.is_empty()) {
        file.add_server(&lacking)?;
    }
    if stopped {
        return Err(
            Error::new(Kind::Cancelled, "stopped on request").remedy("run again with --resume")
        );
    }
    Ok(if failed {
        Outcome::Failed
    } else if rows.iter().any(|row| row.state == State::Differs) {
        Outcome::Differs
    } else {
        Outcome::Done
    })
}

impl Run<'_> {
    /// Refuses the whole run if one database could not begin, so that wrong use changes nothing.
    fn check(&self, names: &[String]) -> Result<()> {
        let mut refused = None;
        for name in names {
            let request = self.request(name, self.screen.observer_of(name), Arc::default(), false);
            let Err(error) = self.handle.block_on(self.cancel.until(request.check())) else {
                continue;
            };
            if error.kind() == Kind::Cancelled {
                return Err(error);
            }
            self.tell(&error, name);
            // Not only wrong use, if there is anything else.
            if refused.is_none_or(|kind| kind == Kind::Input) {
                refused = Some(error.kind());
            }
        }
        match refused {
            None => Ok(()),
            Some(kind) => Err(Error::new(
                kind,
                "nothing was begun, because not every database can be",
            )
            .remedy("see above, or leave such databases out")),
        }
    }

    /// Migrates all, a few at a time.
    fn migrate(&self, names: Vec<String>) -> Vec<Row> {
        let rows: Vec<Mutex<Row>> = names
            .into_iter()
            .map(|name| Mutex::new(Row::new(name)))
            .collect();
        let next = Mutex::new(rows.iter());
        thread::scope(|scope| {
            for _ in 0..self.shared.databases {
                scope.spawn(|| {
                    // What holds connections may only be dropped where their runtime can be found.
                    let _context = self.handle.enter();
                    loop {
                        let row = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(row) = row.filter(|_| !self.cancel.is_cancelled()) else {
                            return;
                        };
                        self.database(&mut row.lock().unwrap_or_else(PoisonError::into_inner));
                    }
                });
            }
        });
        rows.into_iter()
            .map(|row| row.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }

    /// Migrates one, and tells how it ended.
    fn database(&self, row: &mut Row) {
        let began = Instant::now();
        let name = row.name.as_str();
        let progress = Arc::new(Progress::new());
        let mut watchers: Vec<Arc<dyn Observer>> =
            vec![Arc::clone(&progress) as _, self.screen.observer_of(name)];
        watchers.extend(self.trace.as_ref().map(|trace| trace.observer_of(name)));
        let request = self.request(
            name,
            Arc::new(Fanout(watchers)),
            Arc::clone(&progress),
            true,
        );
        if self.args.output.output == Form::Json {
            let line = json!({ "event": "database_started" });
            print_json(&of_database(line, Some(name)));
        }
        let watched = self
            .run_dir
            .map(|dir| dir.watch(name, Arc::clone(&progress)));
        let result = request.migrate(&self.handle, &self.cancel);
        drop(watched);
        self.note_lacking(&progress);
        let copied = progress.snapshot();
        let (rows, bytes, elapsed) = (copied.rows, copied.bytes, began.elapsed());
        let state = match result {
            Ok(Some(finished)) => {
                let mut written = Ok(());
                self.screen.report(|| {
                    let migration = Migration {
                        database: Some(name),
                        finished: &finished,
                        origin: Origin::Source(&request.source),
                        target: &request.target,
                        progress: &progress,
                        elapsed,
                    };
                    report::print(self.args.output.output, &migration);
                    if let Some(file) = &self.file {
                        written = file.add(&migration);
                    }
                });
                match request.destination().lossless().and(written) {
                    Ok(()) => State::of(&finished),
                    Err(error) => {
                        self.tell(&error, name);
                        State::Failed
                    }
                }
            }
            Ok(None) => {
                request.note("the migration is already complete; nothing of it is read");
                self.compare_at_last(&request)
            }
            Err(error) if error.kind() == Kind::Cancelled => State::Stopped,
            Err(error) => {
                self.tell(&error, name);
                State::Failed
            }
        };
        (row.state, row.rows, row.bytes, row.elapsed) = (state, rows, bytes, elapsed);
        if self.args.output.output == Form::Json {
            let mut line = row.line();
            line["event"] = json!("database_ended");
            print_json(&line);
        }
    }

    /// Compares a database that an earlier process of this run had completed, if that is yet to be
    /// done.
    fn compare_at_last(&self, request: &Request<'_>) -> State {
        let name = request.database.unwrap_or_default();
        let compared = self.run_dir.map_or(Ok(None), |dir| {
            request.compare_at_last(dir, &self.handle, &self.cancel)
        });
        match compared {
            Ok(None) => State::Complete,
            Ok(Some(comparison)) => {
                let form = self.args.output.output;
                self.screen
                    .report(|| report::print_comparison(form, &comparison, Some(name)));
                match Outcome::of(&comparison) {
                    Outcome::Done => State::Migrated,
                    _ => State::Differs,
                }
            }
            Err(error) if error.kind() == Kind::Cancelled => State::Stopped,
            Err(error) => {
                self.tell(&error, name);
                State::Failed
            }
        }
    }

    /// Takes note of what the server lacks: however this database ended, no other tells it.
    fn note_lacking(&self, progress: &Progress) {
        let mut lacking = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        for omission in progress.omissions() {
            if omission.scope == Scope::Server && !lacking.contains(&omission) {
                lacking.push(omission);
            }
        }
    }

    fn request<'r>(
        &'r self,
        name: &'r str,
        observer: Arc<dyn Observer>,
        progress: Arc<Progress>,
        validated: bool,
    ) -> Request<'r> {
        // What an earlier process of this run had begun is gone on with.
        let begun = self.run_dir.is_some_and(|dir| dir.had_begun(name));
        Request {
            args: self.args,
            resume: self.args.resume || begun,
            overwrite: self.args.overwrite && !begun,
            allow_new_snapshot: self.args.allow_new_snapshot || begun,
            source: self.source.with_dbname(name),
            target: self.target.with_dbname(name),
            jobs: self.jobs,
            selection: self.args.leaving.apply(self.args.selecting.selection()),
            observer,
            shared: self.shared.clone(),
            database: Some(name),
            validated,
            progress,
        }
    }

    fn tell(&self, error: &Error, name: &str) {
        let form = self.args.output.output;
        self.screen
            .report(|| crate::report(error, form, Some(name)));
    }
}

impl Row {
    fn new(name: String) -> Self {
        Self {
            name,
            state: State::NotBegun,
            rows: 0,
            bytes: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// For programs.
    fn line(&self) -> Value {
        json!({
            "database": self.name, "state": self.state.word(), "rows": self.rows,
            "bytes": self.bytes, "seconds": self.elapsed.as_secs_f64(),
        })
    }
}

impl State {
    fn of(finished: &Finished) -> Self {
        if finished.differs() {
            State::Differs
        } else {
            State::Migrated
        }
    }

    /// For people and programs.
    fn word(self) -> &'static str {
        match self {
            State::Migrated => "migrated",
            State::Differs => "differs",
            State::Complete => "complete before",
            State::Failed => "failed",
            State::Stopped => "stopped",
            State::NotBegun => "not begun",
        }
    }
}

/// Prints how all of them ended, and what the server lacks.
fn print(form: Form, rows: &[Row], lacking: &[Omission], elapsed: Duration) {
    let all = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    let (total_rows, total_bytes) = (all(|row| row.rows), all(|row| row.bytes));
    if form == Form::Json {
        let databases: Vec<_> = rows.iter().map(Row::line).collect();
        return print_json(&json!({
            "event": "databases", "databases": databases, "rows": total_rows,
            "bytes": total_bytes, "seconds": elapsed.as_secs_f64(), "omissions": lacking,
        }));
    }
    if !lacking.is_empty() {
        say("");
        report::print_server(lacking);
    }
    let mut table = vec![["database", "state", "rows", "bytes", "time"].map(str::to_owned)];
    table.extend(rows.iter().map(|row| {
        [
            label(&row.name),
            row.state.word().to_owned(),
            count(row.rows),
            bytes(row.bytes),
            duration(row.elapsed),
        ]
    }));
    say("");
    for line in report::align(&table) {
        say(&line);
    }
    say("");
    let good = |row: &&Row| matches!(row.state, State::Migrated | State::Complete);
    say(&format!(
        "{} of {} databases are migrated: {} rows, {} in {}",
        count(rows.iter().filter(good).count() as u64),
        count(rows.len() as u64),
        count(total_rows),
        bytes(total_bytes),
        duration(elapsed),
    ));
}
