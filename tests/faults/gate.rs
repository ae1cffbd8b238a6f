//! A database whose migration can be stopped at known points, and the gates at these points.

use std::fs;
use std::path::{Path, PathBuf};

use super::wait_until;
use crate::support::pghaul::Running;
use crate::support::proxy::{Fault, Proxy};
use crate::support::way::Haul;
use crate::support::{Cluster, Output, Pair, Way, fixture};

/// In the middle of copying the table `gate.big`.
pub(crate) const COPY: &str = "copy";

/// While the index `gate.waiting` is built.
pub(crate) const INDEX: &str = "index";

/// While the materialized view `gate.seen` is refreshed.
pub(crate) const REFRESH: &str = "refresh";

/// A closed gate; it opens when dropped.
pub(crate) struct Gate(PathBuf);

impl Gate {
    /// Closes the gate of this name; of one database if it has that before it, and a dot.
    pub(crate) fn close(pair: &Pair, name: &str) -> Self {
        let file = pair.target.socket_dir().join(name);
        fs::write(&file, "").expect("the gate closes");
        Self(file)
    }

    /// Opens it.
    pub(crate) fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Creates a source database with gates, all of them open.
pub(crate) fn database(pair: &Pair, db: &str) {
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
    wait_until(run, "the target came to the gate", |_| is_at(target, db));
}

/// Whether the target's server stands at a closed gate.
pub(crate) fn is_at(target: &Cluster, db: &str) -> bool {
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = '{db}' AND wait_event = 'PgSleep'"
    );
    target.psql("postgres", &waiting) != "0"
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

/// The half of a migration that reads the source, standing still when the accounts are copied,
/// `gate.big` is being copied and the others are not begun.
pub(super) struct Held {
    haul: Haul,
    pub(super) run: Running,
    gate: Option<Gate>,
    proxy: Proxy,
    /// The source without the proxy.
    direct: String,
}

impl Held {
    /// Starts it on a database with gates, by one lane. The target alone has gates, so where there is
    /// none, its COPY is held.
    #[track_caller]
    pub(super) fn start(way: Way, pair: &Pair, db: &str) -> Self {
        let proxy = Proxy::start(&pair.source);
        let mut haul = way.of(db).source(&proxy.dsn(&pair.source, db));
        let gate = (way == Way::Channel).then(|| Gate::close(pair, COPY));
        if way == Way::Spool {
            proxy.arm_after(1, "COPY ", Fault::Hold);
        }
        let mut run = haul.start_reading(pair, &["--jobs", "1"]);
        match way {
            Way::Channel => wait_mid_copy(&mut run, &pair.target, db),
            Way::Spool => wait_until(&mut run, "its second COPY was held", |_| {
                proxy.struck() == 1
            }),
        }
        Self {
            haul,
            run,
            gate,
            proxy,
            direct: pair.source.dsn(db),
        }
    }

    /// Waits until it ends; what comes next reaches the source without the proxy.
    pub(super) fn end(self) -> (Haul, Output) {
        let output = self.run.wait();
        (self.haul.source(&self.direct), output)
    }

    /// Lets it go on.
    pub(super) fn release(&mut self) {
        drop(self.gate.take());
        self.proxy.release();
    }
}
