//! Either half is killed, alone or beside the other one, or one of several that do the same.

use std::thread;
use std::time::{Duration, Instant};

use super::{Spooled, random_rows, resume};
use crate::faults::kill::{Random, seed};
use crate::faults::wait_until;
use crate::support::fixture;
use crate::support::pghaul::Running;

/// Kills it at some moment before `longest` has passed, unless it has ended by then.
fn kill(mut run: Running, random: &mut Random, longest: Duration) -> bool {
    let moment = random.moment(longest);
    thread::sleep(moment);
    let killed = run.is_running();
    if killed {
        run.signal("KILL");
        println!("killed after {moment:?} of {longest:?}");
    }
    run.wait();
    killed
}

/// PGHAUL_KILLS says how many kills, PGHAUL_SEED replays a run.
#[test]
fn sigkill_of_either_half_converges() {
    let kills = crate::faults::kill::number("PGHAUL_KILLS").unwrap_or(6);
    let mut random = Random(seed());
    let spooled = Spooled::start();
    fixture::shop(&spooled.source, "shop", 1);
    random_rows(&spooled.source, "noise");
    let key = spooled.key("key", 7);
    let key = ["--encrypt-key-file", &key];
    let split = ["--role-passwords", "--split-larger-than", "2MB"];
    let resumed = [&["--resume"], &split[..]].concat();

    let mut killed = 0;
    let mut round = 0;
    let (mut whole_extract, mut whole_load) = (Duration::from_secs(2), Duration::from_secs(3));
    while killed < kills {
        // A load that is to be killed spends most of its time with parts that are under way.
        let (source, rate) = if round % 2 == 0 {
            ("shop", "1MB")
        } else {
            ("noise", "4MB")
        };
        let slowly = ["--rate-limit", rate];
        let (spool, db) = (format!("spool_{round}"), format!("killed_{round}"));
        let extract = |more: &[&str]| spooled.extract(source, &spool, &[&key, more].concat());
        let load = |more: &[&str]| spooled.load(&db, &spool, &[&key, more].concat());
        match round % 3 {
            // One after the other.
            0 => {
                let began = Instant::now();
                let first = kill(extract(&split).spawn(), &mut random, whole_extract);
                let second = kill(extract(&resumed).spawn(), &mut random, whole_extract);
                killed += u64::from(first) + u64::from(second);
                resume(|| extract(&resumed));
                if !first && !second {
                    whole_extract = began.elapsed() / 3;
                }
                killed += u64::from(kill(load(&slowly).spawn(), &mut random, whole_load));
            }
            // Both at once, and the one that extracts is killed: the other one notices.
            1 => {
                let extracting = extract(&split).spawn();
                let loading = load(&["--wait", "60"]).spawn();
                let hit = kill(extracting, &mut random, whole_extract);
                killed += u64::from(hit);
                let output = loading.wait();
                assert!((0..=2).contains(&output.code), "{}", output.stderr);
                if hit && output.code != 0 {
                    let said = ["not complete", "there is no spool"];
                    let told = said.iter().any(|words| output.stderr.contains(words));
                    assert!(told, "{}", output.stderr);
                }
                resume(|| extract(&resumed));
            }
            // Both at once, and the one that loads is killed: the other one goes on.
            _ => {
                let extracting = extract(&split).spawn();
                let loading = load(&["--wait", "60", "--rate-limit", rate]).spawn();
                killed += u64::from(kill(loading, &mut random, whole_load));
                extracting.wait().expect(0);
            }
        }
        let began = Instant::now();
        resume(|| load(&["--resume"]));
        whole_load = whole_load.max(began.elapsed());
        spooled.assert_converged(source, &db);
        spooled
            .target
            .psql("postgres", &format!("DROP DATABASE {db}"));
        round += 1;
    }
}

/// How many objects a folder of the spool has.
fn count(spooled: &Spooled, spool: &str, folder: &str) -> usize {
    let objects = std::fs::read_dir(spooled.folder(spool).join(folder));
    let names = objects.into_iter().flatten().flatten();
    // What is being written has no name yet.
    let named = names.filter(|entry| !entry.file_name().to_string_lossy().contains('#'));
    named.count()
}

