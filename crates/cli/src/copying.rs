//! How rows are copied: the flags that all commands which do so have in common, and what they mean.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pghaul_extract::Split;
use pghaul_relay::{Link, Options, Pace, Pipeline, Runner};
use pghaul_stage::{Error, Result, Selection, Side, Source, Target};
use tokio::runtime::Handle;

use crate::args::{parse_rate, parse_size};

/// Payload bytes that may be under way in all lanes together.
const QUEUES: usize = 32 << 20;

/// Payload bytes that may be under way in one lane.
const LINK: usize = 8 << 20;

/// How long a run may take to end its sessions on either side.
const FAREWELL: Duration = Duration::from_secs(10);

/// How parts are copied.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Copying {
    /// Parts copied at the same time [default: processors of this host, 2 to 8]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,

    /// Copy at most so many bytes a second, all jobs together, for example 50MB
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) rate_limit: Option<NonZeroU64>,

    /// Begin without the checks of `pghaul validate`
    #[arg(long)]
    pub(crate) skip_validation: bool,

    /// Write a timeline of parts, steps and waits for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
}

/// How the source is read.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Reading {
    /// How COPY encodes rows
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = CopyFormat::Auto)]
    pub(crate) copy_format: CopyFormat,

    /// Cut tables larger than this into parts, for example 500MB [default: by size and jobs]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) split_larger_than: Option<u64>,
}

/// How the target is written.
#[derive(Debug, Clone, Args)]
pub(crate) struct Writing {
    /// Indexes built at the same time [default: as --jobs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) index_jobs: Option<u16>,

    /// Fail before anything begins if anything would not be carried over
    #[arg(long)]
    pub(crate) strict: bool,

    /// Write the report to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// Encodings of COPY the user may ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CopyFormat {
    /// Binary for each table whose types allow it, text for the others.
    #[default]
    Auto,
    /// Binary for all; an error if a table's types do not allow it.
    Binary,
    /// Text for all.
    Text,
}

impl Copying {
    /// How many parts to copy at a time.
    pub(crate) fn jobs(&self) -> usize {
        jobs(self.jobs)
    }

    /// How fast to copy, until told otherwise.
    pub(crate) fn pace(&self) -> Pace {
        self.rate_limit.map_or_else(Pace::unlimited, Pace::new)
    }

    /// What copies the parts of a source to a target, at a pace that others may share.
    pub(crate) fn runner(
        &self,
        source: Arc<dyn Source>,
        target: Arc<dyn Target>,
        handle: &Handle,
        pace: Pace,
    ) -> Result<Runner> {
        let jobs = NonZeroUsize::new(self.jobs()).ok_or_else(|| Error::input("no jobs"))?;
        Ok(Pipeline::from(source)
            .link(Link::Paced {
                bytes: LINK.min(QUEUES / jobs),
                pace,
            })
            .to(target, handle.clone())
            .options(Options {
                jobs,
                ..Options::default()
            }))
    }
}

impl Reading {
    /// What these flags, and a selection, mean to the source. Where they do not say how large a
    /// part may be, `parts` does.
    pub(crate) fn config(
        &self,
        jobs: usize,
        selection: &Selection,
        parts: Option<u64>,
    ) -> pghaul_extract::Config {
        let size = self.split_larger_than.or(parts);
        pghaul_extract::Config {
            jobs: u32::try_from(jobs).unwrap_or(u32::MAX),
            copy_format: match self.copy_format {
                CopyFormat::Auto => pghaul_extract::CopyFormat::Auto,
                CopyFormat::Binary => pghaul_extract::CopyFormat::Binary,
                CopyFormat::Text => pghaul_extract::CopyFormat::Text,
            },
            split: size.map_or(Split::Auto, Split::LargerThan),
            selection: selection.clone(),
            ..pghaul_extract::Config::default()
        }
    }
}

impl Writing {
    /// How many indexes to build at once, where so many parts are copied.
    pub(crate) fn index_jobs(&self, jobs: usize) -> usize {
        self.index_jobs.map_or(jobs, usize::from)
    }

    /// What these flags mean to the target.
    pub(crate) fn config(&self, jobs: usize) -> pghaul_load::Config {
        pghaul_load::Config {
            index_jobs: self.index_jobs(jobs),
            more_at_the_end: self.index_jobs.is_none(),
            ..pghaul_load::Config::default()
        }
    }
}

/// How many things to do at once when the user does not say.
pub(crate) fn jobs(given: Option<u16>) -> usize {
    let processors = || std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    given.map_or_else(|| processors().clamp(2, 8), usize::from)
}

/// Ends a run's sessions on one side. All work is done by then, so a failure is only told.
pub(crate) async fn farewell(side: Side, ending: impl Future<Output = Result<()>>) {
    match tokio::time::timeout(FAREWELL, ending).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "sessions may be left on the {side}"),
        Err(_) => tracing::warn!("sessions may be left on the {side}"),
    }
}
