//! `pghaul validate`: checks both ends and this machine, changes nothing.

mod compare;
mod complete;
mod content;
mod half;
mod html;
mod locale;
mod measure;
mod relayed;
mod show;

use std::time::{Duration, Instant};

use pghaul_extract::SourceFacts;
use pghaul_load::Intent;
use pghaul_relay::{Cancel, Pace};
use pghaul_stage::{Check, Error, Finding, Kind, Result, Selection, Side, Verdict};
use pghaul_wire::Conninfo;
use pghaul_wire::checkup::Sessions;
use tokio::runtime::Handle;

pub(crate) use half::Half;

use crate::args::{Form, Validate};
use crate::copying::jobs;
use crate::databases::label;
use crate::migrate::at_a_time;
use crate::output::Screen;
use crate::run_dir::RunDir;
use crate::{Outcome, signal};

/// Sessions on the source for each database besides one for each job: the holder of the snapshot, the reader of
/// the catalog, pg_dump.
const SOURCE_SESSIONS: usize = 3;

/// Sessions on the target for each database besides one for each job and each index job: the
/// ledger and the steps that happen once.
const TARGET_SESSIONS: usize = 2;

/// For how long each half of the checks measures, where two processes make them.
pub(crate) const MEASURE: Duration = Duration::from_secs(1);

/// What is to be checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The two ends, as far as they can be reached from here.
    pub(crate) source: Option<&'a Conninfo>,
    pub(crate) target: Option<&'a Conninfo>,
    pub(crate) jobs: usize,
    pub(crate) index_jobs: usize,
    pub(crate) overwrite: bool,
    pub(crate) tablespace_map: &'a [(String, String)],
    /// The database's name, where it is one of several.
    pub(crate) database: Option<&'a str>,
    /// How many databases are open at a time.
    pub(crate) databases: usize,
    /// Whether whatever is not carried over is a failure.
    pub(crate) strict: bool,
    /// What an earlier process found of a source that cannot be reached from here.
    pub(crate) facts: Option<&'a SourceFacts>,
    pub(crate) selection: &'a Selection,
    /// For how long to measure the ways to both servers; `None` for not at all.
    pub(crate) measure: Option<Duration>,
}

/// What was found.
pub(crate) struct Findings {
    findings: Vec<Finding>,
    /// `server_version_num` of the target, if it could be asked.
    target_version: Option<u32>,
    /// Of the source, if it could be asked.
    facts: Option<SourceFacts>,
    elapsed: Duration,
}

/// Runs the command.
pub(crate) fn run(args: &Validate, run_dir: Option<&RunDir>) -> Result<Outcome> {
    let (source, target) = (args.connections.source()?, args.connections.target()?);
    let cancel = Cancel::new();
    signal::cancel_on_interrupt(cancel.clone());
    // Checks copy nothing, so there is no pace to keep.
    run_dir.map_or(Ok(()), |dir| dir.listen(&cancel, &Pace::unlimited()))?;
    let handle = Handle::current();
    let form = args.output.output;
    let jobs = jobs(args.jobs);
    let selection = args.leaving.apply(args.selecting.selection());
    let scope = Scope {
        source: Some(&source),
        target: Some(&target),
        jobs,
        index_jobs: args.index_jobs.map_or(jobs, usize::from),
        overwrite: args.overwrite,
        tablespace_map: &args.tablespace_map,
        database: None,
        databases: 1,
        strict: args.strict,
        facts: None,
        selection: &selection,
        measure: (args.measure > 0).then(|| Duration::from_secs(args.measure)),
    };
    let mut outcome = Outcome::Done;
    let mut page = args.html.as_deref().map(html::Page::create).transpose()?;
    let mut check = |scope: Scope<'_>| -> Result<()> {
        show::begin(form, scope.database);
        let found = handle.block_on(cancel.until(scope.check_all()))?;
        show::all(form, &found, scope.database);
        page.iter_mut()
            .try_for_each(|page| page.add(&found, scope.database))?;
        if found.failed().next().is_some() {
            outcome = Outcome::Invalid;
        }
        Ok(())
    };
    if !args.databases.are_several() {
        check(scope)?;
        return Ok(outcome);
    }
    let choice = args.databases.choose(&source, Side::Source);
    let chosen = handle.block_on(cancel.until(choice))?;
    chosen.tell(&Screen::open(form), form);
    let databases = at_a_time(jobs).min(chosen.names.len());
    for name in &chosen.names {
        let (source, target) = (source.with_dbname(name), target.with_dbname(name));
        let scope = Scope {
            source: Some(&source),
            target: Some(&target),
            database: Some(name),
            databases,
            ..scope
        };
        check(scope).map_err(|error| error.on(format!("database {}", label(name))))?;
    }
    Ok(outcome)
}