#[test]
fn sigkill_of_one_of_two_extractors_and_loaders() {
    let spooled = Spooled::start();
    random_rows(&spooled.source, "noise");
    let slow = ["--split-larger-than", "1MB", "--rate-limit", "2MB"];
    let mut leader = spooled.extract("noise", "spool", &slow).spawn();
    wait_until(&mut leader, "the plan stood", |_| {
        spooled.folder("spool").join("plan").exists()
    });
    let help = [&slow[..], &["--help-others"]].concat();
    let mut helper = spooled.extract("noise", "spool", &help).spawn();
    wait_until(&mut helper, "the helper had the snapshot", |_| {
        count(&spooled, "spool", "snapshots") == 2
    });
    helper.signal("KILL");
    helper.wait().expect(-9);
    leader.wait().expect(0);
    spooled.spool("check", "spool", &[]).run().expect(0);

    let slow = ["--rate-limit", "2MB"];
    let mut leader = spooled.load("loaded", "spool", &slow).spawn();
    wait_until(&mut leader, "rows came", |_| {
        count(&spooled, "spool", "loaded") > 0
    });
    let help = [&slow[..], &["--help-others"]].concat();
    let mut helper = spooled.load("loaded", "spool", &help).spawn();
    wait_until(&mut helper, "the helper was there", |_| {
        count(&spooled, "spool", "workers/load") == 2
    });
    thread::sleep(Duration::from_millis(300));
    if helper.is_running() {
        helper.signal("KILL");
    }
    helper.wait();
    leader.wait().expect(0);
    spooled.assert_converged("noise", "loaded");
}

/// The snapshot outlives the process that took it, as long as one lives that has adopted it: also
/// through changes of the source, of which the target must have nothing.
#[test]
fn a_helper_keeps_the_snapshot_of_a_leader_that_is_killed() {
    let spooled = Spooled::start();
    random_rows(&spooled.source, "noise");
    spooled
        .source
        .psql("postgres", "CREATE DATABASE before TEMPLATE noise");
    let slow = ["--split-larger-than", "1MB", "--rate-limit", "300kB"];
    let extract = |more: &[&str]| spooled.extract("noise", "spool", more);
    let mut leader = extract(&slow).spawn();
    wait_until(&mut leader, "the plan stood", |_| {
        spooled.folder("spool").join("plan").exists()
    });
    let mut helper = extract(&[&slow[..], &["--help-others"]].concat()).spawn();
    wait_until(&mut helper, "the helper had the snapshot", |_| {
        count(&spooled, "spool", "snapshots") == 2
    });
    leader.signal("KILL");
    leader.wait().expect(-9);
    spooled.source.psql(
        "noise",
        "UPDATE noise SET words = 'changed' WHERE id % 3 = 0;
         DELETE FROM noise WHERE id % 5 = 0;
         INSERT INTO quiet SELECT n FROM generate_series(101, 200) AS n",
    );
    let mut resumed = extract(&["--resume"]).spawn();
    wait_until(&mut resumed, "the snapshot was adopted", |_| {
        count(&spooled, "spool", "snapshots") == 3
    });
    // From here on it is no longer needed.
    helper.signal("KILL");
    helper.wait().expect(-9);
    resumed.wait().expect(0);
    spooled.load("loaded", "spool", &[]).run().expect(0);
    spooled.assert_converged("before", "loaded");

    // Without anybody who holds it, what was extracted cannot be gone on with.
    let mut alone = spooled.extract("before", "alone", &slow).spawn();
    wait_until(&mut alone, "a part was sealed", |_| {
        let sealed = |part: u32| {
            spooled
                .folder("alone")
                .join(format!("manifest/{part:010}/000000"))
        };
        (0..12).any(|part| sealed(part).exists())
    });
    alone.signal("KILL");
    alone.wait().expect(-9);
    let sealed = spooled.parts("alone");
    spooled.source.psql(
        "before",
        "UPDATE noise SET words = 'x'; UPDATE quiet SET id = id",
    );
    let refused = spooled
        .extract("before", "alone", &["--resume"])
        .run()
        .expect(1);
    crate::faults::assert_says(&refused, &["changed", "public.noise", "empty place"]);
    assert_eq!(spooled.parts("alone"), sealed);
}
