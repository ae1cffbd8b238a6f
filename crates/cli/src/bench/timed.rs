//! Stages that time every batch and otherwise do what the stage inside them does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use pghaul_stage::{
    Batch, Batches, Format, Mark, Part, Result, Source, SourceLayer, Target, TargetLayer, Writer,
};
use serde_json::{Value, json};

/// Times, sorted into buckets that are an eighth of a power of two wide.
#[derive(Debug)]
pub(super) struct Times {
    buckets: Vec<AtomicU64>,
    longest: AtomicU64,
}

/// Bits of a number of nanoseconds, eight buckets for each.
const BUCKETS: usize = 64 * 8;

impl Default for Times {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            longest: AtomicU64::new(0),
        }
    }
}

impl Times {
    fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket(nanos)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.longest.fetch_max(nanos, Ordering::Relaxed);
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        let counts = self.buckets.iter();
        counts.map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The time that this share of all did not exceed, up to an eighth too long.
    pub(super) fn percentile(&self, share: f64) -> Duration {
        let rank = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let longest = self.longest.load(Ordering::Relaxed);
        let mut seen = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Ordering::Relaxed);
            if seen >= rank {
                return Duration::from_nanos(upper(at).min(longest));
            }
        }
        Duration::ZERO
    }

    /// The percentiles worth showing, with their names.
    pub(super) fn percentiles(&self) -> [(&'static str, Duration); 4] {
        [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)]
            .map(|(name, share)| (name, self.percentile(share)))
    }

    pub(super) fn json(&self) -> Value {
        let mut value = json!({"count": self.count()});
        for (name, time) in self.percentiles() {
            value[format!("{name}_seconds")] = json!(time.as_secs_f64());
        }
        value
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < 8 {
        return usize::try_from(nanos).unwrap_or(0);
    }
    let exponent = 63 - nanos.leading_zeros();
    let eighth = (nanos >> (exponent - 3)) & 7;
    usize::try_from(u64::from(exponent - 2) * 8 + eighth).unwrap_or(BUCKETS - 1)
}

/// The longest time in a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    let (exponent, eighth) = (bucket / 8 + 2, bucket as u64 % 8);
    let next = u128::from(8 + eighth + 1) << (exponent - 3);
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

/// A source that times how long each batch takes to come.
pub(super) struct TimedSource {
    pub(super) inner: Arc<dyn Source>,
    pub(super) times: Arc<Times>,
}

/// A target that times how long each batch takes to be accepted.
pub(super) struct TimedTarget {
    pub(super) inner: Arc<dyn Target>,
    pub(super) times: Arc<Times>,
}

struct TimedWriter {
    inner: Box<dyn Writer>,
    times: Arc<Times>,
}

#[async_trait]
impl SourceLayer for TimedSource {
    fn inside(&self) -> &dyn Source {
        &*self.inner
    }

    async fn read(&self, part: &Part, format: Format) -> Result<Batches> {
        let batches = self.inner.read(part, format).await?;
        let times = Arc::clone(&self.times);
        Ok(stream::unfold(batches, move |mut batches| {
            let times = Arc::clone(&times);
            async move {
                let began = Instant::now();
                let batch = batches.next().await?;
                times.add(began.elapsed());
                Some((batch, batches))
            }
        })
        .boxed())
    }
}

#[async_trait]
impl TargetLayer for TimedTarget {
    fn inside(&self) -> &dyn Target {
        &*self.inner
    }

    async fn open(&self, part: &Part, format: Format) -> Result<Box<dyn Writer>> {
        Ok(Box::new(TimedWriter {
            inner: self.inner.open(part, format).await?,
            times: Arc::clone(&self.times),
        }))
    }
}

#[async_trait]
impl Writer for TimedWriter {
    async fn write(&mut self, batch: Batch) -> Result<()> {
        let began = Instant::now();
        self.inner.write(batch).await?;
        self.times.add(began.elapsed());
        Ok(())
    }

    async fn flush(&mut self) -> Result<Option<Mark>> {
        self.inner.flush().await
    }

    async fn finish(self: Box<Self>) -> Result<Mark> {
        self.inner.finish().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_an_eighth_wide_and_in_order() {
        for nanos in (0..2000).chain([u64::MAX / 3, u64::MAX - 1, u64::MAX]) {
            let bucket = bucket(nanos);
            assert!(bucket < BUCKETS && upper(bucket) >= nanos, "{nanos}");
            assert!(upper(bucket) as f64 <= nanos as f64 * 1.125, "{nanos}");
            assert!(bucket == 0 || upper(bucket - 1) < nanos, "{nanos}");
        }
    }

    #[test]
    fn percentiles() {
        let times = Times::default();
        for micros in 1..=1000 {
            times.add(Duration::from_micros(micros));
        }
        let near = |share, micros: f64| {
            let found = times.percentile(share).as_secs_f64() * 1e6;
            assert!((micros..micros * 1.13).contains(&found), "{share}: {found}");
        };
        near(0.5, 500.0);
        near(0.99, 990.0);
        assert_eq!(times.percentile(1.0), Duration::from_millis(1));
        assert_eq!(Times::default().percentile(0.5), Duration::ZERO);
    }
}
