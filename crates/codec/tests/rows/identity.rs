//! Rows come back as they were.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::Array;
use pghaul_codec::Decoder;
use pghaul_stage::Encoding;
use proptest::prelude::*;

use crate::random::{pieces, stream, tables, take};

fn encodings() -> impl Strategy<Value = Encoding> {
    prop_oneof![Just(Encoding::Binary), Just(Encoding::Text)]
}

proptest! {
    /// However the stream is cut and whenever batches are taken: the bytes are the same, none is
    /// lost, and NULL is where it was.
    #[test]
    fn rows_come_back_bit_for_bit(
        (fields, rows) in tables(),
        encoding in encodings(),
        utf8: bool,
        lengths in prop::collection::vec(1..300usize, 1..8),
        every in 1..5usize,
    ) {
        let stream = stream(&rows, encoding);
        let mut decoder = Decoder::new(Arc::clone(&fields), encoding, utf8);
        let (mut raw, mut written, mut seen) = (Vec::new(), Vec::new(), 0);
        let mut schemas = Vec::new();
        let mut cut = pieces(&stream, &lengths);
        cut.push(b"");
        let last = cut.len() - 1;
        for (at, piece) in cut.iter().enumerate() {
            decoder.push(piece)?;
            if at % every != 0 && at != last {
                continue;
            }
            let Some((taken, again)) = take(&mut decoder)? else { continue };
            prop_assert_eq!(taken.batch.num_rows() + decoder.rows(), taken.batch.num_rows());
            for (column, array) in taken.batch.columns().iter().enumerate() {
                for row in 0..taken.batch.num_rows() {
                    prop_assert_eq!(array.is_null(row), rows[seen + row][column].is_none());
                }
            }
            seen += taken.batch.num_rows();
            raw.extend_from_slice(&taken.raw);
            written.extend(again);
            schemas.push(taken.batch.schema());
        }
        decoder.end()?;
        prop_assert_eq!(decoder.bytes(), 0);
        prop_assert_eq!(seen, rows.len());
        prop_assert!(raw == stream, "the raw bytes differ");
        prop_assert!(written == stream, "the written bytes differ");
        // A column changes its form at most once in binary (twice for a number of no scale yet, or
        // in text), and never back.
        for column in 0..fields.len() {
            let mut kinds: Vec<_> = schemas.iter().map(|schema| {
                let field = schema.field(column);
                (field.data_type().to_string(), field.metadata()["pghaul.form"].clone())
            }).collect();
            let different: BTreeSet<_> = kinds.iter().cloned().collect();
            kinds.dedup();
            prop_assert_eq!(kinds.len(), different.len());
            prop_assert!(kinds.len() <= 3);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// More rows in a batch than are read and written together.
    #[test]
    fn many_rows_come_back_bit_for_bit((fields, rows) in tables(), encoding in encodings()) {
        let rows = vec![rows; 100].concat();
        let stream = stream(&rows, encoding);
        let mut decoder = Decoder::new(fields, encoding, true);
        decoder.push(&stream)?;
        let Some((taken, again)) = take(&mut decoder)? else { return Ok(()) };
        prop_assert_eq!(taken.batch.num_rows(), rows.len());
        prop_assert!(again == stream, "the written bytes differ");
    }
}

/// Rows of no columns have nothing but their number.
#[test]
fn rows_without_columns_are_counted() {
    for encoding in [Encoding::Binary, Encoding::Text] {
        let stream = stream(&vec![vec![]; 3], encoding);
        let mut decoder = Decoder::new([].into(), encoding, true);
        decoder.push(&stream).unwrap();
        let (taken, written) = take(&mut decoder).unwrap().unwrap();
        assert_eq!((taken.batch.num_rows(), taken.batch.num_columns()), (3, 0));
        assert_eq!(written, stream);
    }
}
