//! The two ways of a migration: through a channel in one process, and over a spool with the source
//! stopped before the load begins. A case is written once; [`both_ways!`] makes a test of each way.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::cluster::Pair;
use super::pghaul::{Output, Pghaul, Running};

/// How rows come from the source to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `pghaul migrate`.
    Channel,
    /// `pghaul extract`, then `pghaul load`.
    Spool,
}

/// Makes the tests `case::channel` and `case::spool` of each function `case(way: Way)`.
macro_rules! both_ways {
    ($(#[$attribute:meta])* $case:ident) => {
        mod $case {
            use crate::support::Way;

            #[test]
            $(#[$attribute])*
            fn channel() {
                super::$case(Way::Channel);
            }

            #[test]
            $(#[$attribute])*
            fn spool() {
                super::$case(Way::Spool);
            }
        }
    };
}
pub(crate) use both_ways;

/// A migration of one database by one of the ways: run it, and resume it.
pub(crate) struct Haul {
    way: Way,
    db: String,
    source: Option<String>,
    target: Option<String>,
    env: Option<(&'static str, &'static str)>,
    timeout: Option<Duration>,
    /// Flags of `extract` that `migrate` does not have.
    storing: Vec<String>,
    /// Whether flags that both `extract` and `load` have for what to leave alone go to `load`.
    late: bool,
    /// Whether files of rows stay when they are loaded.
    keep: bool,
    /// Spools, one for each beginning; the key; temporary files.
    folder: TempDir,
    beginnings: u32,
    /// How many commands have written into the latest one.
    starts: u32,
    encrypted: bool,
}

/// Whose a flag of `migrate` is over a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// That of both halves.
    Both,
    /// That of `extract`.
    Extract,
    /// That of `load`.
    Load,
    /// That of the one or the other half, which say what to leave alone.
    Either,
}

/// The flags of `migrate` that have a counterpart over a spool, and whether a value follows.
const FLAGS: &[(&str, bool, Whose)] = &[
    ("--jobs", true, Whose::Both),
    ("--output", true, Whose::Both),
    ("-v", false, Whose::Both),
    ("-vv", false, Whose::Both),
    ("--resume", false, Whose::Both),
    ("--skip-validation", false, Whose::Both),
    ("--copy-format", true, Whose::Extract),
    ("--split-larger-than", true, Whose::Extract),
    ("--no-role-passwords", false, Whose::Extract),
    ("--index-jobs", true, Whose::Load),
    ("--overwrite", false, Whose::Load),
    ("--strict", false, Whose::Load),
    ("--verify", false, Whose::Load),
    ("--report", true, Whose::Load),
    ("--trace", true, Whose::Load),
    ("--tablespace-map", true, Whose::Load),
    ("--databases", true, Whose::Extract),
    ("--all-databases", false, Whose::Extract),
    ("--exclude-database", true, Whose::Extract),
    ("--schema", true, Whose::Extract),
    ("--exclude-schema", true, Whose::Extract),
    ("--table", true, Whose::Extract),
    ("--exclude-table", true, Whose::Extract),
    ("--exclude-table-data", true, Whose::Extract),
    ("--exclude-extension", true, Whose::Extract),
    ("--schema-only", false, Whose::Extract),
    ("--data-only", false, Whose::Extract),
    ("--no-roles", false, Whose::Either),
    ("--no-tablespaces", false, Whose::Either),
    ("--no-analyze", false, Whose::Either),
    ("--truncate", false, Whose::Either),
    ("--no-owner", false, Whose::Either),
    ("--no-acl", false, Whose::Either),
    ("--no-privileges", false, Whose::Either),
    ("--no-comments", false, Whose::Either),
    ("--role-map", true, Whose::Either),
];

impl Way {
    /// A migration of this database, to the target's of that name.
    pub(crate) fn of(self, db: &str) -> Haul {
        Haul {
            way: self,
            db: db.to_owned(),
            source: None,
            target: None,
            env: None,
            timeout: None,
            storing: Vec::new(),
            late: false,
            keep: false,
            folder: tempfile::tempdir().expect("a folder"),
            beginnings: 0,
            starts: 0,
            encrypted: false,
        }
    }

    /// Migrates this database with these flags of `migrate`.
    pub(crate) fn migrate(self, pair: &mut Pair, db: &str, flags: &[&str]) -> Output {
        self.of(db).run(pair, flags)
    }
}

impl Haul {
    /// From this database instead of the source's of that name.
    pub(crate) fn source(mut self, dsn: &str) -> Self {
        self.source = Some(dsn.to_owned());
        self
    }

    /// To this database instead of the target's of that name.
    pub(crate) fn target(mut self, dsn: &str) -> Self {
        self.target = Some(dsn.to_owned());
        self
    }

    /// With this variable in its environment.
    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env = Some((name, value));
        self
    }

    /// How long each command may take.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Over a spool, extracts with these flags, which `migrate` does not have.
    pub(crate) fn storing(mut self, flags: &[&str]) -> Self {
        self.storing
            .extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// Over a spool, encrypts it, so that secrets come along.
    pub(crate) fn encrypted(mut self) -> Self {
        fs::write(self.key(), "0123456789abcdef".repeat(4)).expect("a key");
        self.encrypted = true;
        self.storing(&["--role-passwords"])
    }

    /// Over a spool, says only to `load` what is to be left alone.
    pub(crate) fn late(mut self) -> Self {
        self.late = true;
        self
    }

    /// Over a spool, keeps files that are loaded.
    pub(crate) fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    /// Runs it to its end with these flags of `migrate`. Over a spool, the source is stopped once
    /// it is extracted, and started again when all is done.
    ///
    /// What it gives is what `migrate` gives: standard output is that of the loading half, unless
    /// the extraction failed. A finished one has left a whole spool with nothing superfluous in it.
    pub(crate) fn run(&mut self, pair: &mut Pair, flags: &[&str]) -> Output {
        if self.way == Way::Channel {
            return self.call(pair, "migrate", flags).run();
        }
        let extracted = self.start_extract(pair, flags).wait();
        if extracted.code != 0 {
            return extracted;
        }
        let running = self.start_load(pair, flags);
        let mut loaded = self.finish(pair, running);
        loaded.stderr.insert_str(0, &extracted.stderr);
        loaded
    }

    /// Starts it. Over a spool, what runs is the loading half, and the source stays stopped until
    /// [`Haul::run`] or [`Haul::finish`] has ended.
    pub(crate) fn start(&mut self, pair: &mut Pair, flags: &[&str]) -> Running {
        if self.way == Way::Channel {
            return self.call(pair, "migrate", flags).spawn();
        }
        self.start_extract(pair, flags).wait().expect(0);
        self.start_load(pair, flags)
    }

    /// Starts the first half over a spool.
    pub(crate) fn start_extract(&mut self, pair: &Pair, flags: &[&str]) -> Running {
        let mut args = self.flags_of(Whose::Extract, flags);
        if !flags.contains(&"--resume") {
            self.beginnings += 1;
            self.starts = 0;
            args.extend(self.storing.iter().map(String::as_str));
        }
        self.starts += 1;
        self.spooling(pair, "extract", &args).spawn()
    }

    /// Starts the second half, without the source.
    pub(crate) fn start_load(&mut self, pair: &mut Pair, flags: &[&str]) -> Running {
        if pair.source.is_running() {
            pair.source.stop();
        }
        let mut args = self.flags_of(Whose::Load, flags);
        if self.keep {
            args.push("--keep");
        }
        self.starts += 1;
        self.spooling(pair, "load", &args).spawn()
    }

    /// Starts it again beside, or after, what was started before: over a spool the second half, which
    /// alone works on the target.
    pub(crate) fn start_again(&mut self, pair: &mut Pair, flags: &[&str]) -> Running {
        match self.way {
            Way::Channel => self.call(pair, "migrate", flags).spawn(),
            Way::Spool => self.start_load(pair, flags),
        }
    }

    /// Starts the half that reads the source.
    pub(crate) fn start_reading(&mut self, pair: &Pair, flags: &[&str]) -> Running {
        match self.way {
            Way::Channel => self.call(pair, "migrate", flags).spawn(),
            Way::Spool => self.start_extract(pair, flags),
        }
    }

    /// Over a spool, loads what [`Haul::start_reading`] has extracted if it ended so.
    pub(crate) fn finish_reading(&mut self, pair: &mut Pair, output: Output) -> Output {
        if self.way == Way::Channel || output.code != 0 {
            return output;
        }
        let loading = self.start_load(pair, &[]);
        self.finish(pair, loading)
    }

    /// Waits until what was started ends.
    pub(crate) fn finish(&self, pair: &mut Pair, running: Running) -> Output {
        let output = running.wait();
        if self.way == Way::Spool {
            if output.code == 0 {
                self.assert_clean(pair);
            }
            pair.source.start_again();
        }
        output
    }

    /// A call of a command that works on the spool.
    pub(crate) fn spooling(&self, pair: &Pair, verb: &str, args: &[&str]) -> Pghaul {
        let (spool, key) = (self.spool(), self.key());
        let mut all = vec!["--spool", text(&spool)];
        if self.encrypted {
            all.extend(["--encrypt-key-file", text(&key)]);
        }
        all.extend(args);
        self.call(pair, verb, &all)
    }

    /// The spool of the latest beginning.
    pub(crate) fn spool(&self) -> PathBuf {
        self.folder
            .path()
            .join(format!("spool-{}", self.beginnings))
    }

    /// Where it may write temporary files.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.folder.path().join("temporary")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    fn call(&self, pair: &Pair, verb: &str, flags: &[&str]) -> Pghaul {
        let temporary = self.temporary();
        fs::create_dir_all(&temporary).expect("a folder");
        let verbs = verb.split(' ').collect::<Vec<_>>();
        let mut call = pair.pghaul(&self.db, &[&verbs[..], flags].concat());
        call = call.env("TMPDIR", temporary);
        if let Some((name, value)) = self.env {
            call = call.env(name, value);
        }
        if let Some(source) = &self.source {
            call = call.source(source);
        }
        if let Some(target) = &self.target {
            call = call.target(target);
        }
        match self.timeout {
            Some(timeout) => call.timeout(timeout),
            None => call,
        }
    }

    /// Those of these flags of `migrate` that are given to this half.
    fn flags_of<'f>(&self, half: Whose, flags: &[&'f str]) -> Vec<&'f str> {
        let mut kept = Vec::new();
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            let known = FLAGS.iter().find(|(known, ..)| known == flag);
            let (_, value, whose) = known.unwrap_or_else(|| panic!("no {flag} over a spool"));
            let value = if *value { flags.next() } else { None };
            let given = match whose {
                Whose::Both => true,
                Whose::Either => (half == Whose::Load) == self.late,
                whose => *whose == half,
            };
            if given {
                kept.push(*flag);
                kept.extend(value);
            }
        }
        kept
    }

    /// Fails unless the spool is whole, and holds nothing that nobody needs.
    #[track_caller]
    fn assert_clean(&self, pair: &Pair) {
        let checked = self.spooling(pair, "spool check", &[]).run().expect(0);
        let whole = "0 objects are damaged; the extraction is complete";
        assert!(checked.stdout.contains(whole), "{}", checked.stdout);
        let keep: &[&str] = if self.keep { &["--keep"] } else { &[] };
        let collect = || self.spooling(pair, "spool gc", keep).run().expect(0);
        // What was killed leaves files that no entry lists, and its sign of life.
        let undisturbed = self.starts == 2;
        if !undisturbed {
            collect();
        }
        let garbage = collect();
        assert!(garbage.stdout.starts_with("0 files"), "{}", garbage.stdout);
        let there = objects(&self.spool());
        let superfluous = |name: &&String| {
            // That of one of several databases.
            let of_database = name
                .strip_prefix("database/")
                .and_then(|rest| rest.get(7..));
            let name = of_database.unwrap_or(name);
            name.contains('#')
                || undisturbed && name.starts_with("workers/")
                || !self.keep && name.starts_with("parts/")
        };
        let left: Vec<&String> = there.iter().filter(superfluous).collect();
        assert!(left.is_empty(), "left in the spool: {left:?}");
        let temporary = objects(&self.temporary());
        assert!(temporary.is_empty(), "temporary files: {temporary:?}");
    }
}

/// The files in a folder and below, by their names in it.
pub(crate) fn objects(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("a path in the folder");
                found.push(text(name).to_owned());
            }
        }
    }
    found
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths here are UTF-8")
}
