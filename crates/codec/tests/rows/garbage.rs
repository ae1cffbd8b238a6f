//! What is no stream and no batch of ours is refused, and never a panic.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{Date32Builder, Int32Builder, ListBuilder};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float64Array, Int16Array, Int64Array, RecordBatch, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{Field, Schema};
use bytes::BytesMut;
use pghaul_codec::{Decoder, Encoder};
use pghaul_stage::{Encoding, Kind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::random::{stream, tables, take};

proptest! {
    #[test]
    fn garbage_is_no_panic(
        (fields, _) in tables(),
        pieces in vec(vec(prop_oneof![Just(0u8), Just(1), Just(9), Just(10), Just(b'\\'), any::<u8>()], 0..40), 0..10),
        text: bool,
    ) {
        let encoding = if text { Encoding::Text } else { Encoding::Binary };
        let mut decoder = Decoder::new(fields, encoding, true);
        for piece in pieces {
            if let Err(error) = decoder.push(&piece) {
                prop_assert_eq!(error.kind(), Kind::Protocol);
            }
            if let Some((taken, written)) = take(&mut decoder)? {
                prop_assert!(taken.raw == written);
            }
        }
        prop_assert!(decoder.rest().len() < 401);
    }

    /// A byte of a true stream is another one.
    #[test]
    fn damage_is_no_panic((fields, rows) in tables(), text: bool, at: usize, byte: u8) {
        let encoding = if text { Encoding::Text } else { Encoding::Binary };
        let mut stream = stream(&rows, encoding);
        if !stream.is_empty() {
            let at = at % stream.len();
            stream[at] = byte;
        }
        let mut decoder = Decoder::new(fields, encoding, true);
        let pushed = decoder.push(&stream);
        if let Some((taken, written)) = take(&mut decoder)? {
            prop_assert!(taken.raw == written);
        }
        if pushed.is_err() {
            prop_assert!(decoder.push(b"").is_err());
            prop_assert!(decoder.end().is_err());
        }
    }

    /// Batches whose metadata lie about their columns.
    #[test]
    fn lies_are_no_panic(
        columns in vec((arrays(), metadata()), 0..4),
        encoding in select(vec!["binary", "text", "", "other"]),
        other in arrays(),
    ) {
        let fields: Vec<_> = columns.iter().map(|(array, metadata)| {
            Field::new("c", array.data_type().clone(), true).with_metadata(metadata.clone())
        }).collect();
        let metadata = HashMap::from([("pghaul.encoding".to_owned(), encoding.to_owned())]);
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        let arrays = columns.into_iter().map(|(array, _)| array).collect();
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(2));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options).unwrap();
        let encoder = match Encoder::new(&schema) {
            Ok(encoder) => encoder,
            Err(error) => {
                prop_assert_eq!(error.kind(), Kind::Protocol);
                return Ok(());
            }
        };
        let mut out = BytesMut::new();
        if let Err(error) = encoder.encode(&batch, &mut out) {
            prop_assert_eq!(error.kind(), Kind::Protocol);
            prop_assert!(out.is_empty());
        }
        // And a batch that is not of the schema.
        let another = RecordBatch::try_from_iter([("c", other)]).unwrap();
        let same = batch.num_columns() == 1
            && batch.column(0).data_type() == another.column(0).data_type();
        let result = encoder.encode(&another, &mut out);
        prop_assert!(same || result.is_err());
    }
}

/// What Arrow can hold and PostgreSQL not is no value of a row.
#[test]
fn values_that_postgresql_does_not_have_are_refused() {
    let day = 86_400_000_000;
    let infinity = 946_684_800_000_000 + i64::MIN;
    let columns: [(&str, ArrayRef); 7] = [
        ("native", Arc::new(Date32Array::from(vec![i32::MIN]))),
        ("native", Arc::new(Date32Array::from(vec![i32::MAX]))),
        (
            "native",
            Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN])),
        ),
        (
            "native",
            Arc::new(TimestampMicrosecondArray::from(vec![infinity])),
        ),
        ("native", Arc::new(Time64MicrosecondArray::from(vec![day]))),
        ("native", Arc::new(Time64MicrosecondArray::from(vec![-1]))),
        ("escaped", Arc::new(BinaryArray::from(vec![&b"a\tb"[..]]))),
    ];
    for (form, array) in columns {
        let encoding = if form == "escaped" { "text" } else { "binary" };
        let pair = |key: &str, value: &str| HashMap::from([(key.to_owned(), value.to_owned())]);
        let field = Field::new("here", array.data_type().clone(), true);
        let field = field.with_metadata(pair("pghaul.form", form));
        let schema = Schema::new_with_metadata(vec![field], pair("pghaul.encoding", encoding));
        let encoder = Encoder::new(&schema).unwrap();
        let batch = RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap();
        let mut out = BytesMut::new();
        let error = encoder.encode(&batch, &mut out).unwrap_err();
        assert_eq!(error.kind(), Kind::Protocol);
        assert!(error.to_string().contains("here"), "{error}");
        assert!(out.is_empty());
    }
}

/// Two values of some type, at its limits.
fn arrays() -> impl Strategy<Value = ArrayRef> {
    let number = prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(-1), any::<i64>()];
    (number, vec(any::<u8>(), 0..6), 0..14).prop_map(|(number, bytes, kind)| -> ArrayRef {
        match kind {
            0 => Arc::new(BooleanArray::from(vec![Some(true), None])),
            1 => Arc::new(Int16Array::from(vec![Some(number as i16), None])),
            2 => Arc::new(Int64Array::from(vec![Some(number), None])),
            3 => Arc::new(Float64Array::from(vec![number as f64, f64::NAN])),
            4 => Arc::new(StringArray::from(vec![Some("\t\\N\n"), None])),
            5 => Arc::new(BinaryArray::from_opt_vec(vec![Some(&bytes), None])),
            6 => Arc::new(
                FixedSizeBinaryArray::try_from_iter([bytes.clone(), bytes].into_iter())
                    .expect("one length"),
            ),
            7 => Arc::new(Date32Array::from(vec![Some(number as i32), None])),
            8 => Arc::new(TimestampMicrosecondArray::from(vec![Some(number), None])),
            9 => Arc::new(
                TimestampMicrosecondArray::from(vec![Some(number), None]).with_timezone("UTC"),
            ),
            10 => Arc::new(Time64MicrosecondArray::from(vec![Some(number), None])),
            11 => {
                let mut lists = ListBuilder::new(Int32Builder::new());
                lists.append_value([Some(number as i32), None]);
                lists.append_null();
                Arc::new(lists.finish())
            }
            12 => {
                let mut lists = ListBuilder::new(Date32Builder::new());
                lists.append_value([Some(number as i32), None]);
                lists.append_value([]);
                Arc::new(lists.finish())
            }
            _ => Arc::new(
                Decimal128Array::from(vec![Some(i128::from(number) << 64), Some(i128::MIN)])
                    .with_precision_and_scale(38, (number % 39) as i8)
                    .expect("a scale"),
            ),
        }
    })
}

fn metadata() -> impl Strategy<Value = HashMap<String, String>> {
    let form = select(vec![
        "native", "bytes", "escaped", "jsonb", "list", "", "other",
    ]);
    let sent_as = select(vec!["1007", "1182", "3807", "x"]);
    (form, any::<bool>(), sent_as).prop_map(|(form, there, sent_as)| {
        let form = there.then(|| ("pghaul.form".to_owned(), form.to_owned()));
        form.into_iter()
            .chain([("pghaul.sent_as".to_owned(), sent_as.to_owned())])
            .collect()
    })
}
