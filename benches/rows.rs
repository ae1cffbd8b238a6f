//! What it costs to cut a COPY stream into rows and to write them again.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pghaul_stage::{CopyItem, Encoding, Row, Rows};

/// Rows per iteration.
const ROWS: usize = 50_000;

/// Bytes pushed at a time.
const PIECE: usize = 256 << 10;

fn stream(encoding: Encoding) -> Vec<u8> {
    let mut stream = BytesMut::new();
    if encoding == Encoding::Binary {
        stream.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    }
    let values = [Some(&b"12345678"[..]), Some(b"someone@example.com"), None];
    for _ in 0..ROWS {
        Row::new(encoding, values).write(&mut stream);
    }
    if encoding == Encoding::Binary {
        stream.extend_from_slice(b"\xff\xff");
    }
    stream.to_vec()
}

fn cut(stream: &[u8], encoding: Encoding) -> usize {
    let mut rows = Rows::new(encoding);
    let mut written = 0;
    for piece in stream.chunks(PIECE) {
        rows.push(piece);
        let mut out = BytesMut::with_capacity(PIECE);
        while let Ok(Some(item)) = rows.next() {
            if let CopyItem::Row(row) = item {
                row.write(&mut out);
            }
        }
        written += out.len();
    }
    written
}

fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rows");
    for encoding in [Encoding::Text, Encoding::Binary] {
        let stream = stream(encoding);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(encoding.to_string(), |bencher| {
            bencher.iter(|| black_box(cut(black_box(&stream), encoding)));
        });
    }
    group.finish();
}

criterion_group!(benches, rows);
criterion_main!(benches);
