//! How the values of each column are laid out in a typed file.
//!
//! A dictionary is right for values that repeat. For others it costs a look-up of each value, and
//! then stores the value as well. So whole numbers and points in time become differences to the value
//! before, which for those that grow step by step is next to nothing, and everything else is plain.
//! Both are read by whatever reads Parquet.

use std::collections::{HashMap, HashSet};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Schema};
use parquet::basic::Encoding;
use parquet::file::properties::WriterPropertiesBuilder;
use parquet::schema::types::ColumnPath;

/// Values that are looked at. A dictionary that the writer would keep is of at most 1 MiB, so of
/// hardly more values than this.
const SAMPLE: usize = 16 << 10;

/// Chooses for a file whose columns begin with these values.
pub(crate) fn choose<'a>(
    mut properties: WriterPropertiesBuilder,
    schema: &Schema,
    columns: impl Iterator<Item = &'a ArrayRef>,
) -> WriterPropertiesBuilder {
    let mut times = HashMap::new();
    for field in schema.fields() {
        *times.entry(field.name()).or_insert(0_usize) += 1;
    }
    for (field, column) in schema.fields().iter().zip(columns) {
        // The writer tells columns apart by name only, and names need not be unique.
        if times.get(field.name()) != Some(&1) {
            continue;
        }
        if let Some(encoding) = without_dictionary(column.data_type())
            && !repeats(column)
        {
            let path = ColumnPath::new(vec![field.name().clone()]);
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, encoding);
        }
    }
    properties
}

/// The encoding for values that do not repeat; `None` where a dictionary is left to the writer.
fn without_dictionary(data_type: &DataType) -> Option<Encoding> {
    match data_type {
        DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt32
        | DataType::Date32
        | DataType::Time64(_)
        | DataType::Timestamp(_, _) => Some(Encoding::DELTA_BINARY_PACKED),
        // Up to this precision Parquet has integers for decimals.
        DataType::Decimal128(precision, _) if *precision <= 18 => {
            Some(Encoding::DELTA_BINARY_PACKED)
        }
        DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(_, _)
        | DataType::FixedSizeBinary(_)
        | DataType::Utf8
        | DataType::Binary => Some(Encoding::PLAIN),
        _ => None,
    }
}

/// Whether values come twice or more on average, of a sample from all over the column.
fn repeats(column: &ArrayRef) -> bool {
    match column.data_type() {
        DataType::Utf8 => {
            let values = column.as_string::<i32>().iter().flatten();
            repeat(column, values.map(str::as_bytes))
        }
        DataType::Binary => repeat(column, column.as_binary::<i32>().iter().flatten()),
        DataType::FixedSizeBinary(_) => {
            repeat(column, column.as_fixed_size_binary().iter().flatten())
        }
        other => {
            // Where a value is missing there is some other, often zero, which does no harm.
            let data = column.to_data();
            let width = other.primitive_width().unwrap_or(1);
            let values = data.buffers().first().map(|values| values.as_slice());
            repeat(column, values.unwrap_or_default().chunks_exact(width))
        }
    }
}

fn repeat<'a>(column: &ArrayRef, values: impl Iterator<Item = &'a [u8]>) -> bool {
    let there = column.len() - column.null_count();
    let most = there.min(SAMPLE) / 2 + 1;
    let mut seen = HashSet::new();
    for value in values.step_by(there.div_ceil(SAMPLE).max(1)) {
        seen.insert(value);
        if seen.len() > most {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int16Array,
        Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    };
    use arrow_schema::{Field, Schema};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::basic::Encoding;
    use parquet::file::properties::WriterProperties;

    use super::choose;

    const DICTIONARY: Encoding = Encoding::RLE_DICTIONARY;
    const ROWS: i64 = 1000;

    fn decimals(precision: u8) -> ArrayRef {
        let values = Decimal128Array::from_iter_values((0..ROWS).map(|n| i128::from(n * 7)));
        Arc::new(values.with_precision_and_scale(precision, 2).unwrap())
    }

    fn texts(different: i64) -> ArrayRef {
        Arc::new(StringArray::from_iter(
            (0..ROWS).map(|n| (n % 3 > 0).then(|| format!("text {}", n % different))),
        ))
    }

    #[test]
    fn dictionaries_are_for_values_that_repeat_and_every_layout_comes_back() {
        let numbers = |different: i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter(
                (0..ROWS).map(|n| (n % 5 > 0).then_some(n % different * 1_000_003 - 9)),
            ))
        };
        let numeric = Encoding::DELTA_BINARY_PACKED;
        let columns: Vec<(&str, ArrayRef, Encoding)> = vec![
            ("different", numbers(ROWS), numeric),
            ("the same", numbers(10), DICTIONARY),
            ("nothing", Arc::new(Int64Array::new_null(1000)), DICTIONARY),
            (
                "small",
                Arc::new(Int16Array::from_iter_values((0..1000).rev())),
                numeric,
            ),
            (
                "at",
                Arc::new(TimestampMicrosecondArray::from_iter_values(
                    (0..ROWS).map(|n| n * n),
                )),
                numeric,
            ),
            (
                "f",
                Arc::new(Float64Array::from_iter_values(
                    (0..1000_u32).map(|n| f64::from(n).sqrt()),
                )),
                Encoding::PLAIN,
            ),
            ("price", decimals(18), numeric),
            ("large price", decimals(19), Encoding::PLAIN),
            ("text", texts(ROWS), Encoding::PLAIN),
            ("few texts", texts(9), DICTIONARY),
            (
                "bytes",
                Arc::new(BinaryArray::from_iter_values(
                    (0..ROWS).map(i64::to_be_bytes),
                )),
                Encoding::PLAIN,
            ),
            (
                "uuid",
                Arc::new(
                    FixedSizeBinaryArray::try_from_iter(
                        (0..1000_u128).map(|n| (n << 64).to_be_bytes()),
                    )
                    .unwrap(),
                ),
                Encoding::PLAIN,
            ),
            ("twice", numbers(ROWS), DICTIONARY),
            ("twice", texts(ROWS), DICTIONARY),
        ];
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, values, _)| Field::new(*name, values.data_type().clone(), true))
            .collect();
        let arrays = columns.iter().map(|(_, values, _)| Arc::clone(values));
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays.collect()).unwrap();
        let properties = choose(
            WriterProperties::builder(),
            batch.schema_ref(),
            batch.columns().iter(),
        )
        .build();
        let mut writer =
            ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let file = Bytes::from(writer.into_inner().unwrap());

        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let metadata = Arc::clone(builder.metadata());
        for (stored, (name, _, expected)) in metadata.row_group(0).columns().iter().zip(&columns) {
            let encodings: Vec<Encoding> = stored.encodings().collect();
            assert!(encodings.contains(expected), "{name}: {encodings:?}");
            if *expected != DICTIONARY {
                assert!(!encodings.contains(&DICTIONARY), "{name}: {encodings:?}");
            }
        }
        let mut reader = builder.with_batch_size(2 * 1000).build().unwrap();
        let back = reader.next().unwrap().unwrap();
        assert_eq!(back.columns(), batch.columns());
    }
}
