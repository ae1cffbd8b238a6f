//! The flags of `pghaul extract`.

use std::num::NonZeroU64;

use clap::{Args, ValueEnum};

use super::{Connections, CopyFormat, Output, parse_rate, parse_size};
use crate::selection::{Leaving, Selecting};
use crate::spool::Place;

/// `pghaul extract`.
#[derive(Debug, Args)]
pub(crate) struct Extract {
    /// Connection string of the source, without a password [default: PGHAUL_SOURCE]
    #[arg(long, value_name = "DSN")]
    pub(crate) source: Option<String>,

    /// This database instead of the one that the connection string names
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) database: Option<String>,

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

    /// Parts read at the same time [default: processors of this host, 2 to 8]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,

    /// Continue an interrupted extraction: sealed parts are not read again
    #[arg(long)]
    pub(crate) resume: bool,

    /// Read parts beside an extraction into the same spool that is going on already
    #[arg(long, conflicts_with = "resume")]
    pub(crate) help_others: bool,

    /// Begin without the checks of `pghaul validate`
    #[arg(long)]
    pub(crate) skip_validation: bool,

    /// The target's major version, if it is known: more tables then travel in binary
    #[arg(long, value_name = "MAJOR", value_parser = clap::value_parser!(u32).range(10..=99))]
    pub(crate) target_version: Option<u32>,

    /// How COPY encodes rows
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = CopyFormat::Auto)]
    pub(crate) copy_format: CopyFormat,

    /// Cut tables larger than this into parts, for example 500MB [default: by size and jobs]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) split_larger_than: Option<u64>,

    /// Read at most so many bytes a second, all jobs together, for example 50MB
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) rate_limit: Option<NonZeroU64>,

    /// Write a timeline of parts, steps and waits for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<std::path::PathBuf>,
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
        let connections = Connections {
            source: self.source.clone(),
            target: None,
        };
        let source = connections.source()?;
        Ok(match &self.database {
            Some(database) => source.with_dbname(database),
            None => source,
        })
    }
}
