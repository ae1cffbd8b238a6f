//! How the source is to be read: the choices an operator can make, their defaults and limits.

use std::path::PathBuf;
use std::time::Duration;

use pghaul_stage::{Error, Result, Selection};

use crate::slice::parts_for;

/// One mebibyte.
const MIB: u64 = 1024 * 1024;

/// Settings of a [`PgSource`](crate::PgSource).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How many parts will be read at the same time. Only a hint for the size of parts: it
    /// limits nothing. Default 2, the fewest that overlap reading with waiting.
    pub jobs: u32,
    /// Which encoding COPY uses. Default: binary where it is safe.
    pub copy_format: CopyFormat,
    /// Which tables are cut into several parts. Default: by the size of the database.
    pub split: Split,
    /// The most parts one table is cut into. Default 1000: parts of a gigabyte up to a
    /// terabyte, and a plan that stays small.
    pub max_parts: u32,
    /// A table smaller than this many bytes shares its part with others. Default 1 MiB: below
    /// that the round trips and the commit cost more than the rows.
    pub small_table: u64,
    /// The most tables that share a part. Default 64: enough to make round trips and commits
    /// disappear, few enough that a retry costs nothing and every lane gets some.
    pub bundle_tables: u32,
    /// The most bytes of tables that share a part. Default 4 MiB.
    pub bundle_bytes: u64,
    /// A row of so many bytes is large: once a COPY has failed for the size of a row, the large
    /// ones go a few columns at a time. Default 16 MiB, a 64th of what a server can send at once:
    /// more than any value grows by being decompressed and written as text, and enough for the
    /// detour over a temporary table not to matter.
    pub large_row: u64,
    /// The target's `server_version_num`, which decides what is safe in binary, and which
    /// `pg_dump` of several is used. Without it only types that every supported version reads
    /// alike are sent in binary, and the newest `pg_dump` is used.
    pub target_version: Option<u32>,
    /// Whether the rows go into a spool: when a target refuses some of them, this source will not
    /// be there to be asked for another form.
    pub spooled: bool,
    /// The only directory in which `pg_dump` is looked for. Default: the one that
    /// `PGHAUL_PG_BINDIR` names, otherwise `PATH` and the distributions' versioned directories.
    pub pg_bindir: Option<PathBuf>,
    /// Which part of the database is read. Default: all of it.
    pub selection: Selection,
    /// How long to wait for a lock that somebody's DDL holds. Default one minute: while a lock
    /// request waits behind DDL, others queue behind it.
    pub lock_wait: Duration,
    /// How often to begin with a new snapshot when tables are dropped or rewritten while it is
    /// being taken. Default 5.
    pub snapshot_attempts: u32,
}

/// Which encoding COPY uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CopyFormat {
    /// Binary for a table whose types are all portable to the target, text for the others.
    #[default]
    Auto,
    /// Binary for every table; a table for which that is impossible is an error.
    Binary,
    /// Text for every table.
    Text,
}

/// Which tables are cut into several parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Split {
    /// By the size of the database: see [`threshold`](crate::Config::threshold).
    #[default]
    Auto,
    /// Tables larger than this many bytes, TOAST included, into parts of about this size.
    LargerThan(u64),
    /// None.
    Never,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            jobs: 2,
            copy_format: CopyFormat::Auto,
            split: Split::Auto,
            max_parts: 1000,
            small_table: MIB,
            bundle_tables: 64,
            bundle_bytes: 4 * MIB,
            large_row: 16 * MIB,
            target_version: None,
            spooled: false,
            pg_bindir: None,
            selection: Selection::default(),
            lock_wait: Duration::from_secs(60),
            snapshot_attempts: 5,
        }
    }
}

