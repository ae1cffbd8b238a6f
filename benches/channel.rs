//! What the channel between reader and writer costs per batch.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pghaul_relay::{Cancel, channel};
use pghaul_stage::{Batch, Mark, Payload};
use tokio::runtime::Runtime;

/// Payload of one batch: what one read of a socket brings.
const BATCH: usize = 256 << 10;

/// Batches per iteration.
const BATCHES: usize = 64;

fn send_and_receive(criterion: &mut Criterion) {
    let payload = Bytes::from(vec![b'x'; BATCH]);
    let mut group = criterion.benchmark_group("channel");
    group.throughput(Throughput::Bytes((BATCH * BATCHES) as u64));
    let runtime = Runtime::new().expect("a runtime");
    group.bench_function("256 KiB batches between tasks", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let (sender, mut receiver) = channel::open(8 << 20, &Cancel::new());
            let payload = payload.clone();
            tokio::spawn(async move {
                for index in 0..BATCHES {
                    let batch = Batch {
                        slice: 0,
                        payload: Payload::Copy(payload.clone()),
                        rows: 1,
                        mark: Mark((index * BATCH) as u64),
                    };
                    if sender.send(batch).await.is_err() {
                        return;
                    }
                }
                sender.seal();
            });
            while let Ok(Some(batch)) = receiver.recv().await {
                black_box(batch);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, send_and_receive);
criterion_main!(benches);
