//! `pghaul migration`: asks a runtime server for migrations, or runs one in this process.

mod args;
mod client;
mod create;
mod file;
mod local;
mod ls;
mod show;
mod stream;
mod table;
mod update;
mod watch;

use pghaul_server::model::{Migration, State};
use pghaul_stage::{Error, Kind, Result};
use serde_json::Value;
use tokio::runtime::Handle;

use crate::Outcome;
use crate::output::say;

pub(crate) use args::{Command, Output, Remote};
pub(crate) use client::Client;
pub(crate) use table::plain;

use args::Form;

/// Runs the command.
pub(crate) fn run(command: &Command) -> Result<Outcome> {
    let handle = Handle::current();
    match command {
        Command::Create(args) => create::run(args, &handle),
        Command::List(args) => handle.block_on(ls::run(args)),
        Command::Show(args) => handle.block_on(show::run(args)),
        Command::Update(args) => handle.block_on(update::run(args)),
        Command::Delete(args) => handle.block_on(update::delete(args)),
        Command::CheckNameAvailability(args) => handle.block_on(update::check_name(args)),
        Command::Schema => {
            say(&file::schema()?);
            Ok(Outcome::Done)
        }
    }
}

/// An answer of the server as a migration.
fn read(answer: &Value) -> Result<Migration> {
    serde_json::from_value(answer.clone()).map_err(|error| {
        Error::new(
            Kind::Protocol,
            "the runtime server's answer is no migration",
        )
        .because(error)
        .remedy("use a command and a server of the same version")
    })
}

/// How a command about a migration that has ended, ends itself.
fn outcome(migration: &Migration) -> Outcome {
    match (migration.verified, migration.current_status.state) {
        (Some(false), _) => Outcome::Differs,
        (_, State::Succeeded) => Outcome::Done,
        _ => Outcome::Failed,
    }
}

/// Prints an answer for programs; says whether the form is one of theirs.
pub(crate) fn print(form: Form, answer: &Value) -> Result<bool> {
    match form {
        Form::Table => return Ok(false),
        Form::Json => say(&answer.to_string()),
        Form::Yaml => {
            let text = serde_saphyr::to_string(answer).map_err(|error| {
                Error::new(Kind::Permanent, "cannot write YAML").because(error.to_string())
            })?;
            say("---");
            say(text.trim_end());
        }
    }
    Ok(true)
}
