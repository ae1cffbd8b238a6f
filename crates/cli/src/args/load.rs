//! The flags of `pghaul load`.

use clap::Args;

use super::{Output, Supervised, TargetDsn, parse_pair};
use crate::copying::{Copying, Writing};
use crate::selection::Properties;
use crate::spool::Place;

/// `pghaul load`.
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) target: TargetDsn,

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

    #[command(flatten)]
    pub(crate) copying: Copying,

    #[command(flatten)]
    pub(crate) writing: Writing,

    /// Drop the target database first if it exists, with everything in it
    #[arg(long, conflicts_with = "resume")]
    pub(crate) overwrite: bool,

    /// Continue an interrupted load: parts that are on the target are not loaded again
    #[arg(long)]
    pub(crate) resume: bool,

    /// Copy parts beside a load of the same spool that is going on already
    #[arg(long, conflicts_with_all = ["resume", "overwrite"])]
    pub(crate) help_others: bool,

    /// Compare the target with what was extracted afterwards, as `pghaul verify --spool` does
    #[arg(long, conflicts_with = "help_others")]
    pub(crate) verify: bool,

    /// Put what is in tablespace OLD of the source into tablespace NEW of the target; repeatable
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_pair)]
    pub(crate) tablespace_map: Vec<(String, String)>,

    #[command(
        flatten,
        next_help_heading = "Left alone, besides what the extraction left out"
    )]
    pub(crate) properties: Properties,

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

    /// Check the target, and how an examined source fits to it, instead of loading
    #[arg(long, hide = true)]
    pub(crate) validate_only: bool,

    /// Rows alone were extracted: first empty the selected tables, all together and once
    #[arg(long)]
    pub(crate) truncate: bool,

    #[command(flatten)]
    pub(crate) supervised: Supervised,
}

impl Load {
    /// The target.
    pub(crate) fn connections(&self) -> pghaul_stage::Result<pghaul_wire::Conninfo> {
        let target = self.target.conninfo()?;
        Ok(match &self.database {
            Some(database) => target.with_dbname(database),
            None => target,
        })
    }
}
