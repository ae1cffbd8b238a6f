//! Cuts tables into ranges and puts ranges together into parts. Pure.

use std::cmp::Reverse;

use pghaul_stage::{Encoding, KeyRange, Part, PartId, Range, Shape, Slice, TableId, Work};

use crate::Config;

/// A table with the ranges it is to be read in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The table.
    pub(crate) table: TableId,
    /// How COPY encodes it.
    pub(crate) encoding: Encoding,
    /// Its ranges, about equal in size.
    pub(crate) ranges: Vec<Range>,
    /// Estimated rows of the table.
    pub(crate) rows: u64,
    /// Bytes of the table.
    pub(crate) bytes: u64,
    /// Whether a crash of its server empties it.
    pub(crate) unlogged: bool,
}

/// How many parts something of `bytes` is worth if a part should be of about `threshold`.
pub(crate) fn parts_for(bytes: u64, threshold: Option<u64>, most: u32) -> u32 {
    let wanted = threshold.map_or(1, |threshold| bytes.div_ceil(threshold.max(1)));
    u32::try_from(wanted)
        .unwrap_or(u32::MAX)
        .clamp(1, most.max(1))
}

/// Cuts `blocks` heap blocks into at most `parts` ranges of about equal length.
///
/// The last one is not bounded: a table grows while it is read, and its new blocks may hold row
/// versions that the snapshot sees.
pub(crate) fn by_blocks(blocks: u32, parts: u32) -> Vec<Range> {
    let parts = u64::from(parts.min(blocks).max(1));
    let bound = |index: u64| u32::try_from(u64::from(blocks) * index / parts).unwrap_or(u32::MAX);
    let bounds: Vec<u32> = (1..parts).map(bound).collect();
    between(&bounds)
        .map(|(from, to)| match (from, to) {
            (None, None) => Range::All,
            (from, to) => Range::Blocks { from, to },
        })
        .collect()
}

/// Cuts an integer key at `bounds`, in any order and with duplicates, as they come from a
/// sample. Rows without a key belong to the first range.
pub(crate) fn by_keys(column: &str, mut bounds: Vec<i64>) -> Vec<Range> {
    bounds.sort_unstable();
    bounds.dedup();
    between(&bounds)
        .map(|(from, to)| match (from, to) {
            (None, None) => Range::All,
            (from, to) => Range::Keys(Box::new(KeyRange {
                column: column.to_owned(),
                from,
                to,
                nulls: from.is_none(),
            })),
        })
        .collect()
}

/// Cuts large objects at these identifiers.
pub(crate) fn by_objects(mut bounds: Vec<u32>) -> Vec<Work> {
    bounds.sort_unstable();
    bounds.dedup();
    between(&bounds)
        .map(|(from, to)| Work::LargeObjects { from, to })
        .collect()
}

/// The half-open ranges that sorted bounds make of everything.
fn between<T: Copy>(bounds: &[T]) -> impl Iterator<Item = (Option<T>, Option<T>)> {
    let from = std::iter::once(None).chain(bounds.iter().copied().map(Some));
    let to = bounds
        .iter()
        .copied()
        .map(Some)
        .chain(std::iter::once(None));
    from.zip(to)
}

/// Puts the ranges of tables, and the large objects (with their count and bytes), together into
/// parts: tables that cannot be cut although they are much larger than a part come first,
/// because nothing shortens them; then by the size of the *table*, so that the largest ones,
/// whose indexes take longest, are complete first; small tables, several to a part, last.
pub(crate) fn parts(
    cuts: Vec<Cut>,
    objects: (Vec<Work>, u64, u64),
    threshold: Option<u64>,
    config: &Config,
) -> Vec<Part> {
    let oversize = threshold.unwrap_or(u64::MAX).saturating_mul(2);
    let (small, large): (Vec<Cut>, Vec<Cut>) = cuts
        .into_iter()
        .partition(|cut| cut.ranges.len() == 1 && cut.bytes < config.small_table);

    // Work, rows, bytes, and the size that ranks it.
    let mut works: Vec<(Work, u64, u64, u64)> = Vec::new();
    for cut in large {
        let share = u64::try_from(cut.ranges.len()).unwrap_or(1).max(1);
        for range in cut.ranges {
            let slice = Slice {
                table: cut.table.clone(),
                range,
                encoding: cut.encoding,
                shape: Shape::Whole,
            };
            works.push((
                Work::Rows([slice].into()),
                cut.rows.div_ceil(share),
                cut.bytes.div_ceil(share),
                cut.bytes,
            ));
        }
    }
    // A crash of the target undoes unlogged tables; others in the same part would go with them.
    let (unlogged, logged): (Vec<Cut>, Vec<Cut>) = small.into_iter().partition(|cut| cut.unlogged);
    works.extend(bundles(logged, config));
    works.extend(bundles(unlogged, config));
    let (objects, count, bytes) = objects;
    let share = u64::try_from(objects.len()).unwrap_or(1).max(1);
    works.extend(
        objects
            .into_iter()
            .map(|work| (work, count.div_ceil(share), bytes.div_ceil(share), bytes)),
    );
    works.sort_by_key(|(_, _, bytes, rank)| {
        (
            Reverse(if *bytes > oversize { *bytes } else { 0 }),
            Reverse(*rank),
        )
    });
    (0..)
        .zip(works)
        .map(|(id, (work, rows, bytes, _))| Part {
            id: PartId(id),
            work,
            rows,
            bytes,
        })
        .collect()
}

