//! The flags of `pghaul migration`.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use pghaul_server::job::{Extent, Mode};
use pghaul_server::properties::Server;
use uuid::Uuid;

use crate::args::parse_rate;

const ENVIRONMENT: &str = "\
Environment:
  PGHAUL_SERVER           address of the runtime server, if --server is not given
  PGHAUL_TOKEN            token for it, if --token-file is not given
  PGHAUL_SOURCE_PASSWORD  passwords, where the file has none
  PGHAUL_TARGET_PASSWORD

Exit codes:
  0 done   1 failed   2 wrong use   3 source and target differ";

/// The verbs of `pghaul migration`.
#[derive(Debug, Subcommand)]
#[command(after_help = ENVIRONMENT)]
pub(crate) enum Command {
    /// Create a migration at a runtime server, or run it here if there is none
    #[command(after_help = ENVIRONMENT)]
    Create(Create),
    /// List the migrations of a runtime server
    List(List),
    /// Show a migration: its state, each database, what the checks found
    Show(Show),
    /// Cancel, pause, resume or throttle a migration
    Update(Update),
    /// Delete a migration that has ended, with its events and its report
    Delete(Delete),
    /// Ask whether a migration can have this name
    CheckNameAvailability(CheckName),
    /// Print the JSON schema of job files
    Schema,
}

/// Which runtime server, and how to be admitted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Runtime server")]
pub(crate) struct Remote {
    /// Its URL: https, host and port [default: PGHAUL_SERVER]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,

    /// File with the token that the server knows [default: PGHAUL_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Trust only these certificates, as PEM, instead of those that this host trusts
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Send token and passwords without encryption to a server on another host
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// A table for people, or the server's own answer
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORM", default_value_t = Form::Table)]
    pub(crate) form: Form,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Table,
    /// One JSON document a line.
    Json,
    /// YAML documents.
    Yaml,
}

/// `pghaul migration create`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("file").required(true).args(["properties", "job"]))]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) output: Output,

    /// Its name: letters, digits, - and _ [default: a new UUID]
    #[arg(short, long, visible_alias = "migration-name", value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Properties file of Azure's migration service, as JSON; - is standard input
    #[arg(short = 'b', long, value_name = "FILE")]
    pub(crate) properties: Option<PathBuf>,

    /// Job file, as YAML or JSON; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) job: Option<PathBuf>,

    /// offline; online is not possible yet [default: as the file says, else offline]
    #[arg(long, value_name = "MODE")]
    pub(crate) migration_mode: Option<Mode>,

    /// validate, migrate or validateAndMigrate [default: as the file says, else the last]
    #[arg(long, value_name = "OPTION")]
    pub(crate) migration_option: Option<Extent>,

    /// The target, if the file does not name it
    #[arg(long, value_name = "HOST:PORT@USER", value_parser = parse_server)]
    pub(crate) target: Option<Server>,

    /// Follow it to its end
    #[arg(short, long)]
    pub(crate) watch: bool,

    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `pghaul migration list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) output: Output,

    /// Those that have not ended, or all
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Filter::Active, ignore_case = true)]
    pub(crate) filter: Filter,

    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Which migrations to list.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Filter {
    /// Those that have not ended.
    Active,
    /// All.
    All,
}

/// `pghaul migration show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) name: Name,

    /// Follow it to its end
    #[arg(short, long)]
    pub(crate) watch: bool,

    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `pghaul migration update`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("action").required(true)
    .args(["cutover", "cancel", "pause", "resume", "throttle", "no_throttle"]))]
pub(crate) struct Update {
    #[command(flatten)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) name: Name,

    /// End an online migration; an offline one has no cutover
    #[arg(long)]
    pub(crate) cutover: bool,

    /// Stop it; what is copied stays on the target
    #[arg(long)]
    pub(crate) cancel: bool,

    /// Copy nothing more until it is resumed
    #[arg(long)]
    pub(crate) pause: bool,

    /// Go on after a pause
    #[arg(long)]
    pub(crate) resume: bool,

    /// Copy at most so many bytes a second, for example 50MB
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) throttle: Option<NonZeroU64>,

    /// Copy as fast as it goes
    #[arg(long)]
    pub(crate) no_throttle: bool,

    /// Follow it to its end
    #[arg(short, long)]
    pub(crate) watch: bool,

    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `pghaul migration delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) name: Name,

    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `pghaul migration check-name-availability`.
#[derive(Debug, Args)]
pub(crate) struct CheckName {
    #[command(flatten)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) name: Name,

    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Which migration: either form will do.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Name {
    /// Its name
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Its name
    #[arg(
        short,
        long = "name",
        visible_alias = "migration-name",
        value_name = "NAME"
    )]
    named: Option<String>,
}

impl Output {
    /// The form in which an error is to be told.
    pub(crate) fn on_error(&self) -> crate::args::Form {
        match self.form {
            Form::Json => crate::args::Form::Json,
            Form::Table | Form::Yaml => crate::args::Form::Text,
        }
    }
}

impl Command {
    /// The form in which an error is to be told.
    pub(crate) fn output(&self) -> crate::args::Form {
        match self {
            Command::Create(args) => args.output.on_error(),
            Command::List(args) => args.output.on_error(),
            Command::Show(args) => args.output.on_error(),
            Command::Update(args) => args.output.on_error(),
            Command::CheckNameAvailability(args) => args.output.on_error(),
            Command::Delete(_) | Command::Schema => crate::args::Form::Text,
        }
    }
}

impl Name {
    /// The name.
    pub(crate) fn get(&self) -> &str {
        let given = self.name.as_deref().or(self.named.as_deref());
        given.unwrap_or_default()
    }
}

impl Create {
    /// The migration's name.
    pub(crate) fn name(&self) -> String {
        let given = self.name.clone();
        given.unwrap_or_else(|| Uuid::now_v7().to_string())
    }
}

fn parse_server(text: &str) -> Result<Server, String> {
    text.parse()
        .map_err(|error: pghaul_stage::Error| error.message().to_owned())
}
