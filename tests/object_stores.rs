//! Spools in object stores: S3 and Azure Blob Storage as emulators speak them, and Google Cloud
//! Storage as far as its requests are those of S3.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::object_store::{Emulator, ObjectStore};
use crate::support::oracle::assert_migrated;
use crate::support::pghaul::Running;
use crate::support::runtime_server::RuntimeServer;
use crate::support::{Pair, Pghaul, fixture};

/// Cuts pgbench's 13 MB of rows into a dozen parts.
const SPLIT: [&str; 2] = ["--split-larger-than", "1MB"];

#[test]
fn a_spool_in_s3_from_extract_to_rm() {
    from_extract_to_rm(Emulator::Localbucket);
}

#[test]
fn a_spool_in_azure_from_extract_to_rm() {
    from_extract_to_rm(Emulator::Azurite);
}

#[test]
fn a_spool_in_google_cloud_storage_from_extract_to_rm() {
    from_extract_to_rm(Emulator::Gcs);
}

/// Two extractors share the parts, and two loaders; whoever comes uninvited is refused.
fn from_extract_to_rm(emulator: Emulator) {
    let store = ObjectStore::start(emulator);
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "d", 1);
    let source = |args: &[&str]| {
        let args = [&["extract"], args, &SPLIT].concat();
        store
            .pghaul(&args, "a/b")
            .source(&pair.source.dsn("d"))
            .spawn()
    };
    let target = |args: &[&str]| store.pghaul(args, "a/b").target(&pair.target.dsn("d"));
    let spool = |command: &str| store.pghaul(&["spool", command], "a/b");

    let nothing = spool("ls").run().expect(2);
    assert!(nothing.stderr.contains("no spool"), "{}", nothing.stderr);
    // The first alone would take half a minute.
    let mut slow = source(&["--jobs", "1", "--rate-limit", "500kB"]);
    wait_until("the plan stands", || {
        assert!(slow.is_running(), "{}", slow.stderr());
        listed(&store, "a/b").0 > 0
    });
    source(&["--help-others"]).wait().expect(0);
    let refused = source(&[]).wait().expect(2);
    assert!(refused.stderr.contains("already"), "{}", refused.stderr);
    slow.wait().expect(0);
    if emulator != Emulator::Azurite {
        assert!(holders(&store.data()) > 1, "the parts were not shared");
    }

    spool("check").run().expect(0);
    let (planned, sealed) = listed(&store, "a/b");
    assert_eq!(planned, sealed);
    let first = target(&["load", "--keep"]).spawn();
    target(&["load", "--help-others", "--keep"]).run().expect(0);
    first.wait().expect(0);
    target(&["verify"]).run().expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");

    let files = || spool("gc").run().expect(0).stdout;
    let (some, none) = (files(), files());
    assert_ne!(some, none, "what is loaded was not removed");
    spool("rm").run().expect(0);
    spool("ls").run().expect(2);
}

#[test]
fn spools_of_a_server_in_s3() {
    spools_of_a_server(Emulator::Localbucket);
}

#[test]
fn spools_of_a_server_in_azure() {
    spools_of_a_server(Emulator::Azurite);
}

/// Agents know nothing of the store behind their server.
fn spools_of_a_server(emulator: Emulator) {
    let mut store = ObjectStore::start(emulator);
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "d", 1);
    let mut server = RuntimeServer::start_over(&store, "hub/spools", &[]);
    // With checks, it would wait for an agent of the target.
    let job = json!({
        "topology": "agents", "option": "migrate", "databases": ["d"],
        "bytesPerSecond": 1_000_000,
    });
    let created = server.create("m", &job);
    let id = created["migrationId"].as_str().expect("an identifier");
    let prefix = format!("hub/spools/{id}/d");
    let (source, target) = (pair.source.dsn("d"), pair.target.dsn("d"));
    let extract = server.agent("extract", "m", &SPLIT).source(&source).spawn();
    wait_until("a part is sealed", || listed(&store, &prefix).1 > 0);
    assert!(!server.state().join("spool").exists(), "it is in the store");

    // The store goes away, and its server with it.
    store.stop();
    server.end("KILL");
    server.start_again();
    store.start_again();
    let sealed = listed(&store, &prefix).1;
    wait_until("another part is sealed", || {
        listed(&store, &prefix).1 > sealed
    });
    let free = json!({ "action": "throttle", "bytesPerSecond": null });
    server.act("m", &free).expect(200);
    let load = server.agent("load", "m", &[]).target(&target).spawn();
    let ended = server.wait_for("m", "Succeeded");
    assert_eq!(ended["verified"], true, "{ended:#}");
    extract.wait().expect(0);
    load.wait().expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");

    store.pghaul(&["spool", "check"], &prefix).run().expect(0);
    server
        .ask("DELETE", "/api/v1/migrations/m", None)
        .expect(204);
    let gone = store.pghaul(&["spool", "ls"], &prefix).run().expect(2);
    assert!(gone.stderr.contains("no spool"), "{}", gone.stderr);
}

