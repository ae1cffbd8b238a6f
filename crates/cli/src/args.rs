//! Flags as the user typed them; nothing is resolved here.

mod extract;
mod load;

use std::num::NonZeroU64;

use crate::admission::Admission;
use crate::copying::{Copying, Reading, Writing};
use crate::databases::unquote;
use crate::selection::{Leaving, Selecting};
use clap::{Args, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

pub(crate) use extract::{Extract, SpoolEncoding};
pub(crate) use load::Load;

const CONNECTIONS: &str = "\
Connections:
  PGHAUL_SOURCE and PGHAUL_TARGET hold the connection strings, as libpq reads
  them: postgres://user@host/db?sslmode=verify-full or host=… dbname=….
  --source and --target override them. Passwords come from these variables,
  PGPASSFILE, ~/.pgpass or a service file, never from the command line.

Exit codes:
  0 done   1 failed   2 wrong use   3 source and target differ";

/// Moves PostgreSQL databases: roles, schema, rows, sequences, large objects.
#[derive(Debug, Parser)]
#[command(name = "pghaul", version, max_term_width = 100, after_help = CONNECTIONS)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Log more to standard error; twice for everything. PGHAUL_LOG sets a filter instead
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Move a database: roles, schema, rows, indexes, constraints, sequences, large objects
    #[command(after_help = CONNECTIONS)]
    Migrate(Migrate),
    /// Read a database into a spool, on a host that need not reach the target
    #[command(after_help = CONNECTIONS)]
    Extract(Extract),
    /// Load a database from a spool, on a host that need not reach the source
    #[command(after_help = CONNECTIONS)]
    Load(Load),
    /// Look after a spool: list, check, clean, repair
    #[command(subcommand)]
    Spool(crate::spool::Command),
    /// Check source, target and this machine before a migration, and change nothing
    #[command(after_help = CONNECTIONS)]
    Validate(Validate),
    /// Compare two databases: every row by checksum, sequences, large objects, objects
    #[command(after_help = CONNECTIONS)]
    Verify(Verify),
    /// Remove what pghaul created on both sides
    #[command(after_help = CONNECTIONS)]
    Cleanup(Cleanup),
    /// Be a runtime server: take migrations through an API, queue them, run and watch them
    Serve(crate::serve::Serve),
    /// Measure how fast source, link and target are, and find the slowest of them
    #[command(subcommand, after_help = CONNECTIONS)]
    Bench(crate::bench::Bench),
    /// Create, list, show, update and delete migrations at a runtime server
    #[command(subcommand)]
    Migration(crate::migration::Command),
    /// Take a runtime server out of use: remove what its migrations left, once all are verified
    Decommission(crate::decommission::Decommission),
}

impl Command {
    /// The directory in which it is watched and controlled.
    pub(crate) fn run_dir(&self) -> Option<&std::path::Path> {
        match self {
            Command::Migrate(args) => args.supervised.run_dir.as_deref(),
            Command::Validate(args) => args.supervised.run_dir.as_deref(),
            Command::Extract(args) => args.supervised.run_dir.as_deref(),
            Command::Load(args) => args.supervised.run_dir.as_deref(),
            _ => None,
        }
    }

    /// Prints JSON from now on, whatever the user said.
    pub(crate) fn print_json(&mut self) {
        match self {
            Command::Migrate(args) => args.output.output = Form::Json,
            Command::Validate(args) => args.output.output = Form::Json,
            Command::Extract(args) => args.output.output = Form::Json,
            Command::Load(args) => args.output.output = Form::Json,
            _ => {}
        }
    }

    /// What the user typed for it, of those that can have a run directory.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Validate(_) => "validate",
            Command::Extract(_) => "extract",
            Command::Load(_) => "load",
            _ => "migrate",
        }
    }
}

/// How another process follows this one.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Run by another program")]
pub(crate) struct Supervised {
    /// Write events, progress and log into this directory and take commands there; what an earlier
    /// process had begun in it is gone on with
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<std::path::PathBuf>,
}

/// Where to connect.
#[derive(Debug, Args)]
pub(crate) struct Connections {
    #[command(flatten)]
    pub(crate) source: SourceDsn,

    #[command(flatten)]
    pub(crate) target: TargetDsn,
}

