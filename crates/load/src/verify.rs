//! Compares two databases: rows, sequences, large objects, and the objects around them.
//!
//! ```text
//!   snapshot ─▶ relation ─▶ checksum ─▶ narrow      rows and large objects
//!            ├▶ sequence                            their present values
//!            └▶ object ─▶ inventory ─▶ contrast     names and properties of everything else
//! ```
//!
//! The source is either a server or what was recorded of one ([`digest`]); what is behind an
//! [`Origin`](origin::Origin) is compared in the same way.
//!
//! Both servers reduce every row to a 128-bit hash of its text ([`image`]) and add the hashes
//! up, so that the order of rows does not matter and only sums travel. Because sums add up, each
//! server's tables are cut the way that suits that server, and jobs never wait for one another.
//! Where the sums of a table differ, both sides are asked again by hash of the key, until the
//! differing rows have names ([`narrow`]).

#[cfg(feature = "bench")]
pub mod bench;
mod checksum;
mod contrast;
mod digest;
mod extension_table;
mod image;
mod inventory;
mod large_object;
mod name;
mod narrow;
mod object;
mod origin;
mod parties;
mod relation;
mod report;
mod sequence;
mod snapshot;
mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pghaul_stage::{Event, Observer, Result, Selection, Side, Step};
use pghaul_wire::Conninfo;
use serde::{Deserialize, Serialize};

pub use digest::{Digest, digest, verify_digest};
pub use report::{
    Checksum, Count, Difference, LargeObjectReport, Report, RowDifference, RowState, TableReport,
};

use checksum::{AT_ONCE, Outcome};
use image::Image;
use origin::Origin;
use parties::Wording;
use relation::{Pairs, Tables};
use snapshot::{Session, Snapshot};
use view::View;

/// How two databases are to be compared.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Sessions per server that compute checksums; at least one.
    pub jobs: usize,
    /// How many differing rows to name per table. Zero names none and saves the second look at
    /// tables that differ.
    pub rows: usize,
    /// Whether rows and large objects are compared at all, besides objects and sequences.
    pub checksums: bool,
    /// Which part of the databases is compared, and what of it.
    pub selection: Selection,
    /// Whether owners, grants and default privileges are compared too.
    pub privileges: bool,
    /// A snapshot exported on the source, if the source may have changed since it was migrated.
    /// Sequences are outside every snapshot, so a source in use will differ in them.
    pub source_snapshot: Option<String>,
    /// How rows are hashed; `None` takes the best that both servers have.
    pub algorithm: Option<Algorithm>,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            jobs: 4,
            rows: 10,
            checksums: true,
            selection: Selection::default(),
            privileges: true,
            source_snapshot: None,
            algorithm: None,
        }
    }
}

/// How a row's text becomes 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// `hashtextextended` with two seeds: PostgreSQL 11 and later.
    Hash,
    /// `md5`: every server that was not built or configured to refuse it.
    Md5,
}

/// Compares the database `source` with the database `target`, which should be at rest.
///
/// Each side is read under one snapshot that all its sessions share. Differences are in the
/// report, not errors.
///
/// # Errors
///
/// When a server cannot be reached or its catalog cannot be read. A table whose rows cannot be
/// read is a [`Difference::Unchecked`] instead, so that one table does not hide the others.
pub async fn verify(
    source: &Conninfo,
    target: &Conninfo,
    options: VerifyOptions,
    observer: Arc<dyn Observer>,
) -> Result<Report> {
    let start = begin(&*observer);
    let (mut source, mut target) = tokio::try_join!(
        Snapshot::take(source, Side::Source, options.source_snapshot.as_deref()),
        Snapshot::take(target, Side::Target, None),
    )?;
    Snapshot::align(&mut source, &mut target);
    let selection = &options.selection;
    // Both sides are searched under the source's path, so that one pattern means the same.
    let path = source.search_path().await?;
    let (ours, theirs) = tokio::try_join!(
        source.choose(selection, &path, false),
        target.choose(selection, &path, true),
    )?;
    let (mut session, mut there) = (source.session(), target.session());
    let image = Image::agree([&mut session, &mut there], options.algorithm).await?;
    let from = View::of_source(&ours, selection, options.privileges);
    let comparison = Comparison {
        ours: from.wording.clone(),
        origin: Origin::Live(Box::new(session), from),
        view: View::of_target(&theirs, selection, options.privileges),
        target: there,
        image,
    };
    comparison.run(&options, start, &*observer).await
}

/// A source and a target, about to be compared.
struct Comparison<'a> {
    origin: Origin<'a>,
    /// How the source's roles are put in words.
    ours: Wording,
    target: Session<'a>,
    view: View<'a>,
    image: Image,
}

impl Comparison<'_> {
    /// Compares them. What is selected of them, and what of that, the views say.
    async fn run(
        self,
        options: &VerifyOptions,
        start: Instant,
        observer: &dyn Observer,
    ) -> Result<Report> {
        let Comparison {
            mut origin,
            ours,
            mut target,
            view,
            image,
        } = self;
        let has_schema = options.selection.has_schema();
        let mut report = Report::new(image.algorithm());
        if has_schema {
            let source = origin.inventory().await?;
            contrast::compare(source, &ours, &mut target, &view, &mut report).await?;
        }
        let (a, b) =
            tokio::try_join!(origin.sequences(), sequence::read(&mut target, view.chosen))?;
        sequence::compare(&a, &b, has_schema, &mut report);
        if options.checksums && origin.has_rows() {
            let tables = Tables::live(target.snapshot(), view.chosen);
            let mut pairs = Pairs::new(origin.tables(), tables, has_schema);
            let mut some = pairs.next(AT_ONCE, &mut report).await?;
            if view.chosen.has_large_objects() {
                let found = origin.large_objects(&mut target, &ours, &view, &image, &mut report);
                some.extend(found.await?);
            }
            let ends = origin.ends(target.snapshot());
            let jobs = options.jobs.max(1);
            while !some.is_empty() {
                let outcomes = checksum::run(&ends, &image, &some, jobs, observer).await?;
                for (relation, outcome) in some.iter().zip(&outcomes) {
                    let found = match outcome {
                        Outcome::Sums { sums, wide, .. } if sums[0] != sums[1] => {
                            let limit = options.rows;
                            Some(match &mut origin {
                                Origin::Live(source, _) => {
                                    let sessions = [source, &mut target];
                                    let rows = sums[0].rows.max(sums[1].rows);
                                    narrow::find(sessions, &image, relation, *wide, rows, limit)
                                        .await?
                                }
                                Origin::Recorded(_) => narrow::unnamed(sums, limit),
                            })
                        }
                        _ => None,
                    };
                    report.add(relation, outcome, found);
                }
                some = pairs.next(AT_ONCE, &mut report).await?;
            }
        }
        report.finish(start.elapsed());
        end(observer, start.elapsed());
        Ok(report)
    }
}

/// Says that it begins.
fn begin(observer: &dyn Observer) -> Instant {
    observer.observe(&Event::StepStarted {
        step: Step::Verify,
        subject: "",
        table: None,
    });
    Instant::now()
}

/// Says that it is done.
fn end(observer: &dyn Observer, elapsed: Duration) {
    observer.observe(&Event::StepDone {
        step: Step::Verify,
        subject: "",
        table: None,
        elapsed,
    });
}
