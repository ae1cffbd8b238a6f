//! Transforms on the way: agreed formats, whole rows, fresh passes, and what they may not do.

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use pghaul_relay::Pipeline;
use pghaul_stage::memory::MemorySource;
use pghaul_stage::{
    Batch, Catalog, Error, Format, Generator, Kind, MapRows, Mark, NullTarget, Part, Pass, Payload,
    Result, RowMap, RowShape, Transform,
};

use crate::rig::{Fate, Point, Rig, database, table};

/// A transform of a function on batches.
struct Simple<F>(F);

impl<F> Transform for Simple<F>
where
    F: Fn(Batch) -> Result<Batch> + Clone + Send + Sync + 'static,
{
    fn output(&self, input: Format) -> Option<Format> {
        Some(input)
    }

    fn open(&self, _: &Catalog, _: &Part) -> Result<Box<dyn Pass>> {
        Ok(Box::new(Simple(self.0.clone())))
    }
}

impl<F: Fn(Batch) -> Result<Batch> + Send> Pass for Simple<F> {
    fn apply(&mut self, batch: Batch) -> Result<Batch> {
        (self.0)(batch)
    }
}

struct Unreadable;

impl Transform for Unreadable {
    fn output(&self, _: Format) -> Option<Format> {
        None
    }

    fn open(&self, _: &Catalog, _: &Part) -> Result<Box<dyn Pass>> {
        panic!("it was not agreed on")
    }
}

#[test]
fn batches_pass_the_transforms() {
    let mut rig = Rig::new(MemorySource::new().table(table("t"), ["1\tquiet"]));
    rig.transform = Some(Arc::new(Simple(|batch: Batch| {
        let Payload::Copy(bytes) = &batch.payload else {
            panic!("there is one format");
        };
        let payload = Payload::Copy(Bytes::from(bytes.to_ascii_uppercase()));
        Ok(Batch { payload, ..batch })
    })));
    rig.run().unwrap();
    assert_eq!(rig.target.rows(&table("t")), ["1\tQUIET"]);
}

#[test]
fn without_a_common_format_nothing_begins() {
    let mut rig = Rig::new(database());
    rig.transform = Some(Arc::new(Unreadable));
    assert_eq!(rig.run().unwrap_err().kind(), Kind::Input);
    assert_eq!(rig.source.bytes_read(), 0);
}

/// Batches of five bytes cut every row, the second attempt begins with a fresh pass, and the
/// table that was not chosen arrives as it was.
#[test]
fn rows_are_whole_whatever_the_batches_and_retries() {
    let rows = |count: u32| (0..count).map(|number| format!("{number}\tperson {number}\\tX"));
    let source = MemorySource::new()
        .table(table("people"), rows(300))
        .table(table("plain"), rows(20))
        .rows_per_part(40)
        .tables_per_part(2)
        .batch_bytes(5);
    let mut rig = Rig::new(source);
    rig.at(Point::Write, 17, 3, || Fate::Fail(Kind::Transient));
    rig.transform = Some(Arc::new(MapRows::new(|table| {
        (&*table.id.name == "people").then(|| {
            RowMap::new(|row| {
                let length = row.value(1).map_or(0, |value| value.len());
                row.set(1, Some(format!("{length} bytes\n").as_bytes()))
            })
        })
    })));
    let summary = rig.run().unwrap();
    assert_eq!((summary.rows, summary.retries > 0), (320, true));
    let mut people = rig.target.rows(&table("people"));
    people.sort();
    let mut expected: Vec<String> = (0..300)
        .map(|number| {
            let length = format!("person {number}\tX").len();
            format!("{number}\t{length} bytes\\n")
        })
        .collect();
    expected.sort();
    assert_eq!(people, expected);
    let plain: Vec<String> = rows(20).collect();
    assert_eq!(rig.target.rows(&table("plain")), plain);
}

#[test]
fn a_transform_may_not_touch_slice_or_mark() {
    for wrong in [
        |batch: Batch| {
            Ok(Batch {
                slice: batch.slice + 1,
                ..batch
            })
        },
        |batch: Batch| {
            Ok(Batch {
                mark: Mark(batch.mark.0 + 1),
                ..batch
            })
        },
    ] {
        let mut rig = Rig::new(database());
        rig.transform = Some(Arc::new(Simple(wrong)));
        assert_eq!(rig.run().unwrap_err().kind(), Kind::Protocol);
        assert!(rig.target.marks().is_empty());
    }
}

#[test]
fn an_error_in_a_transform_ends_the_run_and_commits_nothing() {
    let mut rig = Rig::new(database());
    rig.options.jobs = NonZeroUsize::MIN;
    rig.transform = Some(Arc::new(MapRows::new(|_| {
        Some(RowMap::new(|_| {
            Err(Error::new(Kind::Permanent, "a value that has no mask"))
        }))
    })));
    let error = rig.run().unwrap_err();
    assert!(error.to_string().contains("no mask"), "{error}");
    assert!(rig.target.rows(&table("large")).is_empty());
}

/// The pipeline resumes by the target's word: the second run reads nothing.
#[test]
fn a_pipeline_of_a_generator_and_nothing_is_run_twice_and_moves_once() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let target = NullTarget::new();
    let runner = Pipeline::from(Arc::new(
        Generator::new(RowShape::Wide, 5_000).rows_per_part(700),
    ))
    .transform(Arc::new(MapRows::new(|_| {
        Some(RowMap::new(|row| row.set(2, None)))
    })))
    .to(Arc::new(target.clone()), runtime.handle().clone());
    let first = runner.run_as_planned().unwrap();
    assert_eq!((first.parts, first.rows, target.rows()), (8, 5_000, 5_000));
    let second = runner.run_as_planned().unwrap();
    assert_eq!((second.parts, second.skipped), (0, 8));
    assert_eq!(target.rows(), 5_000);
}