/// Where to read.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceDsn {
    /// Connection string of the source, without a password [default: PGHAUL_SOURCE]
    #[arg(long, value_name = "DSN")]
    pub(crate) source: Option<String>,

    /// The one of a command that another command made; it may hold a password, and counts more
    #[arg(skip)]
    pub(crate) known: Option<SecretString>,
}

/// Where to write.
#[derive(Debug, Clone, Args)]
pub(crate) struct TargetDsn {
    /// Connection string of the target, without a password [default: PGHAUL_TARGET]
    #[arg(long, value_name = "DSN")]
    pub(crate) target: Option<String>,

    /// The one of a command that another command made; it may hold a password, and counts more
    #[arg(skip)]
    pub(crate) known: Option<SecretString>,
}

/// Which databases, if not the one that the connection strings name.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Databases {
    /// These databases, each to the one of its name; the connection strings then name the servers
    #[arg(
        long,
        value_name = "NAME,...",
        conflicts_with = "all_databases",
        help_heading = "Several databases"
    )]
    pub(crate) databases: Vec<String>,

    /// Every database but templates and those that allow no connections
    #[arg(long, help_heading = "Several databases")]
    pub(crate) all_databases: bool,

    /// Leave out databases that match, in psql's pattern language; may be given several times
    #[arg(
        long,
        value_name = "PATTERN",
        requires = "all_databases",
        help_heading = "Several databases"
    )]
    pub(crate) exclude_database: Vec<String>,
}

/// How to print.
#[derive(Debug, Clone, Args)]
pub(crate) struct Output {
    /// Text for people, or JSON lines: events, then a summary
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Text)]
    pub(crate) output: Form,
}

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Progress bars on a terminal, plain lines otherwise, then tables.
    Text,
    /// One JSON object a line.
    Json,
}

/// `pghaul migrate`.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub(crate) connections: Connections,

    #[command(flatten)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) databases: Databases,

    #[command(flatten)]
    pub(crate) selecting: Selecting,

    #[command(flatten)]
    pub(crate) leaving: Leaving,

    #[command(flatten)]
    pub(crate) copying: Copying,

    #[command(flatten)]
    pub(crate) reading: Reading,

    #[command(flatten)]
    pub(crate) writing: Writing,

    /// Drop the target database first if it exists, with everything in it
    #[arg(long, conflicts_with_all = ["resume", "data_only"])]
    pub(crate) overwrite: bool,

    /// Continue an interrupted migration: finished parts are not read again
    #[arg(long)]
    pub(crate) resume: bool,

    /// With --resume, if the source changed since: copy changed and unfinished tables anew
    #[arg(long, requires = "resume", conflicts_with = "data_only")]
    pub(crate) allow_new_snapshot: bool,

    /// Compare source and target afterwards, as `pghaul verify` does
    #[arg(long)]
    pub(crate) verify: bool,

    /// Put what is in tablespace OLD of the source into tablespace NEW of the target; repeatable
    #[arg(
        long,
        value_name = "OLD=NEW",
        value_parser = parse_pair,
        conflicts_with = "data_only"
    )]
    pub(crate) tablespace_map: Vec<(String, String)>,

    #[command(flatten)]
    pub(crate) supervised: Supervised,
}

/// `pghaul validate`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) connections: Connections,

    #[command(flatten)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) databases: Databases,

    #[command(flatten)]
    pub(crate) selecting: Selecting,

    #[command(flatten)]
    pub(crate) leaving: Leaving,

    /// As for `pghaul migrate`: how many connections must be free
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,

    /// As for `pghaul migrate` [default: as --jobs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) index_jobs: Option<u16>,

    /// As for `pghaul migrate`: the target database may hold objects, and must be droppable
    #[arg(long, conflicts_with = "data_only")]
    pub(crate) overwrite: bool,

    /// As for `pghaul migrate`
    #[arg(
        long,
        value_name = "OLD=NEW",
        value_parser = parse_pair,
        conflicts_with = "data_only"
    )]
    pub(crate) tablespace_map: Vec<(String, String)>,

    /// As for `pghaul migrate`: whatever would not be carried over is a failure
    #[arg(long)]
    pub(crate) strict: bool,

    /// Measure the way to either server, and reading from the source, for so long; 0 measures nothing
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=60))]
    pub(crate) measure: u64,

    /// Write the findings to this file, as a page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<std::path::PathBuf>,

    #[command(flatten)]
    pub(crate) supervised: Supervised,
}

