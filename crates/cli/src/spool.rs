//! `pghaul spool`, and the flags by which every command finds a spool.

mod check;
mod ls;
mod repair;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use pghaul_relay::Cancel;
use pghaul_spool::{Key, Relay, Spool, Store};
use pghaul_stage::{Error, Result, Side};
use serde_json::json;
use tokio::runtime::Handle;

use crate::admission::Admission;
use crate::args::{Databases, Extract, Form, Output, SourceDsn, SpoolEncoding, Supervised};
use crate::copying::{Copying, Reading};
use crate::databases::label;
use crate::output::{bytes, count, print_json, say};
use crate::selection::{Leaving, Selecting};
use crate::{Outcome, signal};

const PLACES: &str = "\
Spools:
  A directory (file:///path or a path), or a prefix of a bucket: s3://bucket/prefix,
  az://container/prefix, gs://bucket/prefix. Credentials come from the environment,
  by the names that each cloud's own tools use. relay+https://server/migration/database is the
  spool that a runtime server keeps; the token comes from PGHAUL_TOKEN or --token-file.";

/// Which spool.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Spool")]
pub(crate) struct Place {
    /// The spool: a directory, or file://, s3://, az://, gs://, relay+https://
    #[arg(long, value_name = "URL")]
    pub(crate) spool: String,

    /// The key of an encrypted spool: a file of 32 bytes, or of 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub(crate) encrypt_key_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) admission: Admission,
}

/// The spool of a database.
#[derive(Debug)]
pub(crate) struct Held {
    /// The database's name, where it is one of several.
    pub(crate) database: Option<String>,
    /// Where it is.
    pub(crate) place: Place,
    /// `None` if its extraction has not begun.
    pub(crate) spool: Option<Arc<Spool>>,
}

/// `pghaul spool`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what a spool holds, part by part
    #[command(after_help = PLACES)]
    Ls(Look),
    /// Read everything a load would, and name what is damaged
    #[command(after_help = PLACES)]
    Check(Look),
    /// Remove files that no part needs: left by crashes, or loaded already
    #[command(after_help = PLACES)]
    Gc(Collect),
    /// Remove a spool, with everything in it
    #[command(after_help = PLACES)]
    Rm(Remove),
    /// Extract damaged parts again, from a source that has not changed since
    #[command(after_help = PLACES)]
    Repair(Repair),
}

/// Where to look.
#[derive(Debug, Args)]
pub(crate) struct Look {
    #[command(flatten)]
    pub(crate) place: Place,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// What to remove.
#[derive(Debug, Args)]
pub(crate) struct Collect {
    #[command(flatten)]
    pub(crate) look: Look,

    /// Keep the files of parts that are loaded
    #[arg(long)]
    pub(crate) keep: bool,

    /// Only list what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Which spool to remove.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    pub(crate) look: Look,

    /// Even if parts of it are not loaded yet
    #[arg(long)]
    pub(crate) force: bool,
}

/// What to repair, and from where.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    #[command(flatten)]
    pub(crate) look: Look,

    #[command(flatten)]
    pub(crate) source: SourceDsn,
}

impl Place {
    /// The store, which `create` makes if it is a directory.
    pub(crate) fn store(&self, create: bool) -> Result<Store> {
        match self.relay()? {
            Some(relay) => {
                let connection = relay.connect(&self.admission.access()?)?;
                connection.store(self.admission.seat)
            }
            None => pghaul_spool::open(&self.spool, create),
        }
    }

    /// The runtime server and the migration that the URL names; `None` for another kind of place.
    pub(crate) fn relay(&self) -> Result<Option<Relay>> {
        Relay::parse(&self.spool)
    }

    /// The migration of a runtime server, of which all databases are to be worked on.
    pub(crate) fn migration(&self) -> Result<Option<Relay>> {
        if self.admission.seat.is_some() {
            crate::agent::die_with_parent();
        }
        Ok(self.relay()?.filter(|relay| !relay.is_of_database()))
    }

