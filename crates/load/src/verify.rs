//! Compares two databases: rows, sequences, large objects, and the objects around them.
//!
//! ```text
//!   snapshot ─▶ relation ─▶ checksum ─▶ narrow      rows and large objects
//!            ├▶ sequence                            their present values
//!            └▶ object ─▶ inventory                 names and properties of everything else
//! ```
//!
//! Both servers reduce every row to a 128-bit hash of its text ([`image`]) and add the hashes
//! up, so that the order of rows does not matter and only sums travel. Because sums add up, each
//! server's tables are cut the way that suits that server, and jobs never wait for one another.
//! Where the sums of a table differ, both sides are asked again by hash of the key, until the
//! differing rows have names ([`narrow`]).

#[cfg(feature = "bench")]
pub mod bench;
mod checksum;
mod extension_table;
mod image;
mod inventory;
mod large_object;
mod name;
mod narrow;
mod object;
mod relation;
mod report;
mod sequence;
mod snapshot;
mod view;

use std::sync::Arc;
use std::time::Instant;

use pghaul_stage::{Event, Observer, Result, Selection, Side, Step};
use pghaul_wire::{Chosen, Conninfo};
use serde::Serialize;

pub use report::{
    Count, Difference, LargeObjectReport, Report, RowDifference, RowState, TableReport,
};

use checksum::Outcome;
use image::Image;
use large_object::Rights;
use relation::Relation;
use snapshot::Snapshot;
use view::View;

/// How two databases are to be compared.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Sessions per server that compute checksums; at least one.
    pub jobs: usize,
    /// How many differing rows to name per table. Zero names none and saves the second look at
    /// tables that differ.
    pub rows: usize,
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
            selection: Selection::default(),
            privileges: true,
            source_snapshot: None,
            algorithm: None,
        }
    }
}

/// How a row's text becomes 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
    let start = Instant::now();
    observer.observe(&Event::StepStarted {
        step: Step::Verify,
        subject: "",
        table: None,
    });
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
    let chosen: [&Chosen; 2] = [&ours, &theirs];
    let mut sessions = [source.session(), target.session()];
    let image = Image::agree(&mut sessions, options.algorithm).await?;

    let views = [
        View::of_source(&ours, selection, options.privileges),
        View::of_target(&theirs, selection, options.privileges),
    ];
    let mut report = Report::new(image.algorithm());
    let mut relations = {
        if selection.has_schema() {
            inventory::compare(&mut sessions, &views, &mut report).await?;
        }
        let [ours, theirs] = &mut sessions;
        let [here, there] = chosen;
        let (a, b) = tokio::try_join!(sequence::read(ours, here), sequence::read(theirs, there))?;
        sequence::compare(&a, &b, selection.has_schema(), &mut report);
        let (a, b) = tokio::try_join!(relation::read(ours, here), relation::read(theirs, there))?;
        relation::pair(a, b, selection.has_schema(), &mut report)
    };
    if chosen[0].has_large_objects() {
        let rights = views.each_ref().map(Rights::of);
        relations.push(Relation::large_objects(&mut sessions, rights).await?);
    }
    let ends = [&source, &target];
    let outcomes =
        checksum::run(&ends, &image, &relations, options.jobs.max(1), &*observer).await?;
    for (relation, outcome) in relations.iter().zip(&outcomes) {
        let Outcome::Sums { sums, wide, .. } = outcome else {
            report.add(relation, outcome, None);
            continue;
        };
        let found = if sums[0] == sums[1] {
            None
        } else {
            let rows = sums[0].rows.max(sums[1].rows);
            Some(narrow::find(&mut sessions, &image, relation, *wide, rows, options.rows).await?)
        };
        report.add(relation, outcome, found);
    }
    report.finish(start.elapsed());
    observer.observe(&Event::StepDone {
        step: Step::Verify,
        subject: "",
        table: None,
        elapsed: start.elapsed(),
    });
    Ok(report)
}