/// Small tables, several to a part, largest first so that full bundles come early.
fn bundles(mut small: Vec<Cut>, config: &Config) -> Vec<(Work, u64, u64, u64)> {
    small.sort_by_key(|cut| Reverse(cut.bytes));
    let mut bundles: Vec<(Vec<Slice>, u64, u64)> = Vec::new();
    let most = usize::try_from(config.bundle_tables).unwrap_or(usize::MAX);
    for cut in small {
        let fits = |(slices, _, bytes): &&mut (Vec<Slice>, u64, u64)| {
            slices.len() < most && bytes.saturating_add(cut.bytes) <= config.bundle_bytes
        };
        let slices = cut.ranges.into_iter().map(|range| Slice {
            table: cut.table.clone(),
            range,
            encoding: cut.encoding,
            shape: Shape::Whole,
        });
        match bundles.last_mut().filter(fits) {
            Some((bundle, rows, bytes)) => {
                bundle.extend(slices);
                *rows += cut.rows;
                *bytes += cut.bytes;
            }
            None => bundles.push((slices.collect(), cut.rows, cut.bytes)),
        }
    }
    bundles
        .into_iter()
        .map(|(slices, rows, bytes)| (Work::Rows(slices.into()), rows, bytes, bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds_block(range: &Range, block: u32) -> bool {
        match range {
            Range::All => true,
            Range::Blocks { from, to } => {
                from.is_none_or(|from| from <= block) && to.is_none_or(|to| block < to)
            }
            _ => false,
        }
    }

    fn holds_key(range: &Range, key: Option<i64>) -> bool {
        match (range, key) {
            (Range::All, _) => true,
            (Range::Keys(range), Some(key)) => {
                range.from.is_none_or(|from| from <= key) && range.to.is_none_or(|to| key < to)
            }
            (Range::Keys(range), None) => range.nulls,
            _ => false,
        }
    }

    fn holders<'a>(ranges: &'a [Range], holds: impl Fn(&Range) -> bool + 'a) -> usize {
        ranges.iter().filter(|range| holds(range)).count()
    }

    fn table(name: &str, bytes: u64) -> Cut {
        Cut {
            table: TableId::new("public", name),
            encoding: Encoding::Binary,
            ranges: vec![Range::All],
            rows: bytes / 100,
            bytes,
            unlogged: false,
        }
    }

    fn any_key() -> impl Strategy<Value = i64> {
        prop_oneof![
            any::<i64>(),
            -5..5i64,
            Just(i64::MIN),
            Just(i64::MIN + 1),
            Just(i64::MAX),
            Just(i64::MAX - 1),
        ]
    }

    proptest! {
        #[test]
        fn every_block_is_in_exactly_one_range(
            blocks in prop_oneof![0..2000u32, any::<u32>()],
            parts in 0..300u32,
            block in any::<u32>(),
        ) {
            let ranges = by_blocks(blocks, parts);
            prop_assert_eq!(holders(&ranges, |range| holds_block(range, block)), 1);
            for block in (0..blocks.min(2000)).chain([blocks, u32::MAX]) {
                prop_assert_eq!(holders(&ranges, |range| holds_block(range, block)), 1, "{}", block);
            }
            prop_assert!(ranges.len() <= parts.max(1) as usize);
        }

        #[test]
        fn ranges_of_blocks_are_of_equal_length(blocks in 1..1_000_000u32, parts in 1..300u32) {
            let ranges = by_blocks(blocks, parts);
            let lengths: Vec<u32> = ranges
                .iter()
                .map(|range| match range {
                    Range::Blocks { from, to } => to.unwrap_or(blocks) - from.unwrap_or(0),
                    _ => blocks,
                })
                .collect();
            let (least, most) = (lengths.iter().min(), lengths.iter().max());
            prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{:?}", lengths);
        }

        #[test]
        fn every_key_and_null_is_in_exactly_one_range(
            bounds in prop::collection::vec(any_key(), 0..20),
            keys in prop::collection::vec(any_key(), 1..50),
        ) {
            let ranges = by_keys("id", bounds.clone());
            let edges = [i64::MIN, i64::MAX];
            let near = bounds.iter().flat_map(|b| [b.saturating_sub(1), *b, b.saturating_add(1)]);
            for key in keys.iter().copied().chain(edges).chain(near) {
                prop_assert_eq!(holders(&ranges, |range| holds_key(range, Some(key))), 1, "{}", key);
            }
            prop_assert_eq!(holders(&ranges, |range| holds_key(range, None)), 1);
        }

        #[test]
        fn every_range_is_in_exactly_one_part(
            sizes in prop::collection::vec(0..20_000_000u64, 0..200),
            threshold in prop::option::of(1..10_000_000u64),
            bundle_tables in 1..20u32,
        ) {
            let config = Config { bundle_tables, ..Config::default() };
            let cuts: Vec<Cut> = sizes
                .iter()
                .enumerate()
                .map(|(index, bytes)| {
                    let mut cut = table(&format!("t{index}"), *bytes);
                    let blocks = u32::try_from(bytes / 8192).unwrap();
                    cut.ranges = by_blocks(blocks, parts_for(*bytes, threshold, 50));
                    cut
                })
                .collect();
            let objects = (by_objects(vec![100, 200]), 300, 5_000_000);
            let plan = parts(cuts.clone(), objects, threshold, &config);
            let mut planned: Vec<&Slice> = plan.iter().flat_map(Part::slices).collect();
            let count = planned.len();
            planned.sort_by_key(|slice| format!("{slice:?}"));
            planned.dedup();
            prop_assert_eq!(planned.len(), count);
            prop_assert_eq!(count, cuts.iter().map(|cut| cut.ranges.len()).sum::<usize>());
            for part in &plan {
                prop_assert!(part.slices().len() <= bundle_tables as usize);
                if part.slices().len() > 1 {
                    prop_assert!(part.bytes <= config.bundle_bytes);
                    prop_assert!(part.slices().iter().all(|slice| slice.range == Range::All));
                }
            }
            let ids: Vec<u32> = plan.iter().map(|part| part.id.0).collect();
            prop_assert_eq!(ids, (0..plan.len() as u32).collect::<Vec<_>>());
            let objects = plan.iter().filter(|part| part.slices().is_empty()).count();
            prop_assert_eq!(objects, 3);
        }
    }

    #[test]
    fn a_table_is_cut_when_it_is_larger_than_a_part() {
        assert_eq!(parts_for(0, Some(100), 10), 1);
        assert_eq!(parts_for(100, Some(100), 10), 1);
        assert_eq!(parts_for(101, Some(100), 10), 2);
        assert_eq!(parts_for(u64::MAX, Some(1), 10), 10);
        assert_eq!(parts_for(u64::MAX, None, 10), 1);
    }

    #[test]
    fn large_tables_come_first_and_what_cannot_be_cut_before_all() {
        let mib = 1024 * 1024;
        let mut cut = table("cut", 100 * mib);
        cut.ranges = by_blocks(1000, 4);
        let cuts = vec![
            table("tiny", 10),
            table("middle", 20 * mib),
            cut,
            table("solid", 60 * mib),
        ];
        let plan = parts(cuts, (Vec::new(), 0, 0), Some(25 * mib), &Config::default());
        let names: Vec<String> = plan.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "public.solid",
                "public.cut blocks ..250",
                "public.cut blocks 250..500",
                "public.cut blocks 500..750",
                "public.cut blocks 750..",
                "public.middle",
                "public.tiny",
            ]
        );
        assert_eq!(
            plan.iter().map(|part| part.bytes).sum::<u64>(),
            180 * mib + 10
        );
    }

    #[test]
    fn two_thousand_small_tables_are_a_few_dozen_parts() {
        let cuts = (0..2000)
            .map(|index| table(&format!("t{index}"), 40_000))
            .collect();
        let plan = parts(cuts, (Vec::new(), 0, 0), None, &Config::default());
        assert_eq!(plan.len(), 32);
    }
}
