//! The rules of a target and its writers.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future;
use futures_util::stream::{self, StreamExt};

use super::reading::batches;
use super::{hold, must};
use crate::{
    Batch, Catalog, Format, Kind, Mark, Part, Plan, Result, SequenceValue, Source, TableId, Target,
    Writer,
};

/// What the targets are tested with: a whole small database.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its description.
    pub catalog: Catalog,
    /// Its parts.
    pub plan: Plan,
    /// The format of the batches.
    pub format: Format,
    /// The batches of each part, in the order of the plan.
    pub batches: Vec<Vec<Batch>>,
    /// Its sequences.
    pub sequences: Vec<SequenceValue>,
}

impl Sample {
    /// Reads all of a source, in the format it likes best.
    pub async fn read(source: &dyn Source) -> Self {
        let format = *source
            .formats()
            .first()
            .unwrap_or_else(|| panic!("rule broken: a source offers a format"));
        let plan = must("there is a plan", source.plan().await);
        let mut content = Vec::new();
        for part in &plan.parts {
            content.push(batches(source, part, format).await);
        }
        Self {
            catalog: must("the catalog can be read", source.catalog().await),
            plan,
            format,
            batches: content,
            sequences: must("sequences can be read", source.sequences().await),
        }
    }

    fn parts(&self) -> impl Iterator<Item = (&Part, &[Batch])> {
        let batches = self.batches.iter().map(Vec::as_slice);
        self.plan.parts.iter().zip(batches)
    }

    /// The part of tables that comes in the most batches.
    fn part(&self) -> (&Part, &[Batch]) {
        self.parts()
            .filter(|(part, batches)| !part.slices().is_empty() && rows(batches) > 0)
            .max_by_key(|(_, batches)| batches.len())
            .unwrap_or_else(|| panic!("a sample needs a part with rows"))
    }

    /// All rows of tables.
    fn rows(&self) -> u64 {
        self.parts()
            .filter(|(part, _)| !part.slices().is_empty())
            .map(|(_, batches)| rows(batches))
            .sum()
    }
}

/// Makes targets to be tested. Each rule is tested on a fresh one.
#[async_trait]
pub trait Fixture: Sync {
    /// What they are tested with.
    fn sample(&self) -> &Sample;

    /// A target on which nothing was ever done.
    async fn fresh(&self) -> Arc<dyn Target>;

    /// The target made last as another process sees it: the same database and the same
    /// migration, nothing else in common.
    async fn again(&self) -> Arc<dyn Target>;

    /// How many rows of the sample's tables are committed there. Must look past the target
    /// under test, by a connection of its own.
    async fn rows(&self) -> u64;
}

/// Checks a target and its writers; panics with the rule they break.
pub async fn target(fixture: &dyn Fixture) {
    prepare_twice(fixture).await;
    accepted_is_not_durable(fixture).await;
    drop_rolls_back(fixture).await;
    wrong_count_is_refused(fixture).await;
    stale_writer_is_taken_over(fixture).await;
    stale_process_is_taken_over(fixture).await;
    one_of_two_writers_wins(fixture).await;
    whole_migration(fixture).await;
}

async fn prepare_twice(fixture: &dyn Fixture) {
    let sample = fixture.sample();
    let target = prepared(fixture).await;
    hold(
        "a target accepts the sample's format",
        target.formats().contains(&sample.format),
        format_args!("{:?}", sample.format),
    );
    let rule = "preparing twice is harmless";
    prepare(sample, &*target).await;
    let marks = must(rule, target.durable(&sample.plan.parts).await);
    hold(
        "of a fresh target, nothing is durable",
        marks.len() == sample.plan.parts.len() && marks.iter().all(Option::is_none),
        format_args!("{marks:?}"),
    );

    let (part, batches) = sample.part();
    let mark = must(rule, copy(&*target, sample, part, batches).await);
    prepare(sample, &*target).await;
    hold(
        "preparing again keeps what is durable",
        durable(&*target, part).await == Some(mark) && fixture.rows().await == rows(batches),
        part,
    );
}

