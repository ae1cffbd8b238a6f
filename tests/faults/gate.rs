//! A database whose migration can be stopped at known points, and the gates at these points.

use std::fs;
use std::path::{Path, PathBuf};

use super::wait_until;
use crate::support::pghaul::Running;
use crate::support::{Cluster, Pair, fixture};

/// In the middle of copying the table `gate.big`.
pub(super) const COPY: &str = "copy";

/// While the index `gate.waiting` is built.
pub(super) const INDEX: &str = "index";

/// While the materialized view `gate.seen` is refreshed.
pub(super) const REFRESH: &str = "refresh";

/// A closed gate; it opens when dropped.
pub(super) struct Gate(PathBuf);

impl Gate {
    /// Closes the gate of this name.
    pub(super) fn close(pair: &Pair, name: &str) -> Self {
        let file = pair.target.socket_dir().join(name);
        fs::write(&file, "").expect("the gate closes");
        Self(file)
    }

    /// Opens it.
    pub(super) fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Creates a source database with gates, all of them open.
pub(super) fn database(pair: &Pair, db: &str) {
    fixture::pgbench(&pair.source, db, 1);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/faults/gated.sql");
    let folder = pair
        .target
        .socket_dir()
        .to_str()
        .expect("paths here are UTF-8");
    pair.source.psql_file(db, &script, &[("folder", folder)]);
}

/// Waits until the target's server stands at a closed gate.
#[track_caller]
pub(super) fn wait_at(run: &mut Running, target: &Cluster, db: &str) {
    wait_until(run, "the target came to the gate", |_| {
        let waiting = format!(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = '{db}' AND wait_event = 'PgSleep'"
        );
        target.psql("postgres", &waiting) != "0"
    });
}

/// Waits until one lane stands in the middle of `gate.big` and `pgbench_accounts` is durable.
#[track_caller]
pub(super) fn wait_mid_copy(run: &mut Running, target: &Cluster, db: &str) {
    wait_at(run, target, db);
    wait_until(run, "the accounts were durable", |_| {
        let count = "SELECT count(*) FROM public.pgbench_accounts";
        target
            .try_psql(db, count)
            .is_ok_and(|rows| rows == "100000")
    });
}