    /// Refuses to change what a runtime server keeps: only the agent that has the seat may, and the
    /// server removes the rest.
    fn allows(&self, command: &Command) -> Result<()> {
        let remedy = match command {
            Command::Ls(_) | Command::Check(_) => return Ok(()),
            Command::Gc(_) => {
                "files of rows are removed as they are loaded, and all others with the migration: \
                 `pghaul migration delete`"
            }
            Command::Rm(_) => {
                "`pghaul migration delete` removes the migration, and its spool with it"
            }
            Command::Repair(_) => "create the migration again: its agents extract anew",
        };
        if self.relay()?.is_none() {
            return Ok(());
        }
        Err(
            Error::input("a runtime server looks after the spools that it keeps")
                .at(Side::Link)
                .on(self.spool.clone())
                .remedy(remedy),
        )
    }

    pub(crate) fn key(&self) -> Result<Option<Key>> {
        self.encrypt_key_file.as_deref().map(Key::read).transpose()
    }

    /// The spool, if there is one. Where the directory is yet to be made, there is none, so that
    /// those who wait for an extraction to begin may come before it.
    pub(crate) async fn find(&self) -> Result<Option<Arc<Spool>>> {
        if pghaul_spool::is_missing(&self.spool) {
            return Ok(None);
        }
        let spool = Spool::open(self.store(false)?, self.key()?).await?;
        Ok(spool.map(Arc::new))
    }

    /// The spool, which must be there.
    pub(crate) async fn open(&self) -> Result<Arc<Spool>> {
        let found = self.find().await?;
        found.ok_or_else(|| self.absent())
    }

    /// The place of one of several databases, whose first has number 1.
    pub(crate) fn of_database(&self, number: usize) -> Place {
        Place {
            spool: pghaul_spool::of_database(&self.spool, number),
            ..self.clone()
        }
    }

    /// The spools that are here: of the only database, or of each of several.
    pub(crate) async fn spools(&self) -> Result<Vec<Held>> {
        let spool = self.open().await?;
        if !spool.header().several {
            return Ok(vec![Held {
                database: None,
                place: self.clone(),
                spool: Some(spool),
            }]);
        }
        let mut held = Vec::new();
        for (name, number) in spool.databases().await?.into_iter().flatten().zip(1..) {
            let place = self.of_database(number);
            held.push(Held {
                database: Some(name),
                spool: place.find().await?,
                place,
            });
        }
        Ok(held)
    }

    pub(crate) fn absent(&self) -> Error {
        Error::input("there is no spool here")
            .at(Side::Link)
            .on(self.spool.clone())
            .remedy("check the URL; `pghaul extract --spool URL` makes a spool")
    }
}

/// Runs one of the commands.
pub(crate) fn run(command: &Command) -> Result<Outcome> {
    let cancel = Cancel::new();
    signal::cancel_on_interrupt(cancel.clone());
    let handle = Handle::current();
    command.look().place.allows(command)?;
    match command {
        Command::Ls(look) => handle.block_on(cancel.until(ls::run(look))),
        Command::Check(look) => handle.block_on(cancel.until(check::run(look))),
        Command::Gc(collect) => handle.block_on(cancel.until(gc(collect))),
        Command::Rm(remove) => handle.block_on(rm(remove)),
        Command::Repair(repair) => repair::run(repair, &cancel),
    }
}

impl Command {
    /// How it prints.
    pub(crate) fn output(&self) -> Form {
        self.look().output.output
    }

    fn look(&self) -> &Look {
        match self {
            Command::Ls(look) | Command::Check(look) => look,
            Command::Gc(collect) => &collect.look,
            Command::Rm(remove) => &remove.look,
            Command::Repair(repair) => &repair.look,
        }
    }
}

