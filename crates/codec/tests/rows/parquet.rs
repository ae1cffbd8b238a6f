//! Batches through a Parquet file.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pghaul_codec::{Decoder, Encoder, Field};
use pghaul_stage::Encoding;
use proptest::prelude::*;

use crate::random::{field, stream, tables};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// What is read from a file is what was written, metadata included, and encodes to the rows.
    #[test]
    fn batches_survive_parquet((fields, rows) in tables(), text: bool) {
        let encoding = if text { Encoding::Text } else { Encoding::Binary };
        // A file without columns has no rows.
        let (fields, rows): (Arc<[Field]>, _) = if fields.is_empty() {
            (Arc::from([field(25, -1)]), vec![vec![Some(vec![b'a'])], vec![None]])
        } else {
            (fields, rows)
        };
        let fields: Arc<[Field]> = fields.iter().enumerate().map(|(at, field)| {
            Field { name: format!("{at}"), ..field.clone() }
        }).collect();
        let stream = stream(&rows, encoding);
        let mut decoder = Decoder::new(fields, encoding, true);
        decoder.push(&stream)?;
        let Some(taken) = decoder.take()? else { return Ok(()) };
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, taken.batch.schema(), None).unwrap();
        writer.write(&taken.batch).unwrap();
        writer.close().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
        prop_assert_eq!(reader.schema(), &taken.batch.schema());
        let mut out = BytesMut::new();
        let encoder = Encoder::new(reader.schema())?;
        for batch in reader.build().unwrap() {
            encoder.encode(&batch.unwrap(), &mut out)?;
        }
        prop_assert!(out == stream);
    }
}