/// `pghaul verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) connections: Connections,

    #[command(flatten)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) databases: Databases,

    #[command(flatten)]
    pub(crate) selecting: Selecting,

    /// Tables compared at the same time [default: processors of this host, 2 to 8]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,

    /// Differing rows to print for each table
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) rows: usize,

    /// Write what a comparison has to know of the source to this file; needs no target
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["digest", "target", "databases", "all_databases"],
        help_heading = "Source and target out of each other's reach"
    )]
    pub(crate) record: Option<std::path::PathBuf>,

    /// Compare the target with what --record wrote; needs no source
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["source", "databases", "all_databases"],
        help_heading = "Source and target out of each other's reach"
    )]
    pub(crate) digest: Option<std::path::PathBuf>,

    /// Compare the target with what was extracted into this spool; needs no source
    #[arg(
        long,
        value_name = "URL",
        conflicts_with_all = ["record", "digest", "source", "databases", "all_databases"],
        help_heading = "Source and target out of each other's reach"
    )]
    pub(crate) spool: Option<String>,

    /// The key of that spool, if it is encrypted
    #[arg(
        long,
        value_name = "FILE",
        requires = "spool",
        help_heading = "Source and target out of each other's reach"
    )]
    pub(crate) encrypt_key_file: Option<std::path::PathBuf>,

    #[command(flatten)]
    pub(crate) admission: Admission,
}

/// `pghaul cleanup`.
#[derive(Debug, Args)]
pub(crate) struct Cleanup {
    #[command(flatten)]
    pub(crate) connections: Connections,

    #[command(flatten)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) databases: Databases,

    /// Only list what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Also remove the record of an unfinished migration, which then cannot be resumed
    #[arg(long)]
    pub(crate) force: bool,
}

/// Two names with `=` between them.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    let names = pair(text).filter(|(old, new)| !old.is_empty() && !new.is_empty());
    names.ok_or_else(|| {
        "write two names with = between them, such as old=new; one that has = in it, or begins with \
         a double quote, in double quotes"
            .to_owned()
    })
}

fn pair(text: &str) -> Option<(String, String)> {
    let (old, rest) = match text.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        None => {
            let (old, rest) = text.split_at(text.find('=')?);
            (old.to_owned(), rest)
        }
    };
    let new = rest.strip_prefix('=')?;
    let new = match new.strip_prefix('"') {
        Some(quoted) => unquote(quoted).and_then(|(new, rest)| rest.is_empty().then_some(new))?,
        None => new.to_owned(),
    };
    Some((old, new))
}

/// A size in bytes, with an optional unit in powers of 1024, as PostgreSQL writes them.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(format!("{unit:?} is no unit; use kB, MB, GB or TB")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write a size such as 500MB".to_owned())?;
    number
        .checked_shl(shift)
        .filter(|bytes| bytes >> shift == number)
        .ok_or("too large".to_owned())
}

/// Bytes a second: more than none.
pub(crate) fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(parse_size(text)?).ok_or("at no bytes a second nothing moves".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Cli, parse_pair, parse_size};

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn pairs_of_names() {
        let pair = |text| parse_pair(text).map_err(drop);
        let names = |old: &str, new: &str| Ok((old.to_owned(), new.to_owned()));
        assert_eq!(pair("a=b"), names("a", "b"));
        assert_eq!(pair("a b=New \"Owner\""), names("a b", "New \"Owner\""));
        assert_eq!(pair("a=b=c"), names("a", "b=c"));
        assert_eq!(pair(r#""a=b"=c"#), names("a=b", "c"));
        assert_eq!(pair(r#""say ""=""="="b=c""#), names("say \"=\"=", "b=c"));
        for wrong in [
            "a",
            "=b",
            "a=",
            r#""a=b"#,
            r#""a"b=c"#,
            r#"a="b"c"#,
            r#"""=a"#,
        ] {
            assert_eq!(pair(wrong), Err(()), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("500MB"), Ok(500 << 20));
        assert_eq!(parse_size("1 GiB"), Ok(1 << 30));
        assert_eq!(parse_size("77"), Ok(77));
        assert!(parse_size("x").is_err());
        assert!(parse_size("5 parsecs").is_err());
        assert!(parse_size("99999999999TB").is_err());
    }
}