async fn accepted_is_not_durable(fixture: &dyn Fixture) {
    let sample = fixture.sample();
    let (part, batches) = sample.part();
    let target = prepared(fixture).await;
    let mut writer = must(
        "a part can be opened",
        target.open(part, sample.format).await,
    );
    for batch in batches {
        let accepted = writer.write(batch.clone()).await;
        must("a batch of the sample is accepted", accepted);
        let mark = durable(&*target, part).await;
        hold("accepted is not durable", mark.is_none(), part);
    }
    let flushed = must("a writer can be flushed", writer.flush().await);
    hold(
        "durable is exactly what flush declared",
        durable(&*target, part).await == flushed,
        format_args!("{part}: {flushed:?}"),
    );
    if flushed.is_none() {
        let rows = fixture.rows().await;
        hold("nobody sees rows that are not durable", rows == 0, part);
    }
    let mark = must("a complete part can be finished", writer.finish().await);
    hold(
        "finish returns the mark of the last batch",
        batches.last().is_some_and(|batch| batch.mark == mark),
        format_args!("{part}: {mark:?}"),
    );
    let rule = "finished is durable";
    hold(rule, durable(&*target, part).await == Some(mark), part);
    hold(rule, fixture.rows().await == rows(batches), part);
    is_fenced(&*target, sample, part).await;

    let other = fixture.again().await;
    prepare(sample, &*other).await;
    hold(
        "another process sees what is durable",
        durable(&*other, part).await == Some(mark),
        part,
    );
    is_fenced(&*other, sample, part).await;
}

async fn drop_rolls_back(fixture: &dyn Fixture) {
    let sample = fixture.sample();
    let (part, batches) = sample.part();
    let target = prepared(fixture).await;
    let rule = "a writer that was dropped leaves nothing";
    for accepted in [0, 1, batches.len()] {
        let mut writer = must(rule, target.open(part, sample.format).await);
        for batch in &batches[..accepted] {
            must(rule, writer.write(batch.clone()).await);
        }
        drop(writer);
        let mark = durable(&*target, part).await;
        hold(
            rule,
            mark.is_none() && fixture.rows().await == 0,
            format_args!("{part}, after {accepted} batches"),
        );
    }
    let again = copy(&*target, sample, part, batches).await;
    must("a part whose writer was dropped can be written", again);
    hold(
        "the rows are there once",
        fixture.rows().await == rows(batches),
        part,
    );
}

async fn wrong_count_is_refused(fixture: &dyn Fixture) {
    let sample = fixture.sample();
    let (part, batches) = sample.part();
    let target = prepared(fixture).await;
    let rule = "a part whose row count does not match is refused";
    let mut wrong = batches.to_vec();
    if let Some(last) = wrong.last_mut() {
        last.rows += 1;
    }
    let refused = copy(&*target, sample, part, &wrong).await;
    hold(rule, refused.is_err(), part);
    let mark = durable(&*target, part).await;
    hold(rule, mark.is_none() && fixture.rows().await == 0, part);
}

async fn stale_writer_is_taken_over(fixture: &dyn Fixture) {
    let sample = fixture.sample();
    let (part, batches) = sample.part();
    let target = prepared(fixture).await;
    let rule = "a part that a stale writer holds is taken over";
    let mut stale = must(rule, target.open(part, sample.format).await);
    if let Some(first) = batches.first() {
        must(rule, stale.write(first.clone()).await);
    }
    must(rule, copy(&*target, sample, part, batches).await);
    let late = write(stale, batches.get(1..).unwrap_or_default()).await;
    hold("a stale writer cannot finish", late.is_err(), part);
    hold(
        "the rows are there once",
        fixture.rows().await == rows(batches),
        part,
    );
}

async fn stale_process_is_taken_over(fixture: &dyn Fixture) {
    let sample = fixture.sample();
    let (part, batches) = sample.part();
    let target = prepared(fixture).await;
    let rule = "a migration that a stale process holds is taken over";
    let mut stale = must(rule, target.open(part, sample.format).await);
    if let Some(first) = batches.first() {
        must(rule, stale.write(first.clone()).await);
    }
    let other = fixture.again().await;
    prepare(sample, &*other).await;
    let rest = batches.get(1..).unwrap_or_default();
    let (late, taken) = future::join(write(stale, rest), async {
        copy(&*other, sample, part, batches).await
    })
    .await;
    // The stale one may have been the last to be let through.
    let wins = u32::from(late.is_ok()) + u32::from(taken.is_ok());
    hold(rule, wins == 1, format_args!("{part}: {wins} finished"));
    hold(
        "the rows are there once",
        fixture.rows().await == rows(batches),
        part,
    );
    is_fenced(&*other, sample, part).await;
}

