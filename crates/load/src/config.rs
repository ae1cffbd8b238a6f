//! How the target is to be written, and why these are the defaults.

use std::time::Duration;

use pghaul_stage::{Error, Result};

/// How the target is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How many indexes and constraints are built at the same time.
    pub index_jobs: usize,
    /// Whether a few more may be built at once when no others are left, so that no processor is
    /// idle at the end.
    pub more_at_the_end: bool,
    /// `maintenance_work_mem` of the sessions that build indexes, in MiB. Sorted runs that fit
    /// the processor's cache merge cheaper than one large heap, so more is not better.
    pub maintenance_work_mem: u32,
    /// Whether rows may be written frozen.
    pub freeze: Freeze,
    /// How long a writer waits for a part's progress row before it looks for the stale session
    /// that holds it.
    pub lock_timeout: Duration,
    /// How long a terminated session may take to be gone.
    pub fence_timeout: Duration,
}

/// Whether rows may be written frozen (`COPY … FREEZE`), which saves a later vacuum the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freeze {
    /// For ordinary tables of a megabyte or more that one part loads whole, unless TOAST dominates.
    Auto,
    /// Never.
    Never,
}

/// A table below this many bytes is not worth the extra statement of a frozen load.
const FREEZE_FROM: u64 = 1 << 20;

/// The largest `maintenance_work_mem` a server accepts, in MiB.
const MEMORY_LIMIT: u32 = 2_097_151;

impl Default for Config {
    fn default() -> Self {
        Self {
            index_jobs: 2,
            more_at_the_end: true,
            maintenance_work_mem: 64,
            freeze: Freeze::Auto,
            lock_timeout: Duration::from_secs(5),
            fence_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// How many indexes and constraints are built at the same time when no others are left.
    pub(crate) fn last_index_jobs(&self) -> usize {
        match self.more_at_the_end {
            true => self.index_jobs.saturating_add(self.index_jobs / 2),
            false => self.index_jobs,
        }
    }

    /// Refuses values that cannot work.
    ///
    /// # Errors
    ///
    /// Kind input, naming the value.
    pub fn validate(&self) -> Result<()> {
        if self.index_jobs == 0 {
            return Err(Error::input("index jobs must be at least 1"));
        }
        if !(1..=MEMORY_LIMIT).contains(&self.maintenance_work_mem) {
            return Err(Error::input(format!(
                "maintenance_work_mem must be between 1 and {MEMORY_LIMIT} MiB"
            )));
        }
        if self.lock_timeout.as_millis() == 0 || self.fence_timeout.is_zero() {
            return Err(Error::input(
                "the lock and fence timeouts must be at least a millisecond",
            ));
        }
        Ok(())
    }
}

impl Freeze {
    /// Whether a table of these sizes, loaded whole by one part, is written frozen. A frozen
    /// load leaves no free-space map for the TOAST table, which then grows by a fifth, so
    /// tables that are mostly TOAST are loaded plainly.
    pub(crate) fn applies(self, heap: u64, toast: u64) -> bool {
        self == Freeze::Auto && heap >= FREEZE_FROM && toast < heap.saturating_add(toast) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_nonsense_is_not() {
        assert!(Config::default().validate().is_ok());
        let broken = [
            Config {
                index_jobs: 0,
                ..Config::default()
            },
            Config {
                maintenance_work_mem: 0,
                ..Config::default()
            },
            Config {
                maintenance_work_mem: MEMORY_LIMIT + 1,
                ..Config::default()
            },
            Config {
                lock_timeout: Duration::from_micros(5),
                ..Config::default()
            },
            Config {
                fence_timeout: Duration::ZERO,
                ..Config::default()
            },
        ];
        for config in broken {
            assert!(config.validate().is_err(), "{config:?}");
        }
    }

    #[test]
    fn freeze_is_for_large_tables_with_little_toast() {
        let mib = 1 << 20;
        assert!(Freeze::Auto.applies(mib, 0));
        assert!(Freeze::Auto.applies(2 * mib, mib));
        assert!(!Freeze::Auto.applies(mib - 1, 0));
        assert!(!Freeze::Auto.applies(mib, mib));
        assert!(!Freeze::Auto.applies(mib, 10 * mib));
        assert!(!Freeze::Never.applies(mib, 0));
    }
}
