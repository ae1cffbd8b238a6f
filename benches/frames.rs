//! What it costs to take COPY bytes out of the server's messages.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Payload per iteration.
const BYTES: usize = 16 << 20;

/// A server's messages, one per row of this many bytes.
fn stream(row: usize) -> Vec<u8> {
    let mut stream = Vec::with_capacity(BYTES + BYTES / row * 5);
    for _ in 0..BYTES / row {
        stream.push(b'd');
        stream.extend(u32::try_from(row + 4).unwrap_or(u32::MAX).to_be_bytes());
        stream.resize(stream.len() + row, b'x');
    }
    stream
}

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames");
    group.throughput(Throughput::Bytes(BYTES as u64));
    for row in [30, 250, 8000] {
        let stream = stream(row);
        group.bench_function(format!("rows of {row} bytes"), |bencher| {
            bencher.iter(|| black_box(pghaul_wire::bench::forward(black_box(&stream))));
        });
    }
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
