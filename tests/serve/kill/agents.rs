//! The same for agents: others take their places.

use serde_json::{Value, json};

use super::{
    BEGINS, CHECKS, COMPARES, COPIES, CREATES, Held, Hold, State, assert_ended, copy_of_seed,
};
use crate::faults::gate;
use crate::support::pghaul::Running;
use crate::support::runtime_server::RuntimeServer;
use crate::support::{Pair, pg};

/// Reads rows of the source.
const EXTRACTS: Hold = Hold::Source(0, "COPY ");

/// Once the agent of the source is at work, a migration is said to be prepared until the target's
/// knows its plan.
const OF_SOURCE: [State; 6] = [
    (
        "validating",
        Hold::Source(0, CHECKS),
        "ValidationInProgress",
    ),
    (
        "planning",
        Hold::Source(0, BEGINS),
        "PerformingPreRequisiteSteps",
    ),
    ("copying", EXTRACTS, "MigratingData"),
    ("summing", Hold::Source(0, COMPARES), "CompletingMigration"),
    ("paused", Hold::Paused(&EXTRACTS), "MigratingData"),
    (
        "canceling",
        Hold::Canceling(&EXTRACTS),
        "CancelingRequestedDBMigrations",
    ),
];

const OF_TARGET: [State; 8] = [
    (
        "validating",
        Hold::Target("conforencoding"),
        "ValidationInProgress",
    ),
    (
        "preparing",
        Hold::Target(CREATES),
        "PerformingPreRequisiteSteps",
    ),
    ("copying", COPIES, "MigratingData"),
    ("indexing", Hold::Gate(gate::INDEX), "CompletingMigration"),
    (
        "refreshing",
        Hold::Gate(gate::REFRESH),
        "CompletingMigration",
    ),
    ("verifying", Hold::Target(COMPARES), "CompletingMigration"),
    ("paused", Hold::Paused(&COPIES), "MigratingData"),
    (
        "canceling",
        Hold::Canceling(&COPIES),
        "CancelingRequestedDBMigrations",
    ),
];

/// One side of the migrations, whose agents are killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Target => "target",
        }
    }

    fn other(self) -> Self {
        match self {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        }
    }

    fn spawn(self, server: &RuntimeServer, name: &str, [source, target]: &[String; 2]) -> Running {
        let jobs = ["--jobs", "2"];
        let agent = match self {
            Side::Source => server.agent("extract", name, &jobs).source(source),
            Side::Target => server.agent("load", name, &jobs).target(target),
        };
        agent.spawn()
    }

    /// Whether an agent of this side of a migration was taken for lost.
    fn has_lost(self, server: &RuntimeServer, name: &str) -> bool {
        server.agents().iter().any(|agent| {
            agent["migration"] == name && agent["side"] == self.name() && agent["state"] == "lost"
        })
    }
}

/// Kills the server while there is a migration in each state, then the agents of a side.
fn kill(side: Side, states: &[State]) {
    let pair = Pair::start();
    let mut all = Held::all(&pair, states);
    let running = (states.len() + 1).to_string();
    let mut server = RuntimeServer::start(&["--max-running", &running]);
    let job = |name: &str, more: Value| {
        let option = match name {
            "validating" => "validateAndMigrate",
            _ => "migrate",
        };
        let mut job = json!({ "topology": "agents", "databases": [name], "option": option });
        more.as_object()
            .into_iter()
            .flatten()
            .for_each(|(key, value)| job[key] = value.clone());
        job
    };
    // One has no work yet.
    copy_of_seed(&pair, "waiting");
    let past = json!({ "from": "2001-01-01T00:00:00Z", "to": "2001-01-02T00:00:00Z" });
    server.create("waiting", &job("waiting", json!({ "window": past })));
    let direct = [pair.source.dsn("waiting"), pair.target.dsn("waiting")];
    let idle = side.spawn(&server, "waiting", &direct);
    server.wait("waiting", "an agent waits", |_| {
        idle.stderr().contains("waiting for work")
    });

    let mut others = Vec::new();
    let mut struck: Vec<Running> = Vec::new();
    for held in &all {
        server.create(held.name(), &job(held.name(), json!({})));
        let dsns = held.dsns();
        struck.push(side.spawn(&server, held.name(), &dsns));
        others.push(side.other().spawn(&server, held.name(), &dsns));
    }
    for (held, agent) in all.iter().zip(&struck) {
        held.wait(&server, || {
            let mut all = pg::children(agent.pid());
            all.push(agent.pid());
            all
        });
    }

    server.end("KILL");
    server.start_again();
    for held in &all {
        held.is_told(&server, held.state.2);
    }
    struck
        .iter()
        .chain([&idle])
        .for_each(|agent| pg::signal(agent.pid(), "KILL"));
    let mut next = vec![side.spawn(&server, "waiting", &direct)];
    next.extend(
        all.iter()
            .map(|held| side.spawn(&server, held.name(), &held.dsns())),
    );
    for held in &mut all {
        let name = held.name();
        if !matches!(held.state.1, Hold::Canceling(_)) {
            server.wait(name, "its agent is lost", |_| side.has_lost(&server, name));
        }
        held.release(&server);
    }
    others.push(side.other().spawn(&server, "waiting", &direct));
    server
        .act("waiting", &json!({ "action": "resume" }))
        .expect(200);
    assert_ended(&server, &pair, &all, &["waiting"]);
    drop(next);
}

#[test]
fn agents_of_the_source_are_killed_in_every_state() {
    kill(Side::Source, &OF_SOURCE);
}

#[test]
fn agents_of_the_target_are_killed_in_every_state() {
    kill(Side::Target, &OF_TARGET);
}
