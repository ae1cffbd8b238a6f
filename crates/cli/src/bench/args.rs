//! The flags of `pghaul bench`.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use pghaul_stage::RowShape;

use crate::args::{Connections, Form, Output, SpoolEncoding, parse_size};

/// `pghaul bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Read from the source and forget the rows
    Extract(Extract),
    /// Make rows up, carry them over a link, and forget them: no server takes part
    Link(Link),
    /// Make rows up and load them into the target
    Load(Load),
    /// Migrate a table made for it, with its schema and primary key
    Migrate(Whole),
}

/// `pghaul bench extract`.
#[derive(Debug, Args)]
pub(crate) struct Extract {
    #[command(flatten)]
    pub(crate) connections: Connections,

    #[command(flatten)]
    pub(crate) common: Common,

    /// Read this table, as schema.name, instead of one made for the benchmark
    #[arg(long, value_name = "TABLE", conflicts_with_all = ["shape", "size", "seed"])]
    pub(crate) table: Option<String>,
}

/// `pghaul bench link`.
#[derive(Debug, Args)]
pub(crate) struct Link {
    /// The channel in memory that joins both ends in one process
    #[arg(long, required_unless_present = "spool", conflicts_with = "spool")]
    pub(crate) channel: bool,

    /// A spool in this directory or bucket, first into it, then out of it
    #[arg(long, value_name = "URL", conflicts_with = "link_rate")]
    pub(crate) spool: Option<String>,

    /// How the spool stores rows
    #[arg(long, value_enum, value_name = "ENCODING", default_value_t = SpoolEncoding::Typed)]
    pub(crate) spool_encoding: SpoolEncoding,

    /// Level of zstd's compression
    #[arg(
        long,
        value_name = "LEVEL",
        default_value_t = 1,
        value_parser = clap::value_parser!(i32).range(1..=22)
    )]
    pub(crate) compression_level: i32,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// `pghaul bench load`.
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) connections: Connections,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// `pghaul bench migrate`.
#[derive(Debug, Args)]
pub(crate) struct Whole {
    #[command(flatten)]
    pub(crate) connections: Connections,

    #[command(flatten)]
    pub(crate) common: Common,
}

/// What every benchmark takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// What the rows look like
    #[arg(long, value_enum, value_name = "SHAPE", default_value_t = Shape::Wide)]
    pub(crate) shape: Shape,

    /// How much to move, about, for example 1GB
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "256MB")]
    pub(crate) size: u64,

    /// Another number makes other values
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Parts moved at the same time [default: processors of this host, 2 to 8]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,

    /// Let the link carry no more than this per second, as a network would, for example 100MB
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) link_rate: Option<NonZeroU64>,

    /// Also write a report with charts, in one file without anything from elsewhere
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// Shapes of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Three integers.
    Narrow,
    /// Twelve columns of as many types.
    Wide,
    /// 8 kB of bytes that do not compress.
    Toast,
}

impl Bench {
    /// The benchmark's name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Bench::Extract(_) => "extract",
            Bench::Link(_) => "link",
            Bench::Load(_) => "load",
            Bench::Migrate(_) => "migrate",
        }
    }

    /// What every benchmark takes.
    pub(crate) fn common(&self) -> &Common {
        match self {
            Bench::Extract(args) => &args.common,
            Bench::Link(args) => &args.common,
            Bench::Load(args) => &args.common,
            Bench::Migrate(args) => &args.common,
        }
    }

    /// How it prints.
    pub(crate) fn output(&self) -> Form {
        self.common().output.output
    }
}

impl From<Shape> for RowShape {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Narrow => RowShape::Narrow,
            Shape::Wide => RowShape::Wide,
            Shape::Toast => RowShape::Toast,
        }
    }
}

impl Common {
    /// Rows of the shape that make about the size; at least one.
    pub(crate) fn rows(&self) -> u64 {
        (self.size / RowShape::from(self.shape).row_bytes()).max(1)
    }
}

fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let rate = parse_size(text)?;
    NonZeroU64::new(rate).ok_or_else(|| "nothing would ever arrive".to_owned())
}
