//! What it costs to write the statement by which both servers hash a table's rows.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};

fn statement(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for columns in [3, 30, 1000] {
        group.bench_function(format!("expression of {columns} columns"), |bencher| {
            bencher.iter(|| black_box(pghaul_load::bench::checksum(black_box(columns))));
        });
    }
    group.finish();
}

criterion_group!(benches, statement);
criterion_main!(benches);
