//! Faults of a migration through a spool: of either half, and of the spool between them.

mod damage;
mod disk;
mod kill;
mod refused;
mod several;

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Cluster, Output, Pair, Pghaul, oracle};

/// A source, a target, and a folder for the spools between them.
struct Spooled {
    source: Cluster,
    target: Cluster,
    home: TempDir,
}

impl Spooled {
    fn start() -> Self {
        let Pair { source, target } = Pair::start();
        let home = tempfile::tempdir().expect("a folder");
        Self {
            source,
            target,
            home,
        }
    }

    /// The folder of the spool of this name.
    fn folder(&self, spool: &str) -> PathBuf {
        self.home.path().join(spool)
    }

    fn url(&self, spool: &str) -> String {
        format!("file://{}", self.folder(spool).display())
    }

    /// The path of a new key file.
    fn key(&self, name: &str, byte: u8) -> String {
        let file = self.home.path().join(name);
        std::fs::write(&file, [byte; 32]).expect("a key");
        file.to_str().expect("paths here are UTF-8").to_owned()
    }

    /// `pghaul extract` of this database, which knows of no target.
    fn extract(&self, db: &str, spool: &str, more: &[&str]) -> Pghaul {
        let url = self.url(spool);
        let args = [&["extract", "--spool", &url, "--jobs", "2"], more].concat();
        Pghaul::new(&args).source(&self.source.dsn(db))
    }

    /// `pghaul load` into this database, which knows of no source.
    fn load(&self, db: &str, spool: &str, more: &[&str]) -> Pghaul {
        let url = self.url(spool);
        let args = [&["load", "--spool", &url, "--jobs", "2"], more].concat();
        Pghaul::new(&args).target(&self.target.dsn(db))
    }

    /// `pghaul spool VERB`.
    fn spool(&self, verb: &str, spool: &str, more: &[&str]) -> Pghaul {
        let url = self.url(spool);
        Pghaul::new(&[&["spool", verb, "--spool", &url], more].concat())
    }

    /// What `pghaul spool ls` says of each part, but for when it said so.
    fn parts(&self, spool: &str) -> Vec<Value> {
        let listed = self.spool("ls", spool, &["--output", "json"]).run();
        let lines = listed.expect(0).stdout;
        lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .filter(|line| line["event"] == "part")
            .map(|mut line| {
                line["time"] = Value::Null;
                line
            })
            .collect()
    }

    /// Fails unless the target's database is as the source's, by the oracle.
    #[track_caller]
    fn assert_converged(&self, source: &str, target: &str) {
        oracle::assert_migrated(&self.source, source, &self.target, target);
    }

    /// Whether the target has a database of this name.
    fn has(&self, db: &str) -> bool {
        self.target.databases().iter().any(|name| name == db)
    }
}

/// Creates a database whose rows take about 4 MB in a spool, and cannot be compressed much.
fn random_rows(cluster: &Cluster, db: &str) {
    cluster.create_db(db);
    cluster.psql(
        db,
        "CREATE TABLE noise AS
         SELECT n AS id, md5(n::text) || md5((n + 1e6)::text) || md5((n + 2e6)::text) AS words
         FROM generate_series(1, 80000) AS n;
         ALTER TABLE noise ADD PRIMARY KEY (id);
         CREATE TABLE quiet AS SELECT n AS id FROM generate_series(1, 100) AS n;
         VACUUM ANALYZE",
    );
}

/// Repeats a command with `--resume` until it is done, as an operator does who does not know how far
/// it came. What a killed process had asked of a server may come true in the same moment; then it is
/// to be asked for again.
#[track_caller]
fn resume(again: impl Fn() -> Pghaul) -> Output {
    let output = again().run();
    if output.code == 2 && output.stderr.contains("--resume") {
        return again().run().expect(0);
    }
    output.expect(0)
}