impl Scope<'_> {
    /// Checks, and fails if the migration would; warnings are printed. Gives what was found of the
    /// source.
    pub(crate) async fn require(self, form: Form) -> Result<Option<SourceFacts>> {
        // A single migration looks at its schema, and at what stands on the target, before it
        // changes anything; of several, the first ones would be under way by then.
        let decisive = self.strict || !self.selection.has_schema();
        let found = if decisive && self.database.is_some() {
            self.check_all().await?
        } else {
            self.check().await?
        };
        show::troubles(form, &found, self.database);
        let failed: Vec<String> = found.failed().map(|one| one.check().to_string()).collect();
        if failed.is_empty() {
            return Ok(found.facts);
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

    /// Runs every check, those too for which the schema must be dumped. A migration dumps it
    /// anyway, and looks at it then.
    async fn check_all(self) -> Result<Findings> {
        let began = Instant::now();
        let mut found = self.check().await?;
        if let Some(version) = found.target_version.filter(|_| !found.is_in_vain()) {
            let more = complete::check(&self, version).await?;
            found.findings.extend(more);
            if let Some(time) = self.measure {
                found.findings.extend(measure::check(&self, time).await);
            }
            found.sort();
            found.elapsed = began.elapsed();
        }
        Ok(found)
    }

    /// Runs the checks that take but a moment.
    async fn check(self) -> Result<Findings> {
        let began = Instant::now();
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let sessions = |shared: usize, own: usize| Sessions {
            server: number(shared + own * self.databases),
            database: number(shared + own),
        };
        // While one of several is opened, others are copied, and two pg_dump may run.
        let opening = SOURCE_SESSIONS + usize::from(self.databases > 1);
        let intent = Intent {
            connections: sessions(self.jobs + self.index_jobs, TARGET_SESSIONS),
            overwrite: self.overwrite,
            data_only: !self.selection.has_schema(),
        };
        let source = async {
            match self.source {
                Some(source) => {
                    let sessions = sessions(self.jobs, opening);
                    pghaul_extract::validate(source, sessions, self.selection).await
                }
                None => Ok(Default::default()),
            }
        };
        let target = async {
            match self.target {
                Some(target) => pghaul_load::validate(target, intent).await,
                None => Ok(Default::default()),
            }
        };
        let ((mut findings, source), (more, target)) = tokio::try_join!(source, target)?;
        findings.extend(more);
        let known = source.as_ref().or(self.facts);
        if let (Some(source), Some(target)) = (known, &target) {
            findings.extend(compare::both(source, target, &self).await?);
        }
        let mut found = Findings {
            findings,
            target_version: target.map(|target| target.version),
            facts: source,
            elapsed: began.elapsed(),
        };
        found.sort();
        Ok(found)
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
    fn sort(&mut self) {
        self.findings
            .sort_by_key(|finding| (side_order(finding), finding.check()));
    }

    /// Whether there is no use in looking further.
    fn is_in_vain(&self) -> bool {
        // A table that is locked would make pg_dump wait.
        let locked = |finding: &Finding| {
            finding.check() == Check::LockedTables && finding.verdict() == Verdict::Warning
        };
        self.failed().next().is_some() || self.findings.iter().any(locked)
    }

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