impl Config {
    /// Refuses values with which nothing can be read.
    pub fn validate(&self) -> Result<()> {
        let refuse = |what: &'static str| Err(Error::input(what));
        if self.jobs == 0 {
            return refuse("at least one part must be read at a time");
        }
        if self.max_parts == 0 {
            return refuse("a table has at least one part");
        }
        if self.bundle_tables == 0 {
            return refuse("a part holds at least one table");
        }
        if self.large_row == 0 {
            return refuse("not every row can be a large one");
        }
        if self.split == Split::LargerThan(0) {
            return refuse("tables cannot be split into parts of no bytes");
        }
        if self.lock_wait.is_zero() {
            return refuse("waiting no time for locks would fail at the first busy table");
        }
        if self.snapshot_attempts == 0 {
            return refuse("at least one attempt at a snapshot is needed");
        }
        match self.target_version {
            Some(version) if version < 90_000 => Err(Error::input(format!(
                "{version} is not a server_version_num of a supported target"
            ))),
            _ => Ok(()),
        }
    }

    /// How large a part of a table should be in a database of `total` bytes; `None` if tables
    /// are not cut.
    ///
    /// Automatically, a quarter of a lane's share, so that at the end no lane waits long for
    /// the others; not below 64 MiB, where a part's fixed costs begin to show; not above
    /// 1 GiB, because a part is what a retry repeats.
    pub fn threshold(&self, total: u64) -> Option<u64> {
        match self.split {
            Split::Never => None,
            Split::LargerThan(bytes) => Some(bytes),
            Split::Auto => {
                let shares = u64::from(self.jobs.max(1)) * 4;
                Some(total.div_ceil(shares).clamp(64 * MIB, 1024 * MIB))
            }
        }
    }

    /// Into how many parts to cut a table of so many bytes.
    ///
    /// Automatically, as many for each lane: seven alike on two lanes would end with one that is
    /// copied alone.
    pub(crate) fn parts(&self, bytes: u64, threshold: Option<u64>) -> u32 {
        let parts = parts_for(bytes, threshold, self.max_parts);
        match self.split {
            Split::Auto if parts > 1 => parts
                .checked_next_multiple_of(self.jobs.max(1))
                .map_or(self.max_parts, |parts| parts.min(self.max_parts)),
            _ => parts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert!(Config::default().validate().is_ok());
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_opened() {
        let ok = Config::default;
        for wrong in [
            Config { jobs: 0, ..ok() },
            Config {
                max_parts: 0,
                ..ok()
            },
            Config {
                bundle_tables: 0,
                ..ok()
            },
            Config {
                split: Split::LargerThan(0),
                ..ok()
            },
            Config {
                large_row: 0,
                ..ok()
            },
            Config {
                lock_wait: Duration::ZERO,
                ..ok()
            },
            Config {
                snapshot_attempts: 0,
                ..ok()
            },
            Config {
                target_version: Some(17),
                ..ok()
            },
        ] {
            let error = wrong.validate().expect_err("must be refused");
            assert_eq!(error.kind(), pghaul_stage::Kind::Input, "{wrong:?}");
        }
    }

    #[test]
    fn lanes_get_as_many_parts_of_a_table() {
        let config = Config {
            jobs: 2,
            ..Config::default()
        };
        let parts = |bytes| config.parts(bytes, config.threshold(bytes));
        assert_eq!(parts(60 * MIB), 1);
        assert_eq!(parts(65 * MIB), 2);
        assert_eq!(parts(420 * MIB), 8);
        assert_eq!(parts(1700 * MIB + 1), 8);
        let given = Config {
            split: Split::LargerThan(60 * MIB),
            ..config
        };
        assert_eq!(given.parts(420 * MIB, given.threshold(420 * MIB)), 7);
    }

    #[test]
    fn parts_shrink_with_lanes_within_limits() {
        let with = |jobs| Config {
            jobs,
            ..Config::default()
        };
        let gib = 1024 * MIB;
        assert_eq!(with(2).threshold(0), Some(64 * MIB));
        assert_eq!(with(2).threshold(2 * gib), Some(256 * MIB));
        assert_eq!(with(8).threshold(2 * gib), Some(64 * MIB));
        assert_eq!(with(2).threshold(100 * gib), Some(gib));
        let never = Config {
            split: Split::Never,
            ..Config::default()
        };
        assert_eq!(never.threshold(100 * gib), None);
    }
}
