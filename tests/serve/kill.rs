//! kill -9 of whoever takes part, in every state that a migration passes: all of it goes on. Each
//! state has a migration of its own, which is held there; they are struck together, let go, and
//! compared.

mod agents;

use serde_json::{Value, json};

use crate::faults::gate::{self, Gate};
use crate::support::oracle::assert_migrated;
use crate::support::proxy::{Fault, Proxy};
use crate::support::run_dir::RunDir;
use crate::support::runtime_server::{RuntimeServer, job};
use crate::support::{Pair, pg};

/// How a migration is held in a state.
#[derive(Clone, Copy)]
enum Hold {
    /// A statement with this in it does not reach the source, after it did so often.
    Source(usize, &'static str),
    /// Nor the target.
    Target(&'static str),
    /// The target stands at this gate.
    Gate(&'static str),
    /// Its operator paused it while it was held so.
    Paused(&'static Hold),
    /// Its operator canceled it then, and its processes did not hear of it.
    Canceling(&'static Hold),
}

impl Hold {
    /// Where it is held.
    fn place(self) -> Self {
        match self {
            Hold::Paused(at) | Hold::Canceling(at) => *at,
            at => at,
        }
    }
}

/// In the middle of a table.
const COPIES: Hold = Hold::Gate(gate::COPY);

/// A state to be struck in: the name of the migration and of its database, how it is held, and
/// what its server calls it.
type State = (&'static str, Hold, &'static str);

/// What is asked of both servers, or of the source at the end of an extraction, to compare rows.
const COMPARES: &str = "what both servers must agree on";

/// Is asked of a source that is checked.
const CHECKS: &str = "pg_catalog.pg_prepared_xacts";

/// Begins the snapshot that is copied; checks have one of their own.
const BEGINS: &str = "pg_export_snapshot";

/// Creates a table of the target.
const CREATES: &str = "CREATE TABLE gate.big";

const STATES: [State; 9] = [
    (
        "validating",
        Hold::Source(0, CHECKS),
        "ValidationInProgress",
    ),
    (
        "planning",
        Hold::Source(1, BEGINS),
        "PerformingPreRequisiteSteps",
    ),
    (
        "preparing",
        Hold::Target(CREATES),
        "PerformingPreRequisiteSteps",
    ),
    ("copying", Hold::Gate(gate::COPY), "MigratingData"),
    ("indexing", Hold::Gate(gate::INDEX), "CompletingMigration"),
    (
        "refreshing",
        Hold::Gate(gate::REFRESH),
        "CompletingMigration",
    ),
    (
        "verifying",
        Hold::Source(0, COMPARES),
        "CompletingMigration",
    ),
    ("paused", Hold::Paused(&COPIES), "MigratingData"),
    (
        "canceling",
        Hold::Canceling(&COPIES),
        "CancelingRequestedDBMigrations",
    ),
];

/// A database that is held in a state, and what holds it.
struct Held<'a> {
    state: &'a State,
    pair: &'a Pair,
    source: Proxy,
    target: Proxy,
    gate: Option<Gate>,
}

impl<'a> Held<'a> {
    /// A database for each state, all of them alike; whatever migrates one, comes to its hold.
    fn all(pair: &'a Pair, states: &'a [State]) -> Vec<Self> {
        gate::database(pair, "seed");
        states.iter().map(|state| Self::new(pair, state)).collect()
    }

    fn new(pair: &'a Pair, state: &'a State) -> Self {
        let (name, hold, _) = *state;
        copy_of_seed(pair, name);
        let (source, target) = (Proxy::start(&pair.source), Proxy::start(&pair.target));
        let gate = match hold.place() {
            Hold::Source(skip, statement) => {
                source.arm_after(skip, statement, Fault::Hold);
                None
            }
            Hold::Target(statement) => {
                target.arm(statement, Fault::Hold);
                None
            }
            Hold::Gate(gate) => Some(Gate::close(pair, &format!("{name}.{gate}"))),
            Hold::Paused(_) | Hold::Canceling(_) => unreachable!("it is held somewhere"),
        };
        Self {
            state,
            pair,
            source,
            target,
            gate,
        }
    }

    fn name(&self) -> &'static str {
        self.state.0
    }

    /// The job of a migration of it.
    fn job(&self) -> Value {
        let mut job = job(self.pair, &[self.name()], json!({ "jobs": 2 }));
        for (side, proxy) in [("source", &self.source), ("target", &self.target)] {
            job[side]["port"] = json!(proxy.port());
        }
        job
    }

    /// Connection strings of its ends.
    fn dsns(&self) -> [String; 2] {
        let Self { pair, .. } = self;
        [(&self.source, &pair.source), (&self.target, &pair.target)]
            .map(|(proxy, cluster)| proxy.dsn(cluster, self.name()))
    }

    /// Whether whoever migrates it has come to the hold.
    fn is_there(&self) -> bool {
        match self.state.1.place() {
            Hold::Source(..) => self.source.struck() == 1,
            Hold::Target(_) => self.target.struck() == 1,
            _ => gate::is_at(&self.pair.target, self.name()),
        }
    }

    /// Waits until it is there, and the server says so. `processes` are those at work on it.
    fn wait(&self, server: &RuntimeServer, processes: impl Fn() -> Vec<u32>) {
        let (name, hold, state) = *self.state;
        server.wait(name, "it is held", |_| self.is_there());
        match hold {
            Hold::Paused(_) => drop(server.act(name, &json!({ "action": "pause" })).expect(200)),
            Hold::Canceling(_) => {
                processes()
                    .into_iter()
                    .for_each(|pid| pg::signal(pid, "STOP"));
                server.act(name, &json!({ "action": "cancel" })).expect(200);
            }
            _ => {}
        }
        self.is_told(server, state);
    }

    /// Waits until the server says that it is in a state.
    fn is_told(&self, server: &RuntimeServer, state: &str) {
        let paused = matches!(self.state.1, Hold::Paused(_));
        server.wait(self.name(), state, |one| {
            sub_state(one) == state && one["paused"] == paused
        });
    }

    /// Lets it go on.
    fn release(&mut self, server: &RuntimeServer) {
        self.gate = None;
        self.source.release();
        self.target.release();
        if matches!(self.state.1, Hold::Paused(_)) {
            let resume = json!({ "action": "resume" });
            server.act(self.name(), &resume).expect(200);
        }
    }

    /// How it ends.
    fn end(&self) -> &'static str {
        match self.state.1 {
            Hold::Canceling(_) => "Canceled",
            _ => "Succeeded",
        }
    }
}

/// Creates another database that is as the one with the gates.
fn copy_of_seed(pair: &Pair, name: &str) {
    let copy = format!("CREATE DATABASE {name} TEMPLATE seed");
    pair.source.psql("postgres", &copy);
}

/// Waits until all have ended, and these others, and compares those that arrived with their
/// sources.
fn assert_ended(server: &RuntimeServer, pair: &Pair, all: &[Held<'_>], others: &[&str]) {
    let others = others.iter().map(|name| (*name, "Succeeded"));
    let all = all.iter().map(|held| (held.name(), held.end()));
    let all: Vec<_> = all.chain(others).collect();
    for (name, end) in &all {
        let ended = server.wait_for(name, end);
        let verified = (*end == "Succeeded").then_some(true);
        assert_eq!(ended["verified"], json!(verified), "{ended:#}");
    }
    // What is left behind is looked for on the whole server.
    for (name, _) in all.iter().filter(|(_, end)| *end == "Succeeded") {
        assert_migrated(&pair.source, name, &pair.target, name);
    }
}

fn sub_state(migration: &Value) -> &str {
    let details = &migration["currentStatus"]["currentSubStateDetails"];
    details["currentSubState"].as_str().expect("a substate")
}

/// How many processes were started in a run.
fn attempts(run: &RunDir) -> usize {
    run.of("attempt").len()
}

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Server,
    Processes,
    Both,
}

/// Kills the victim while there is a migration in each state.
fn kill(victim: Victim) {
    // The system ends stopped processes that nobody of their session looks after any more.
    let own = Some(rustix::process::getpid());
    rustix::process::set_child_subreaper(own).expect("this process looks after them");
    let pair = Pair::start();
    let mut all = Held::all(&pair, &STATES);
    let running = STATES.len().to_string();
    let mut server = RuntimeServer::start(&["--max-running", &running]);
    for held in &all {
        server.create(held.name(), &held.job());
    }
    for held in &all {
        let run = server.run_dir(held.name());
        held.wait(&server, || vec![run.pid()]);
    }
    // All of them at the same time.
    for held in &all {
        held.is_told(&server, held.state.2);
    }
    let runs: Vec<RunDir> = all.iter().map(|held| server.run_dir(held.name())).collect();
    let before: Vec<(u32, usize)> = runs.iter().map(|run| (run.pid(), attempts(run))).collect();

    // Those that have no process yet.
    for name in ["queued", "scheduled", "shut"] {
        copy_of_seed(&pair, name);
    }
    server.create("queued", &job(&pair, &["queued"], json!({})));
    let past = json!({ "from": "2001-01-01T00:00:00Z", "to": "2001-01-02T00:00:00Z" });
    let shut = json!({ "window": past, "option": "migrate" });
    server.create("shut", &job(&pair, &["shut"], shut));
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(30);
    let later = json!({ "startAt": soon.to_rfc3339() });
    server.create("scheduled", &job(&pair, &["scheduled"], later));
    let waiting = |server: &RuntimeServer| {
        for (name, state) in [
            ("scheduled", "WaitingForDataMigrationScheduling"),
            ("shut", "WaitingForDataMigrationWindow"),
        ] {
            assert_eq!(sub_state(&server.get(name)), state, "{name}");
        }
    };
    let queued = |one: &Value| one["queuePosition"] == 1;
    server.wait("queued", "it waits", queued);
    waiting(&server);

    if victim != Victim::Processes {
        server.end("KILL");
    }
    if victim != Victim::Server {
        before.iter().for_each(|(pid, _)| pg::signal(*pid, "KILL"));
    }
    if victim != Victim::Processes {
        server.start_again();
        waiting(&server);
    }
    if victim == Victim::Server {
        // Where processes died, it takes the place of one.
        server.wait("queued", "it waits", queued);
    }

    for (held, (run, (pid, attempts_before))) in all.iter_mut().zip(runs.iter().zip(&before)) {
        let (name, hold, state) = *held.state;
        if victim == Victim::Server {
            held.is_told(&server, state);
            assert_eq!(run.pid(), *pid, "{name}: it is the same process");
            if matches!(hold, Hold::Canceling(_)) {
                pg::signal(*pid, "CONT");
            }
        } else if !matches!(hold, Hold::Paused(_) | Hold::Canceling(_)) {
            run.wait("it is replaced", |run| attempts(run) > *attempts_before);
        }
        held.release(&server);
    }
    server
        .act("shut", &json!({ "action": "resume" }))
        .expect(200);
    assert_ended(&server, &pair, &all, &["queued", "scheduled", "shut"]);
    for (held, run) in all.iter().zip(&runs) {
        let again = victim != Victim::Server && !matches!(held.state.1, Hold::Canceling(_));
        // One to check and one to migrate.
        let expected = 2 + usize::from(again);
        assert_eq!(attempts(run), expected, "{}", held.name());
    }
}

#[test]
fn the_server_is_killed_in_every_state() {
    kill(Victim::Server);
}

#[test]
fn processes_of_migrations_are_killed_in_every_state() {
    kill(Victim::Processes);
}

#[test]
fn the_server_and_its_processes_are_killed_together_in_every_state() {
    kill(Victim::Both);
}