#[test]
fn a_store_in_s3_that_goes_away() {
    a_store_that_goes_away(Emulator::Localbucket);
}

#[test]
fn a_store_in_azure_that_goes_away() {
    a_store_that_goes_away(Emulator::Azurite);
}

#[test]
fn a_store_in_google_cloud_storage_that_goes_away() {
    a_store_that_goes_away(Emulator::Gcs);
}

/// Once together with the process that uses it, once alone; while it is filled, and emptied.
fn a_store_that_goes_away(emulator: Emulator) {
    let mut store = ObjectStore::start(emulator);
    let pair = Pair::start();
    fixture::pgbench(&pair.source, "d", 1);
    let extract = |store: &ObjectStore, args: &[&str]| {
        let args = [&["extract", "--jobs", "2"], args, &SPLIT].concat();
        let call = store.pghaul(&args, "it");
        call.source(&pair.source.dsn("d")).spawn()
    };
    let load = |store: &ObjectStore, args: &[&str]| {
        let args = [&["load", "--jobs", "2"], args].concat();
        let call = store.pghaul(&args, "it");
        call.target(&pair.target.dsn("d")).spawn()
    };

    let run = extract(&store, &["--rate-limit", "1MB"]);
    wait_until("a part is sealed", || listed(&store, "it").1 > 0);
    store.stop();
    end(run);
    store.start_again();
    let sealed = listed(&store, "it").1;
    let run = extract(&store, &["--resume", "--rate-limit", "2MB"]);
    wait_until("another part is sealed", || listed(&store, "it").1 > sealed);
    store.interrupt();
    run.wait().expect(0);
    store.pghaul(&["spool", "check"], "it").run().expect(0);

    let loaded = || {
        let count = "SELECT count(*) FROM pghaul.progress WHERE finished_at IS NOT NULL";
        let count = pair.target.try_psql("d", count).unwrap_or_default();
        count.parse::<u32>().unwrap_or(0)
    };
    let run = load(&store, &["--rate-limit", "1MB"]);
    wait_until("a part is loaded", || loaded() > 0);
    store.stop();
    end(run);
    store.start_again();
    let before = loaded();
    let run = load(&store, &["--resume", "--rate-limit", "2MB"]);
    wait_until("another part is loaded", || loaded() > before);
    store.interrupt();
    run.wait().expect(0);
    let verify = store.pghaul(&["verify"], "it");
    verify.target(&pair.target.dsn("d")).run().expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

#[test]
fn wrong_credentials_are_named_and_never_told() {
    let wrong = "d3Jvbmcta2V5";
    for (emulator, mistakes) in [
        (
            Emulator::Nanio,
            &[
                ("AWS_SECRET_ACCESS_KEY", wrong),
                ("AWS_ACCESS_KEY_ID", "nobody"),
            ][..],
        ),
        (Emulator::Azurite, &[("AZURE_STORAGE_ACCOUNT_KEY", wrong)]),
    ] {
        let store = ObjectStore::start(emulator);
        // With the right ones, a look into the empty store is allowed.
        let look = || store.pghaul(&["spool", "ls", "-vv"], "it");
        let nothing = look().run().expect(2);
        assert!(nothing.stderr.contains("no spool"), "{}", nothing.stderr);
        for (name, value) in mistakes {
            let refused = look().env(name, value).run().expect(1);
            let said = format!("{}{}", refused.stdout, refused.stderr);
            assert!(said.contains("the store does not allow it"), "{said}");
            assert!(said.contains("check the credentials"), "{said}");
            for hidden in [wrong, ObjectStore::SECRET] {
                assert!(!said.contains(hidden), "{said}");
            }
        }
    }
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let pair = Pair::start();
    pair.source.create_db("d");
    for emulator in [Emulator::Localbucket, Emulator::Azurite, Emulator::Gcs] {
        let store = ObjectStore::start(emulator);
        let url = store.url("it").replace("spools", "elsewhere");
        let extract = store.pghaul_at(&["extract"], &url);
        let refused = extract.source(&pair.source.dsn("d")).run().expect(1);
        assert!(
            refused.stderr.contains("does not know the bucket"),
            "{}",
            refused.stderr
        );
    }
}

/// Otherwise two processes would each believe that it sealed a part.
#[test]
fn a_store_without_conditions_is_refused() {
    let store = ObjectStore::start(Emulator::Nanio);
    let pair = Pair::start();
    pair.source.create_db("d");
    let extract = store.pghaul(&["extract"], "it");
    let refused = extract.source(&pair.source.dsn("d")).run().expect(1);
    assert!(
        refused.stderr.contains("only if absent"),
        "{}",
        refused.stderr
    );
    store.pghaul(&["spool", "ls"], "it").run().expect(2);
}

#[test]
fn an_unreachable_store_is_named_in_time() {
    let mut store = ObjectStore::start(Emulator::Localbucket);
    store.stop();
    let look = |store: &ObjectStore| {
        let look = store.pghaul(&["spool", "ls"], "it");
        look.timeout(Duration::from_secs(60))
    };
    let failed = |call: Pghaul| {
        let failed = call.run().expect(1);
        let said = failed.stderr;
        assert!(said.contains("the store failed"), "{said}");
        assert!(said.contains("check the network"), "{said}");
    };
    failed(look(&store));
    let extract = store.pghaul(&["extract", "--skip-validation"], "it");
    let extract = extract.source("postgresql://nobody@127.0.0.1:1/d");
    failed(extract.timeout(Duration::from_secs(100)));
    // One that takes the connection and never answers.
    let silent = std::net::TcpListener::bind(store.address()).expect("the port");
    failed(look(&store).env("AWS_TIMEOUT", "2s"));
    drop(silent);
}

#[test]
fn an_encrypted_spool_in_s3_shows_nothing() {
    let store = ObjectStore::start(Emulator::Localbucket);
    let pair = Pair::start();
    pair.source.create_db("d");
    pair.source.psql(
        "d",
        "CREATE TABLE treasure_map (place text DEFAULT 'under_the_palm');
         INSERT INTO treasure_map VALUES ('4d7a1e3b0c9f8265ab'), (DEFAULT)",
    );
    let extract = |prefix, args: &[&str]| {
        let args = [&["extract", "--spool-encoding", "copy"], args].concat();
        let extract = store.pghaul(&args, prefix);
        extract.source(&pair.source.dsn("d")).run().expect(0);
    };
    let key = store.data().with_file_name("key");
    fs::write(&key, "7".repeat(64)).expect("a key");
    let key = ["--encrypt-key-file", key.to_str().expect("UTF-8")];
    extract("open", &[]);
    extract("sealed", &key);
    let bucket = store.data().join("spools");
    for known in ["treasure_map", "4d7a1e3b0c9f8265ab", "under_the_palm"] {
        assert!(shows(&bucket.join("open"), known), "{known}");
        assert!(!shows(&bucket.join("sealed"), known), "{known}");
    }
    let load = store.pghaul(&[&["load"][..], &key].concat(), "sealed");
    load.target(&pair.target.dsn("d")).run().expect(0);
    assert_migrated(&pair.source, "d", &pair.target, "d");
}

/// How many parts are planned, and how many sealed; none while there is no spool.
fn listed(store: &ObjectStore, prefix: &str) -> (usize, usize) {
    let look = store.pghaul(&["spool", "ls", "--output", "json"], prefix);
    let lines = look.run().stdout;
    let lines = lines.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().expect("JSON lines");
    let parts = lines.iter().filter(|line| line["event"] == "part");
    let sealed = parts.clone().filter(|part| part["state"] != "missing");
    (parts.count(), sealed.count())
}

/// How many processes hold claims of parts to extract.
fn holders(data: &Path) -> usize {
    let claims = files(data);
    let claims = claims.filter(|path| path.to_string_lossy().contains("claims/extract"));
    let mut holders: Vec<Vec<u8>> = claims
        .map(|path| fs::read(path).expect("a claim"))
        .collect();
    holders.sort_unstable();
    holders.dedup();
    holders.len()
}

/// Whether a text is in any file of a folder, as it is.
fn shows(folder: &Path, text: &str) -> bool {
    files(folder).any(|path| {
        let content = fs::read(path).expect("a file");
        content
            .windows(text.len())
            .any(|bytes| bytes == text.as_bytes())
    })
}

/// All files below a folder.
fn files(folder: &Path) -> Box<dyn Iterator<Item = std::path::PathBuf>> {
    let entries = fs::read_dir(folder).expect("a folder");
    Box::new(entries.flat_map(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path)
        } else {
            Box::new(std::iter::once(path))
        }
    }))
}

/// Kills a process that had not ended.
fn end(mut run: Running) {
    assert!(run.is_running(), "{}{}", run.stdout(), run.stderr());
    run.signal("KILL");
    drop(run);
}

#[track_caller]
fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !happened() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}
