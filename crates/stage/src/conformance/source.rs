//! The rules of a source.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::reading::{Reading, read};
use super::{hold, must};
use crate::{Catalog, Format, Part, Plan, Source, Work};

/// Streams that are read at the same time.
const CONCURRENT: usize = 4;

/// Checks a source; panics with the rule it breaks.
///
/// Every part is read several times and held in memory, so let the database be small. Let it
/// have a table of several parts, parts of several tables, an empty table, and sequences.
pub async fn source(source: &dyn Source) {
    let format = *source
        .formats()
        .first()
        .unwrap_or_else(|| panic!("rule broken: a source offers a format"));
    let catalog = must("the catalog can be read", source.catalog().await);
    let plan = must("there is a plan", source.plan().await);

    check_plan(source, &catalog, &plan).await;
    let first = read_one_by_one(source, &plan, format).await;
    read_at_the_same_time(source, &plan, format, &first).await;
    drop_midway(source, &plan, format, &first).await;
    check_sequences(source, &catalog).await;
    for (part, reading) in plan.parts.iter().zip(&first) {
        let confirmed = source.confirm(part, reading.mark).await;
        must("a part that was read can be confirmed", confirmed);
    }
}

async fn check_plan(source: &dyn Source, catalog: &Catalog, plan: &Plan) {
    let again = must("there is a plan", source.plan().await);
    hold(
        "a source has one plan",
        again == *plan,
        "the second one differs",
    );

    let identifiers: BTreeSet<_> = plan.parts.iter().map(|part| part.id).collect();
    hold(
        "identifiers of parts are unique",
        identifiers.len() == plan.parts.len(),
        format_args!("{} for {} parts", identifiers.len(), plan.parts.len()),
    );

    let known: BTreeSet<_> = catalog.tables.iter().map(|table| &table.id).collect();
    let slices = || plan.parts.iter().flat_map(Part::slices);
    let planned: BTreeSet<_> = slices().map(|slice| &slice.table).collect();
    for table in planned.symmetric_difference(&known) {
        hold("catalog and plan name the same tables", false, table);
    }
    let mut ranges = BTreeSet::new();
    for slice in slices() {
        let range = format!("{}{}", slice.table, slice.range);
        hold(
            "each range of a table is in one part",
            ranges.insert(range),
            &slice.table,
        );
    }
    for part in &plan.parts {
        let empty = matches!(&part.work, Work::Rows(slices) if slices.is_empty());
        hold("a part moves something", !empty, part.id);
    }
}

async fn read_one_by_one(source: &dyn Source, plan: &Plan, format: Format) -> Vec<Reading> {
    let mut readings = Vec::new();
    for part in &plan.parts {
        let reading = read(source, part, format).await;
        let same = read(source, part, format).await == reading;
        hold("a second reading gives the same bytes", same, part);
        readings.push(reading);
    }
    readings
}

async fn read_at_the_same_time(
    source: &dyn Source,
    plan: &Plan,
    format: Format,
    expected: &[Reading],
) {
    // Every part twice, so that some part is also read by two at once.
    let twice = plan.parts.iter().zip(expected).flat_map(|part| [part; 2]);
    stream::iter(twice)
        .for_each_concurrent(CONCURRENT, |(part, expected)| async move {
            let same = read(source, part, format).await == *expected;
            hold("readings at the same time give the same bytes", same, part);
        })
        .await;
}

async fn drop_midway(source: &dyn Source, plan: &Plan, format: Format, expected: &[Reading]) {
    let largest = plan.parts.iter().zip(expected);
    let Some((part, expected)) = largest.max_by_key(|(_, reading)| reading.mark) else {
        return;
    };
    let rule = "a stream that was dropped leaves the source usable";
    for batches in 0..2 * CONCURRENT {
        let mut stream = must(rule, source.read(part, format).await);
        for _ in 0..batches.min(2) {
            must(rule, stream.try_next().await);
        }
        drop(stream);
    }
    let same = read(source, part, format).await == *expected;
    hold(rule, same, part);
}

async fn check_sequences(source: &dyn Source, catalog: &Catalog) {
    let values = must("sequences can be read", source.sequences().await);
    let known: BTreeSet<_> = catalog.sequences.iter().map(|one| &one.id).collect();
    let given: BTreeSet<_> = values.iter().map(|one| &one.id).collect();
    hold(
        "a sequence has one value",
        given.len() == values.len(),
        format_args!("{} values for {}", values.len(), given.len()),
    );
    for sequence in given.symmetric_difference(&known) {
        hold("every sequence of the catalog has a value", false, sequence);
    }
}
