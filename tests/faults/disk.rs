//! The target's disk is full, and later it is not.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::gate;
use super::{assert_converged, assert_says};
use crate::support::{Pair, Way, both_ways, pg};

/// A file system of limited size in memory; gone when dropped. Only root may mount it.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(super) fn mount(folder: &Path, size: &str) -> Self {
        let options = format!("size={size},uid=postgres,gid=postgres,mode=0700");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder));
        Self(folder.to_owned())
    }

    pub(super) fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        run(Command::new("mount").args(["-o", &options]).arg(&self.0));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

fn run(command: &mut Command) {
    pg::run(command).unwrap_or_else(|error| panic!("this test needs root: {error}"));
}

both_ways!(disk_full_stops_cleanly_and_resumes);
fn disk_full_stops_cleanly_and_resumes(way: Way) {
    let mut pair = Pair::start();
    let db = "full";
    gate::database(&pair, db);
    pair.target.create_db(db);
    let folder = "SELECT current_setting('data_directory') || '/base/' || oid
        FROM pg_database WHERE datname = current_database()";
    let folder = PathBuf::from(pair.target.psql(db, folder));

    // The database's own folder moves to the small disk.
    pair.target.psql(db, "CHECKPOINT");
    pair.target.stop_immediate();
    let aside = folder.with_extension("aside");
    run(Command::new("cp").arg("-a").arg(&folder).arg(&aside));
    let disk = SmallDisk::mount(&folder, "14m");
    run(Command::new("cp")
        .arg("-a")
        .arg(aside.join("."))
        .arg(&folder));
    run(Command::new("rm").arg("-r").arg(&aside));
    pair.target.start_again();

    let mut haul = way.of(db);
    let output = haul.run(&mut pair, &[]).expect(1);
    assert_says(&output, &["target", "53100", "--resume"]);
    disk.grow("1g");
    haul.run(&mut pair, &["--resume"]).expect(0);
    assert_converged(&pair, db);
}
