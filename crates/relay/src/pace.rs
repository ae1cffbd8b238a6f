//! A limit in bytes per second that many share.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pghaul_stage::Result;

use crate::Cancel;

/// So many bytes a second, for all clones together.
#[derive(Debug, Clone)]
pub struct Pace {
    rate: NonZeroU64,
    /// When everything that was let through so far has passed.
    passed: Arc<Mutex<Instant>>,
}

impl Pace {
    /// `rate` bytes per second.
    pub fn new(rate: NonZeroU64) -> Self {
        Self {
            rate,
            passed: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Waits until so many bytes have passed behind those that came before.
    pub async fn wait(&self, bytes: usize, cancel: &Cancel) -> Result<()> {
        let now = Instant::now();
        let until = {
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            let time = Duration::from_secs_f64(bytes as f64 / self.rate.get() as f64);
            *passed = now.max(*passed) + time;
            *passed
        };
        let pause = async {
            tokio::time::sleep(until - now).await;
            Ok(())
        };
        cancel.until(pause).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::try_join_all;

    use super::*;

    #[tokio::test]
    async fn all_together_keep_the_pace() {
        let pace = Pace::new(NonZeroU64::new(100_000).unwrap());
        let cancel = Cancel::new();
        let began = Instant::now();
        let waits = (0..20).map(|_| pace.wait(500, &cancel));
        try_join_all(waits).await.unwrap();
        // 10,000 bytes.
        assert!(began.elapsed() >= Duration::from_millis(100));
        cancel.cancel();
        assert!(pace.wait(usize::MAX / 2, &cancel).await.is_err());
    }
}