impl Repair {
    /// The extraction that makes up for the damage.
    pub(crate) fn extract(&self, place: Place, database: Option<&str>) -> Extract {
        Extract {
            source: self.source.clone(),
            database: database.map(str::to_owned),
            databases: Databases::default(),
            place,
            output: self.look.output.clone(),
            selecting: Selecting::default(),
            leaving: Leaving::default(),
            spool_encoding: SpoolEncoding::Typed,
            compression_level: 1,
            spool_limit: None,
            role_passwords: false,
            no_checksums: true,
            copying: Copying {
                skip_validation: true,
                ..Copying::default()
            },
            reading: Reading::default(),
            resume: true,
            help_others: false,
            validate_only: false,
            target_version: None,
            supervised: Supervised::default(),
        }
    }
}

impl Held {
    /// Says to people which database comes next, and to all of one that has no spool yet.
    fn head(&self, look: &Look) {
        let Some(database) = &self.database else {
            return;
        };
        match look.output.output {
            Form::Text => {
                say("");
                say(&format!(
                    "database {}: {}",
                    label(database),
                    self.place.spool
                ));
                if self.spool.is_none() {
                    say("its extraction has not begun");
                }
            }
            Form::Json if self.spool.is_none() => print_json(&json!({
                "event": "absent", "database": database, "place": self.place.spool,
            })),
            Form::Json => {}
        }
    }
}

async fn gc(collect: &Collect) -> Result<Outcome> {
    let place = &collect.look.place;
    let mut all = vec![place.open().await?];
    if all.iter().any(|spool| spool.header().several) {
        all.extend(
            place
                .spools()
                .await?
                .into_iter()
                .filter_map(|held| held.spool),
        );
    }
    let (mut names, mut size) = (Vec::new(), 0);
    for spool in all {
        let garbage = pghaul_spool::garbage(&spool, collect.keep).await?;
        if !collect.dry_run {
            spool.remove(&garbage).await?;
        }
        let unnamed = garbage
            .unnamed
            .iter()
            .map(|path| path.display().to_string());
        names.extend(garbage.names.iter().cloned().chain(unnamed));
        size += garbage.bytes;
    }
    match collect.look.output.output {
        Form::Json => print_json(&json!({
            "event": "garbage", "files": names, "bytes": size, "removed": !collect.dry_run,
        })),
        Form::Text => {
            for name in &names {
                say(name);
            }
            let verb = if collect.dry_run {
                "could be removed"
            } else {
                "removed"
            };
            say(&format!(
                "{} files, {} {verb}",
                count(names.len() as u64),
                bytes(size)
            ));
        }
    }
    Ok(Outcome::Done)
}

async fn rm(remove: &Remove) -> Result<Outcome> {
    let place = &remove.look.place;
    let spool = place.open().await?;
    if !remove.force {
        for held in place.spools().await? {
            not_needed(&held).await?;
        }
    }
    spool.erase().await?;
    match remove.look.output.output {
        Form::Json => print_json(&json!({ "event": "removed", "spool": spool.place() })),
        Form::Text => say(&format!("removed {}", spool.place())),
    }
    Ok(Outcome::Done)
}

/// Refuses a spool of which something is not loaded.
async fn not_needed(held: &Held) -> Result<()> {
    let (mut waiting, mut complete) = (0, false);
    if let Some(spool) = &held.spool {
        let contents = pghaul_spool::contents(spool).await?;
        let parts = contents.plan.iter().flat_map(|plan| &plan.parts);
        waiting = parts
            .filter(|part| !contents.loaded.contains(&part.id))
            .count();
        complete = contents.complete;
    }
    if waiting == 0 && complete {
        return Ok(());
    }
    Err(Error::input(format!(
        "it is still needed: {} parts are not loaded",
        count(waiting as u64)
    ))
    .at(Side::Link)
    .on(format!("the spool {}", held.place.spool))
    .remedy("load it first, or remove it all the same with --force"))
}
