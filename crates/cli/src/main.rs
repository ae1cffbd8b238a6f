//! The `pghaul` command: parse, run, exit code.

mod admission;
mod agent;
mod args;
mod bench;
mod cleanup;
mod connections;
mod copying;
mod databases;
mod decommission;
mod destination;
mod digest;
mod existing;
mod extract;
mod load;
mod migrate;
mod migration;
mod output;
mod report;
mod run_dir;
mod runbook;
mod running;
mod selection;
mod serve;
mod signal;
mod spool;
mod start;
mod trace;
mod validate;
mod verify;

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Parser;
use pghaul_stage::{Error, Kind, Result};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command, Form};
use crate::run_dir::RunDir;

/// How a command ended, besides failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All is well.
    Done,
    /// Source and target were compared and differ.
    Differs,
    /// A check before the migration failed.
    Invalid,
    /// One of several databases failed, which was said when it did.
    Failed,
}

impl Outcome {
    /// How a command ends that compared.
    fn of(comparison: &pghaul_load::Report) -> Self {
        if comparison.is_match() {
            Self::Done
        } else {
            Self::Differs
        }
    }
}

fn main() -> ExitCode {
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    start_logging(cli.verbose);
    let run_dir = match cli.command.run_dir().map(RunDir::open).transpose() {
        Ok(run_dir) => run_dir,
        Err(error) => return fail(&error, Form::Text),
    };
    if run_dir.is_some() {
        cli.command.print_json();
    }
    let run_dir = run_dir.as_ref();
    let (form, result) = match &cli.command {
        Command::Migrate(args) => (
            args.output.output,
            with_runtime(|| migrate::run(args, run_dir)),
        ),
        Command::Extract(args) => (
            args.output.output,
            with_runtime(|| extract::run(args, run_dir)),
        ),
        Command::Load(args) => (
            args.output.output,
            with_runtime(|| load::run(args, run_dir)),
        ),
        Command::Spool(command) => (command.output(), with_runtime(|| spool::run(command))),
        Command::Validate(args) => (
            args.output.output,
            with_runtime(|| validate::run(args, run_dir)),
        ),
        Command::Verify(args) => (args.output.output, with_runtime(|| verify::run(args))),
        Command::Cleanup(args) => (args.output.output, with_runtime(|| cleanup::run(args))),
        Command::Migration(command) => (command.output(), with_runtime(|| migration::run(command))),
        Command::Decommission(args) => (
            args.output.on_error(),
            with_runtime(|| decommission::run(args)),
        ),
        Command::Serve(args) => (Form::Text, with_runtime(|| serve::run(args))),
        Command::Bench(bench) => (bench.output(), with_runtime(|| bench::run(bench))),
    };
    let code = match &result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Differs) => ExitCode::from(3),
        Ok(Outcome::Invalid | Outcome::Failed) => ExitCode::FAILURE,
        Err(error) => fail(error, form),
    };
    if let Some(run_dir) = run_dir {
        run_dir.end(cli.command.name(), &result);
    }
    code
}

/// Reports the error that ends the command.
fn fail(error: &Error, form: Form) -> ExitCode {
    report(error, form, None);
    ExitCode::from(match error.kind() {
        Kind::Input => 2,
        Kind::Mismatch => 3,
        _ => 1,
    })
}

/// Runs a command on a plain thread next to the shared runtime. Only such threads may block.
fn with_runtime(command: impl FnOnce() -> Result<Outcome>) -> Result<Outcome> {
    let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.clamp(2, 8))
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::Permanent, "cannot start the runtime").because(error))?;
    let guard = runtime.enter();
    let outcome = command();
    drop(guard);
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}

fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => {
            "pghaul=warn,pghaul_server=info,pghaul_wire=warn,pghaul_extract=warn,pghaul_relay=warn,pghaul_load=warn,pghaul_spool=warn"
        }
        1 => {
            "warn,pghaul=info,pghaul_server=info,pghaul_wire=info,pghaul_extract=info,pghaul_relay=info,pghaul_load=info,pghaul_spool=info"
        }
        _ => {
            "info,pghaul=debug,pghaul_server=debug,pghaul_wire=debug,pghaul_extract=debug,pghaul_relay=debug,pghaul_load=debug,pghaul_spool=debug"
        }
    };
    let filter = EnvFilter::try_from_env("PGHAUL_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

/// What led to an error, outermost first.
fn causes(error: &Error) -> Vec<String> {
    let first = std::error::Error::source(error);
    std::iter::successors(first, |cause| cause.source())
        .map(ToString::to_string)
        .collect()
}

/// Says what went wrong, why, and what to do; `database` names where, if there are several.
fn report(error: &Error, form: Form, database: Option<&str>) {
    let causes = causes(error);
    if form == Form::Json {
        let object = json!({
            "event": "error",
            "kind": format!("{:?}", error.kind()).to_lowercase(),
            "side": error.side().map(|side| side.to_string()),
            "subject": error.subject(),
            "message": error.message(),
            "sqlstate": error.code(),
            "causes": causes,
            "remedy": error.hint(),
        });
        output::print_json(&output::of_database(object, database));
    }
    let place = database.map(|name| format!("database {}: ", databases::label(name)));
    eprintln!("pghaul: {}{error}", place.unwrap_or_default());
    for cause in causes {
        eprintln!("  because: {cause}");
    }
    if let Some(remedy) = error.hint() {
        eprintln!("  remedy: {remedy}");
    }
}
