//! What it costs to turn rows of COPY into Arrow columns and back.

use std::hint::black_box;
use std::sync::Arc;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pghaul_codec::{Decoder, Encoder, Field};
use pghaul_stage::{Encoding, Row};

/// Bytes of rows per iteration: a batch.
const BYTES: usize = 8 << 20;

/// Bytes pushed at a time: what one read of a socket brings.
const PIECE: usize = 256 << 10;

/// Columns by the object identifier and the modifier of their type.
type Columns = &'static [(u32, i32)];

/// int8, two int4, timestamptz, timestamp, date, boolean.
const NARROW: Columns = &[
    (20, -1),
    (23, -1),
    (23, -1),
    (1184, -1),
    (1114, -1),
    (1082, -1),
    (16, -1),
];
/// int8, numeric(12, 2), numeric.
const NUMBERS: Columns = &[(20, -1), (1700, (12 << 16) + 2 + 4), (1700, -1)];
/// int8, text, varchar, jsonb, uuid, text.
const WIDE: Columns = &[
    (20, -1),
    (25, -1),
    (1043, -1),
    (3802, -1),
    (2950, -1),
    (25, -1),
];

/// A value of a type, as PostgreSQL sends it; a tenth is NULL.
fn value(sent_as: u32, row: u64) -> Option<Vec<u8>> {
    let random = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words = format!("row {row} says {random:x}, and that at some length; ");
    if sent_as != 20 && random.is_multiple_of(10) {
        return None;
    }
    Some(match sent_as {
        16 => vec![(random >> 63) as u8],
        23 | 1082 => ((random >> 40) as i32).to_be_bytes().into(),
        20 => row.to_be_bytes().into(),
        1114 | 1184 => ((random >> 14) as i64).to_be_bytes().into(),
        // Eight digits before the point and two after it.
        1700 => [
            3,
            1,
            0,
            2,
            1 + random % 9000,
            1 + (random >> 32) % 9999,
            5000,
        ]
        .iter()
        .flat_map(|word| (*word as u16).to_be_bytes())
        .collect(),
        2950 => [random, row]
            .iter()
            .flat_map(|half| half.to_be_bytes())
            .collect(),
        3802 => {
            format!("\u{1}{{\"id\": {row}, \"text\": \"{words}\", \"more\": [{random}, null]}}")
                .into()
        }
        1043 => words.into(),
        _ => words.repeat(1 + (random % 6) as usize).into(),
    })
}

/// Rows of these columns; in text all values are words.
fn rows(columns: Columns, encoding: Encoding) -> Vec<u8> {
    let mut stream = BytesMut::new();
    for row in 0.. {
        if stream.len() >= BYTES {
            break;
        }
        let values: Vec<_> = columns
            .iter()
            .map(|(sent_as, _)| match (encoding, sent_as) {
                (Encoding::Text, 20) => Some(row.to_string().into()),
                (Encoding::Text, _) => value(25, row),
                (Encoding::Binary, _) => value(*sent_as, row),
            })
            .collect();
        Row::new(encoding, values.iter().map(Option::as_deref)).write(&mut stream);
    }
    stream.to_vec()
}

fn fields(columns: Columns) -> Arc<[Field]> {
    let field = |(at, (sent_as, modifier)): (usize, &(u32, i32))| Field {
        name: format!("c{at}"),
        type_name: String::new(),
        oid: *sent_as,
        modifier: *modifier,
        sent_as: *sent_as,
    };
    columns.iter().enumerate().map(field).collect()
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for (name, columns, encoding) in [
        ("narrow, binary", NARROW, Encoding::Binary),
        ("numeric, binary", NUMBERS, Encoding::Binary),
        ("wide, binary", WIDE, Encoding::Binary),
        ("wide, text", WIDE, Encoding::Text),
    ] {
        let stream = rows(columns, encoding);
        let fields = fields(columns);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        let mut decoder = Decoder::new(Arc::clone(&fields), encoding, true);
        let mut decode = || {
            for piece in stream.chunks(PIECE) {
                decoder.push(piece).expect("rows");
            }
            decoder.take().expect("columns").expect("rows").batch
        };
        let batch = decode();
        let encoder = Encoder::new(&batch.schema()).expect("a schema of the codec");
        let mut out = BytesMut::new();
        group.bench_function(format!("decode, {name}"), |bencher| {
            bencher.iter(|| black_box(decode()))
        });
        group.bench_function(format!("encode, {name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                encoder.encode(black_box(&batch), &mut out).expect("rows");
                black_box(out.len())
            });
        });
        assert!(out.is_empty() || out == stream, "the bytes differ");
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
