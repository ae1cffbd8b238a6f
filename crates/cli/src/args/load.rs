//! The flags of `pghaul load`.

use std::num::NonZeroU64;

use clap::Args;

use super::{Connections, Output, parse_pair, parse_rate};
use crate::spool::Place;

/// `pghaul load`.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Connection string of the target, without a password [default: PGHAUL_TARGET]
    #[arg(long, value_name = "DSN")]
    pub(crate) target: Option<String>,

    /// This database instead of the one that the connection string names
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) database: Option<String>,

    #[command(flatten)]
    pub(crate) place: Place,

    #[command(flatten)]
    pub(crate) output: Output,

    /// Keep files of rows that are loaded
    #[arg(long, help_heading = "Spool")]
    pub(crate) keep: bool,

    /// Wait so many seconds for an extraction to begin
    #[arg(long, value_name = "SECONDS", help_heading = "Spool")]
    pub(crate) wait: Option<u64>,

    /// Parts copied at the same time [default: processors of this host, 2 to 8]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,

    /// Indexes built at the same time [default: as --jobs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) index_jobs: Option<u16>,

    /// Drop the target database first if it exists, with everything in it
    #[arg(long, conflicts_with = "resume")]
    pub(crate) overwrite: bool,

    /// Continue an interrupted load: parts that are on the target are not loaded again
    #[arg(long)]
    pub(crate) resume: bool,

    /// Copy parts beside a load of the same spool that is going on already
    #[arg(long, conflicts_with_all = ["resume", "overwrite"])]
    pub(crate) help_others: bool,

    /// Begin without the checks of `pghaul validate`
    #[arg(long)]
    pub(crate) skip_validation: bool,

    /// Fail before anything begins if anything would not be carried over
    #[arg(long)]
    pub(crate) strict: bool,

    /// Compare the target with what was extracted afterwards, as `pghaul verify --spool` does
    #[arg(long, conflicts_with = "help_others")]
    pub(crate) verify: bool,

    /// Write the report to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<std::path::PathBuf>,

    /// Put what is in tablespace OLD of the source into tablespace NEW of the target; repeatable
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_pair)]
    pub(crate) tablespace_map: Vec<(String, String)>,

    /// Do not set owners: all objects belong to the target's role
    #[arg(
        long,
        help_heading = "Left alone, besides what the extraction left out"
    )]
    pub(crate) no_owner: bool,

    /// No grants and no default privileges
    #[arg(
        long,
        alias = "no-privileges",
        help_heading = "Left alone, besides what the extraction left out"
    )]
    pub(crate) no_acl: bool,

    /// No comments
    #[arg(
        long,
        help_heading = "Left alone, besides what the extraction left out"
    )]
    pub(crate) no_comments: bool,

    /// Create no roles
    #[arg(
        long,
        help_heading = "Left alone, besides what the extraction left out"
    )]
    pub(crate) no_roles: bool,

    /// Create everything in the default tablespace
    #[arg(
        long,
        help_heading = "Left alone, besides what the extraction left out"
    )]
    pub(crate) no_tablespaces: bool,

    /// Neither carry planner statistics over nor collect them
    #[arg(
        long,
        help_heading = "Left alone, besides what the extraction left out"
    )]
    pub(crate) no_analyze: bool,

    /// Rows alone were extracted: first empty the selected tables, all together and once
    #[arg(long)]
    pub(crate) truncate: bool,

    /// A role of the source, and the role of the target that stands for it
    #[arg(long = "role-map", value_name = "OLD=NEW", value_parser = parse_pair)]
    pub(crate) role_map: Vec<(String, String)>,

    /// Load at most so many bytes a second, all jobs together, for example 50MB
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) rate_limit: Option<NonZeroU64>,

    /// Write a timeline of parts, steps and waits for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<std::path::PathBuf>,
}

impl Load {
    /// The target.
    pub(crate) fn connections(&self) -> pghaul_stage::Result<pghaul_wire::Conninfo> {
        let connections = Connections {
            source: None,
            target: self.target.clone(),
        };
        let target = connections.target()?;
        Ok(match &self.database {
            Some(database) => target.with_dbname(database),
            None => target,
        })
    }
}
