//! Files that were damaged in the spool, and their repair.

use std::fs;

use serde_json::Value;

use super::{Spooled, random_rows};
use crate::faults::assert_says;
use crate::support::Pghaul;

/// Flips a bit in the middle of a file of some part of the table `noise`; says which part and file.
fn flip(spooled: &Spooled, spool: &str) -> (Value, String) {
    let parts = spooled.parts(spool);
    let of_noise = |part: &&Value| {
        part["subject"]
            .as_str()
            .is_some_and(|of| of.contains("noise"))
    };
    let part = parts.iter().filter(of_noise).nth(1).expect("a second part");
    let name = part["files"][0]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    let file = spooled.folder(spool).join(&name);
    let mut content = fs::read(&file).expect("the file is there");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&file, content).expect("the file can be written");
    (part["part"].clone(), name)
}

#[test]
fn a_flipped_bit_is_refused_by_name_and_repaired() {
    let spooled = Spooled::start();
    random_rows(&spooled.source, "noise");
    let split = ["--split-larger-than", "1MB"];
    spooled.extract("noise", "spool", &split).run().expect(0);
    let before = spooled.parts("spool");
    let (part, file) = flip(&spooled, "spool");

    let checked = spooled.spool("check", "spool", &[]).run().expect(1);
    assert!(checked.stdout.contains(&file), "{}", checked.stdout);
    assert_says(&checked, &["damaged", "pghaul spool repair"]);
    let refused = spooled.load("loaded", "spool", &[]).run().expect(1);
    assert_says(&refused, &[&file, "pghaul spool repair"]);

    let repair = || {
        spooled
            .spool("repair", "spool", &[])
            .source(&spooled.source.dsn("noise"))
    };
    let repaired = repair().run().expect(0);
    assert!(repaired.stdout.contains("1 parts"), "{}", repaired.stdout);
    for (old, new) in before.iter().zip(&spooled.parts("spool")) {
        assert_eq!(old["rows"], new["rows"], "{new}");
        assert_eq!(old["files"] == new["files"], old["part"] != part, "{new}");
    }
    repair().run().expect(0);
    spooled.spool("check", "spool", &[]).run().expect(0);
    spooled
        .load("loaded", "spool", &["--resume"])
        .run()
        .expect(0);
    spooled.assert_converged("noise", "loaded");
}

#[test]
fn a_repair_from_a_source_that_has_changed_is_refused() {
    let spooled = Spooled::start();
    random_rows(&spooled.source, "noise");
    let split = ["--split-larger-than", "1MB"];
    spooled.extract("noise", "spool", &split).run().expect(0);
    let before = spooled.parts("spool");
    let (_, file) = flip(&spooled, "spool");
    spooled
        .source
        .psql("noise", "UPDATE quiet SET id = -1 WHERE id = 7");
    let repair = spooled
        .spool("repair", "spool", &[])
        .source(&spooled.source.dsn("noise"));
    let refused = repair.run().expect(1);
    assert_says(&refused, &["changed", "quiet"]);
    assert_eq!(spooled.parts("spool"), before, "nothing was unsealed");
    let checked = spooled.spool("check", "spool", &[]).run().expect(1);
    assert!(checked.stdout.contains(&file), "{}", checked.stdout);
}

/// A repair that was killed between forgetting the part and extracting it can be repeated.
#[test]
fn a_repair_that_was_broken_off_is_repeated() {
    let spooled = Spooled::start();
    random_rows(&spooled.source, "noise");
    let split = ["--split-larger-than", "1MB"];
    spooled.extract("noise", "spool", &split).run().expect(0);
    let entry = "manifest/0000000001/000000";
    fs::remove_file(spooled.folder("spool").join(entry)).expect("the entry is there");
    let checked = spooled.spool("check", "spool", &[]).run().expect(1);
    assert!(checked.stdout.contains(entry), "{}", checked.stdout);
    let refused = spooled.load("loaded", "spool", &[]).run().expect(1);
    assert_says(&refused, &[entry, "missing"]);
    let repair = spooled
        .spool("repair", "spool", &[])
        .source(&spooled.source.dsn("noise"));
    repair.run().expect(0);
    spooled
        .load("loaded", "spool", &["--resume"])
        .run()
        .expect(0);
    spooled.assert_converged("noise", "loaded");
}

/// What need not be there is missed all the same if it was there.
#[test]
fn an_object_that_was_lost_is_named() {
    let spooled = Spooled::start();
    random_rows(&spooled.source, "noise");
    spooled.extract("noise", "spool", &[]).run().expect(0);
    let check = |code| spooled.spool("check", "spool", &[]).run().expect(code);
    let load = || spooled.load("loaded", "spool", &["--keep", "--resume"]);
    let without = |name: &str, look: &dyn Fn()| {
        let place = spooled.folder("spool").join(name);
        let content = fs::read(&place).expect("it is there");
        fs::remove_file(&place).expect("it can be removed");
        let checked = check(1);
        let missing = format!("{name} in the spool");
        assert!(checked.stdout.contains(&missing), "{}", checked.stdout);
        look();
        fs::write(&place, content).expect("it can be written");
        check(0);
    };
    without("facts", &|| {
        let refused = load().run().expect(1);
        assert_says(&refused, &["facts", "missing", "--skip-validation"]);
        assert!(!spooled.has("loaded"));
    });
    without("end", &|| {
        let refused = load().run().expect(1);
        assert_says(&refused, &["end", "missing", "pghaul extract --resume"]);
    });
    load().run().expect(0);
    spooled.assert_converged("noise", "loaded");
    without("digest", &|| {
        let url = spooled.url("spool");
        let verify = Pghaul::new(&["verify", "--spool", &url]);
        let refused = verify.target(&spooled.target.dsn("loaded")).run().expect(1);
        assert_says(&refused, &["digest", "missing", "pghaul verify"]);
    });
    fs::remove_file(spooled.folder("spool").join("end")).expect("it is there");
    let resumed = spooled.extract("noise", "spool", &["--resume"]);
    resumed.run().expect(0);
    check(0);
}
