//! `pghaul validate`: checks both ends and this machine, changes nothing.

mod compare;
mod content;
mod locale;
mod show;

use std::time::{Duration, Instant};

use pghaul_load::Intent;
use pghaul_relay::Cancel;
use pghaul_stage::{Error, Finding, Kind, Result, Verdict};
use pghaul_wire::Conninfo;
use tokio::runtime::Handle;

use crate::args::{Form, Validate};
use crate::migrate::jobs;
use crate::{Outcome, signal};

/// Sessions on the source besides one for each job: the holder of the snapshot, the reader of
/// the catalog, pg_dump.
const SOURCE_SESSIONS: usize = 3;

/// Sessions on the target besides one for each job and each index job: the ledger and the steps
/// that happen once.
const TARGET_SESSIONS: usize = 2;

/// What is to be checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) source: &'a Conninfo,
    pub(crate) target: &'a Conninfo,
    pub(crate) jobs: usize,
    pub(crate) index_jobs: usize,
    pub(crate) overwrite: bool,
    pub(crate) tablespace_map: &'a [(String, String)],
}

/// What was found.
pub(crate) struct Findings {
    findings: Vec<Finding>,
    elapsed: Duration,
}

/// Runs the command.
pub(crate) fn run(args: &Validate) -> Result<Outcome> {
    let (source, target) = (args.connections.source()?, args.connections.target()?);
    let jobs = jobs(args.jobs);
    let scope = Scope {
        source: &source,
        target: &target,
        jobs,
        index_jobs: args.index_jobs.map_or(jobs, usize::from),
        overwrite: args.overwrite,
        tablespace_map: &args.tablespace_map,
    };
    let cancel = Cancel::new();
    signal::cancel_on_interrupt(cancel.clone());
    let found = Handle::current().block_on(cancel.until(scope.check()))?;
    show::all(args.output.output, &found);
    Ok(if found.failed().next().is_some() {
        Outcome::Invalid
    } else {
        Outcome::Done
    })
}

impl Scope<'_> {
    /// Checks, and fails if the migration would; warnings are printed.
    pub(crate) async fn require(self, form: Form) -> Result<()> {
        let found = self.check().await?;
        show::troubles(form, &found);
        let failed: Vec<String> = found.failed().map(|one| one.check().to_string()).collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Permanent,
            format!("the validation failed: {}", failed.join(", ")),
        )
        .remedy(
            "follow the remedies above, or migrate with --skip-validation; docs/validation.md \
             describes every code",
        ))
    }

    /// Runs every check.
    async fn check(self) -> Result<Findings> {
        let began = Instant::now();
        let sessions = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let intent = Intent {
            connections: sessions(self.jobs + self.index_jobs + TARGET_SESSIONS),
            overwrite: self.overwrite,
        };
        let source = pghaul_extract::validate(self.source, sessions(self.jobs + SOURCE_SESSIONS));
        let target = pghaul_load::validate(self.target, intent);
        let ((mut findings, source), (more, target)) = tokio::try_join!(source, target)?;
        findings.extend(more);
        if let (Some(source), Some(target)) = (&source, &target) {
            findings.extend(compare::both(source, target, &self).await?);
        }
        findings.sort_by_key(|finding| (side_order(finding), finding.check()));
        let elapsed = began.elapsed();
        Ok(Findings { findings, elapsed })
    }
}

fn side_order(finding: &Finding) -> u8 {
    match finding.place() {
        "source" => 0,
        "target" => 1,
        _ => 2,
    }
}

impl Findings {
    fn failed(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.verdict() == Verdict::Failed)
    }

    fn count(&self, verdict: Verdict) -> usize {
        let found = self.findings.iter();
        found.filter(|finding| finding.verdict() == verdict).count()
    }
}