async fn one_of_two_writers_wins(fixture: &dyn Fixture) {
    let sample = fixture.sample();
    let (part, batches) = sample.part();
    let target = prepared(fixture).await;
    let (left, right) = future::join(
        copy(&*target, sample, part, batches),
        copy(&*target, sample, part, batches),
    )
    .await;
    let wins = u32::from(left.is_ok()) + u32::from(right.is_ok());
    hold(
        "of two writers of a part, exactly one finishes",
        wins == 1,
        format_args!("{part}: {wins} finished"),
    );
    hold(
        "the rows are there once",
        fixture.rows().await == rows(batches),
        part,
    );
    is_fenced(&*target, sample, part).await;
}

async fn whole_migration(fixture: &dyn Fixture) {
    let sample = fixture.sample();
    let target = prepared(fixture).await;
    stream::iter(sample.parts())
        .for_each_concurrent(2, |(part, batches)| {
            let target = Arc::clone(&target);
            async move {
                let mark = copy(&*target, sample, part, batches).await;
                let mark = must("all parts can be written", mark);
                let last = batches.last().map(|batch| batch.mark).unwrap_or_default();
                hold(
                    "finish returns the mark of the last batch",
                    mark == last,
                    part,
                );
            }
        })
        .await;
    let parts = &sample.plan.parts;
    let marks = must("durable can be asked", target.durable(parts).await);
    hold(
        "every part is durable",
        marks.len() == parts.len() && marks.iter().all(Option::is_some),
        format_args!("{marks:?}"),
    );

    let slices = parts.iter().flat_map(Part::slices);
    let tables: BTreeSet<TableId> = slices.map(|slice| slice.table.clone()).collect();
    let tables = Vec::from_iter(tables);
    let rule = "tables can be declared loaded, and again";
    must(rule, target.tables_loaded(&tables).await);
    must(rule, target.tables_loaded(&tables).await);
    let rule = "a target can be completed, and again";
    must(rule, target.complete(&sample.sequences).await);
    must(rule, target.complete(&sample.sequences).await);
    hold(
        "a completed target has all rows, once",
        fixture.rows().await == sample.rows(),
        format_args!("{} of {}", fixture.rows().await, sample.rows()),
    );

    let other = fixture.again().await;
    prepare(sample, &*other).await;
    let rule = "another process can complete a completed target";
    must(rule, other.tables_loaded(&tables).await);
    must(rule, other.complete(&sample.sequences).await);
    hold(rule, fixture.rows().await == sample.rows(), "rows changed");
}

async fn prepared(fixture: &dyn Fixture) -> Arc<dyn Target> {
    let target = fixture.fresh().await;
    prepare(fixture.sample(), &*target).await;
    target
}

async fn prepare(sample: &Sample, target: &dyn Target) {
    let prepared = target.prepare(&sample.catalog, &sample.plan).await;
    must("a target can be prepared", prepared);
}

async fn durable(target: &dyn Target, part: &Part) -> Option<Mark> {
    let marks = target.durable(std::slice::from_ref(part)).await;
    let marks = must("durable can be asked at any time", marks);
    hold("durable answers for each part", marks.len() == 1, part);
    marks.first().copied().flatten()
}

async fn is_fenced(target: &dyn Target, sample: &Sample, part: &Part) {
    let kind = match target.open(part, sample.format).await {
        Ok(_) => None,
        Err(error) => Some(error.kind()),
    };
    hold(
        "a part that is durable is refused as fenced",
        kind == Some(Kind::Fenced),
        format_args!("{part}: {kind:?}"),
    );
}

async fn copy(
    target: &dyn Target,
    sample: &Sample,
    part: &Part,
    batches: &[Batch],
) -> Result<Mark> {
    let writer = target.open(part, sample.format).await?;
    write(writer, batches).await
}

async fn write(mut writer: Box<dyn Writer>, batches: &[Batch]) -> Result<Mark> {
    for batch in batches {
        writer.write(batch.clone()).await?;
    }
    writer.finish().await
}

fn rows(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.rows).sum()
}
