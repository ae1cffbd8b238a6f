//! The flags of `pghaul extract`.

use clap::{Args, ValueEnum};

use super::{Databases, Output, SourceDsn, Supervised, parse_size};
use crate::copying::{Copying, Reading};
use crate::selection::{Leaving, Selecting};
use crate::spool::Place;

/// `pghaul extract`.
#[derive(Debug, Args)]
pub(crate) struct Extract {
    #[command(flatten)]
    pub(crate) source: SourceDsn,

    /// This database instead of the one that the connection string names
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) database: Option<String>,

    #[command(flatten)]
    pub(crate) databases: Databases,

    #[command(flatten)]
    pub(crate) place: Place,

    #[command(flatten)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) selecting: Selecting,

    #[command(flatten)]
    pub(crate) leaving: Leaving,

    /// How rows are stored: in columns of their types, or as COPY's bytes
    #[arg(
        long,
        value_enum,
        value_name = "ENCODING",
        default_value_t = SpoolEncoding::Typed,
        help_heading = "Spool"
    )]
    pub(crate) spool_encoding: SpoolEncoding,

    /// Level of zstd's compression
    #[arg(
        long,
        value_name = "LEVEL",
        default_value_t = 1,
        value_parser = clap::value_parser!(i32).range(1..=22),
        help_heading = "Spool"
    )]
    pub(crate) compression_level: i32,

    /// Pause while files of so many bytes wait to be loaded, for example 20GB
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Spool")]
    pub(crate) spool_limit: Option<u64>,

    /// Store password hashes and the schema's secrets too; only with --encrypt-key-file
    #[arg(long, requires = "encrypt_key_file", help_heading = "Spool")]
    pub(crate) role_passwords: bool,

    /// Do not record the checksums that `pghaul verify --spool` compares the target with
    #[arg(long, help_heading = "Spool")]
    pub(crate) no_checksums: bool,

    #[command(flatten)]
    pub(crate) copying: Copying,

    #[command(flatten)]
    pub(crate) reading: Reading,

    /// Continue an interrupted extraction: sealed parts are not read again
    #[arg(long)]
    pub(crate) resume: bool,

    /// Read parts beside an extraction into the same spool that is going on already
    #[arg(long, conflicts_with = "resume")]
    pub(crate) help_others: bool,

    /// Check the source, and write down what the target's checks need, instead of extracting
    #[arg(long, hide = true)]
    pub(crate) validate_only: bool,

    /// The target's major version, if it is known: more tables then travel in binary
    #[arg(long, value_name = "MAJOR", value_parser = clap::value_parser!(u32).range(10..=99))]
    pub(crate) target_version: Option<u32>,

    #[command(flatten)]
    pub(crate) supervised: Supervised,
}

/// How rows are stored in a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SpoolEncoding {
    /// Parquet columns of the values' types: other programs can read them.
    Typed,
    /// COPY's own bytes: takes the least time.
    Copy,
}

impl From<SpoolEncoding> for pghaul_spool::FileEncoding {
    fn from(encoding: SpoolEncoding) -> Self {
        match encoding {
            SpoolEncoding::Typed => Self::Typed,
            SpoolEncoding::Copy => Self::Copy,
        }
    }
}

impl Extract {
    /// The source.
    pub(crate) fn connections(&self) -> pghaul_stage::Result<pghaul_wire::Conninfo> {
        let source = self.source.conninfo()?;
        Ok(match &self.database {
            Some(database) => source.with_dbname(database),
            None => source,
        })
    }
}
