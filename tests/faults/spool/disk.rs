//! The disk of the spool is full.

use super::{Spooled, random_rows};
use crate::faults::disk::SmallDisk;
use crate::faults::{assert_says, wait_until};

#[test]
fn disk_full_of_the_spool_stops_cleanly_and_resumes() {
    let spooled = Spooled::start();
    random_rows(&spooled.source, "noise");
    // A part with one table fits, and one with many does not: it leaves none of its files behind.
    let many =
        "SELECT format('CREATE TABLE little_%s AS SELECT * FROM noise WHERE id %% 40 = %s', n, n)
            FROM generate_series(0, 39) AS n \\gexec
        DELETE FROM noise WHERE id > 20000; VACUUM FULL noise";
    spooled.source.psql("noise", many);
    let folder = spooled.folder("full");
    std::fs::create_dir(&folder).expect("a folder");
    let disk = SmallDisk::mount(&folder, "2m");
    let split = ["--split-larger-than", "1MB"];
    let full = spooled.extract("noise", "full", &split).run().expect(1);
    let named = folder.to_str().expect("paths here are UTF-8");
    assert_says(&full, &["no room left", named, "--spool-limit", "--resume"]);
    let checked = spooled.spool("check", "full", &[]).run().expect(0);
    assert!(
        checked.stdout.contains("0 objects are damaged"),
        "{}",
        checked.stdout
    );
    // What was being written is not left behind.
    let garbage = spooled.spool("gc", "full", &["--dry-run"]).run().expect(0);
    assert!(garbage.stdout.contains("0 files"), "{}", garbage.stdout);

    disk.grow("100m");
    let resumed = [&["--resume"], &split[..]].concat();
    spooled.extract("noise", "full", &resumed).run().expect(0);
    spooled.load("loaded", "full", &[]).run().expect(0);
    spooled.assert_converged("noise", "loaded");
}

#[test]
fn a_limited_spool_passes_more_than_its_disk_can_hold() {
    let spooled = Spooled::start();
    random_rows(&spooled.source, "noise");
    let folder = spooled.folder("small");
    std::fs::create_dir(&folder).expect("a folder");
    let _disk = SmallDisk::mount(&folder, "3m");
    let limit = ["--spool-limit", "1MB", "--split-larger-than", "1MB"];
    let extracting = spooled.extract("noise", "small", &limit).spawn();
    let loading = spooled.load("loaded", "small", &["--wait", "60"]).spawn();
    extracting.wait().expect(0);
    loading.wait().expect(0);
    spooled.assert_converged("noise", "loaded");
    let stored: u64 = spooled
        .parts("small")
        .iter()
        .map(|part| part["stored_bytes"].as_u64().expect("a number"))
        .sum();
    assert!(stored > 3 << 20, "{stored} bytes would have fitted");
}

/// As many parts begin together as there are lanes, and their files are not there yet.
#[test]
fn parts_that_begin_together_keep_to_the_limit() {
    let spooled = Spooled::start();
    random_rows(&spooled.source, "noise");
    let limit = ["--spool-limit", "1MB", "--split-larger-than", "1MB"];
    let mut extracting = spooled.extract("noise", "limited", &limit).spawn();
    wait_until(&mut extracting, "it waits", |run| {
        run.stderr().contains("the spool is full")
    });
    let sizes = |name: &str| -> Vec<u64> {
        let parts = spooled.parts(name);
        let sizes = parts
            .iter()
            .filter_map(|part| part["stored_bytes"].as_u64());
        sizes.collect()
    };
    let stored = sizes("limited");
    let largest = stored.iter().max().copied().unwrap_or_default();
    let sum: u64 = stored.iter().sum();
    assert!(sum < (1 << 20) + largest, "{stored:?}");
    spooled.load("loaded", "limited", &[]).run().expect(0);
    extracting.wait().expect(0);
    spooled.assert_converged("noise", "loaded");
}
