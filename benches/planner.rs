//! What it costs to cut tables into parts and to put small ones together.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};

fn plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("planner");
    for tables in [100, 20_000] {
        group.bench_function(format!("{tables} tables"), |bencher| {
            bencher.iter(|| black_box(pghaul_extract::bench::plan(black_box(tables))));
        });
    }
    group.finish();
}

criterion_group!(benches, plan);
criterion_main!(benches);
