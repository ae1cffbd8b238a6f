//! What must be refused before anything is changed on the target.

use std::fs;

use super::{Spooled, random_rows};
use crate::faults::assert_says;

#[test]
fn keys_and_formats_that_do_not_fit_are_refused() {
    let spooled = Spooled::start();
    random_rows(&spooled.source, "noise");
    let (right, wrong) = (spooled.key("right", 1), spooled.key("wrong", 2));
    let with = |key: &str| ["--encrypt-key-file".to_owned(), key.to_owned()];
    let missing = spooled.home.path().join("missing");
    let cases = [
        (Some(right.as_str()), Some(wrong.as_str()), "another key"),
        (Some(&right), None, "no key is given"),
        (Some(&right), missing.to_str(), "cannot be read"),
        (None, Some(&right), "not encrypted"),
    ];
    for made in [Some(right.as_str()), None] {
        let spool = if made.is_some() { "sealed" } else { "open" };
        let args = made.map(with);
        let args: Vec<&str> = args.iter().flatten().map(String::as_str).collect();
        spooled.extract("noise", spool, &args).run().expect(0);
        for (made_with, given, says) in cases {
            if made_with != made {
                continue;
            }
            let args = given.map(with);
            let args: Vec<&str> = args.iter().flatten().map(String::as_str).collect();
            for refused in [
                spooled.load("refused", spool, &args).run(),
                spooled.spool("check", spool, &args).run(),
                spooled
                    .extract("noise", spool, &[&args[..], &["--resume"]].concat())
                    .run(),
            ] {
                assert_says(&refused, &[says]);
                assert_eq!(refused.code, 2, "{}", refused.stderr);
            }
        }
        assert!(!spooled.has("refused"));
    }
    let args = with(&right);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    spooled.load("loaded", "sealed", &args).run().expect(0);
    spooled.assert_converged("noise", "loaded");

    let header = spooled.folder("open").join("spool");
    let content = fs::read_to_string(&header).expect("a header");
    fs::write(
        &header,
        content.replacen("pghaul-spool 1", "pghaul-spool 2", 1),
    )
    .expect("written");
    for refused in [
        spooled.load("refused", "open", &[]).run(),
        spooled.extract("noise", "open", &["--resume"]).run(),
        spooled.spool("ls", "open", &[]).run(),
    ] {
        assert_says(&refused, &["format 2", "knows format 1"]);
        assert!(matches!(refused.code, 1 | 2), "{}", refused.stderr);
    }
    assert!(!spooled.has("refused"));
}

/// Neither half needs to know the other end, let alone reach it.
#[test]
fn each_half_needs_its_own_server_only() {
    let mut spooled = Spooled::start();
    random_rows(&spooled.source, "noise");
    let nowhere = "postgresql://nobody@127.0.0.1:1/nothing";
    spooled.target.stop_immediate();
    let extract = spooled.extract("noise", "spool", &[]);
    extract.env("PGHAUL_TARGET", nowhere).run().expect(0);
    spooled.target.start_again();
    spooled.source.stop_immediate();
    let load = spooled.load("loaded", "spool", &["--keep"]);
    load.env("PGHAUL_SOURCE", nowhere).run().expect(0);
    spooled.source.start_again();
    spooled.assert_converged("noise", "loaded");

    // And no load goes on with another extraction than the one it began with.
    spooled
        .source
        .psql("noise", "INSERT INTO quiet VALUES (101)");
    spooled.extract("noise", "other", &[]).run().expect(0);
    for (more, code) in [(&["--resume"][..], 1), (&[], 2)] {
        let refused = spooled.load("loaded", "other", more).run().expect(code);
        assert_says(&refused, &["database loaded", "--overwrite"]);
    }
    let rows = spooled.target.psql("loaded", "SELECT count(*) FROM quiet");
    assert_eq!(rows, "100", "nothing was changed");
    spooled
        .load("loaded", "other", &["--overwrite"])
        .run()
        .expect(0);
    spooled.assert_converged("noise", "loaded");
}

/// A load that waits for its extraction would tell the operator of it when he has gone home.
#[test]
fn a_wrong_target_is_told_before_the_spool_is_waited_for() {
    let spooled = Spooled::start();
    let load = spooled.load("loaded", "none", &["--wait", "1"]);
    let refused = load.target("host=127.0.0.1 port=nowhere").run().expect(2);
    assert_says(&refused, &["target", "port"]);
    assert!(!refused.stderr.contains("no spool"), "{}", refused.stderr);
}
