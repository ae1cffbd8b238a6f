//! Canary passwords: nothing that pghaul writes, stores or starts may show one.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use pghaul_stage::Packed;

use super::{assert_converged, assert_says, gate};
use crate::support::pghaul::Running;
use crate::support::proxy::Proxy;
use crate::support::way::objects;
use crate::support::{Pair, Pghaul, Way, both_ways, oracle, pg};

/// Passwords that must be seen nowhere; the last ones are a role's and objects' on the source.
const CANARIES: [&str; 7] = [
    "canary-of-source",
    "canary-of-target",
    "canary-for-both",
    "canary-of-role",
    "canary-of-mapping",
    "canary-of-server",
    "canary-of-subscription",
];

/// Objects with secrets in them, and one that no record may lack.
const OBJECTS: &str = "
    CREATE FOREIGN DATA WRAPPER elsewhere;
    CREATE SERVER far FOREIGN DATA WRAPPER elsewhere
      OPTIONS (host 'h', api_token 'canary-of-server');
    CREATE USER MAPPING FOR app SERVER far
      OPTIONS (\"user\" 'scott', password 'canary-of-mapping');
    CREATE SUBSCRIPTION listener CONNECTION 'host=/nowhere password=canary-of-subscription'
      PUBLICATION p WITH (connect = false, slot_name = NONE);";

#[track_caller]
fn assert_clean(place: &str, text: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(
            !text.contains(secret.as_str()),
            "{secret} is in {place}:\n{text}"
        );
    }
}

both_ways!(no_secret_anywhere);
fn no_secret_anywhere(way: Way) {
    let mut pair = Pair::start();
    let db = "secret";
    gate::database(&pair, db);
    pair.source.psql(
        db,
        "CREATE ROLE mover LOGIN SUPERUSER PASSWORD 'canary-of-source';
         CREATE ROLE anyone LOGIN SUPERUSER PASSWORD 'canary-for-both';
         CREATE ROLE app LOGIN PASSWORD 'canary-of-role'",
    );
    pair.source.psql(db, OBJECTS);
    pair.target.psql(
        "postgres",
        "CREATE ROLE taker LOGIN SUPERUSER PASSWORD 'canary-of-target'",
    );
    let mut secrets: Vec<String> = CANARIES.map(str::to_owned).into();
    let hashes = "SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL";
    secrets.extend(pair.source.psql(db, hashes).lines().map(str::to_owned));
    secrets.extend(
        pair.target
            .psql("postgres", hashes)
            .lines()
            .map(str::to_owned),
    );

    // Slow enough that each child process is seen.
    let (source, target) = (Proxy::start(&pair.source), Proxy::start(&pair.target));
    source.delay(Duration::from_millis(3));
    let login = |dsn: String, user: &str, password: &str| {
        let (_, rest) = dsn.split_once('@').expect("a user in the URI");
        format!("postgresql://{user}:{password}@{rest}")
    };
    let source_dsn = login(source.dsn(&pair.source, db), "mover", CANARIES[0]);
    let target_dsn = login(target.dsn(&pair.target, db), "taker", CANARIES[1]);
    // With a key, for the secrets are to arrive.
    let haul = way.of(db).source(&source_dsn).target(&target_dsn);
    let mut haul = haul.encrypted().env("PGHAUL_LOG", "trace");
    let temporary = haul.temporary();
    let flags = ["-vv", "--output", "json", "--verify"];
    let mut dumping = match way {
        Way::Channel => haul.start(&mut pair, &flags),
        Way::Spool => haul.start_extract(&pair, &flags),
    };
    let programs = watched(&mut dumping, &temporary, &secrets);
    assert!(
        programs.contains("pg_dump"),
        "pg_dump was not caught: {programs:?}"
    );
    let output = match way {
        Way::Channel => haul.finish(&mut pair, dumping).expect(0),
        Way::Spool => {
            let extracted = dumping.wait().expect(0);
            assert_clean("stdout", &extracted.stdout, &secrets);
            assert_clean("stderr", &extracted.stderr, &secrets);
            let mut loading = haul.start_load(&mut pair, &flags);
            watched(&mut loading, &temporary, &secrets);
            haul.finish(&mut pair, loading).expect(0)
        }
    };
    assert_clean("stdout", &output.stdout, &secrets);
    assert_clean("stderr", &output.stderr, &secrets);
    let left: Vec<_> = fs::read_dir(&temporary).expect("a folder").collect();
    assert!(left.is_empty(), "temporary files are left: {left:?}");
    if way == Way::Spool {
        assert_clean_spool(&haul.spool(), &secrets);
    }

    // What stays on the target: the tables of the record as text, and the archive as a script.
    let mut dump = pair.target.client("pg_dump", db);
    let stored = pg::run(dump.args(["--schema", "pghaul"])).expect("pg_dump");
    assert!(stored.contains("COPY pghaul.migration"), "{stored}");
    assert_clean("the schema pghaul", &stored, &secrets);
    for hex in pair
        .target
        .psql(db, "SELECT encode(archive, 'hex') FROM pghaul.migration")
        .lines()
    {
        let archive = temporary.join("archive");
        let stored = Packed::of_frames(&unhex(hex)).and_then(|packed| packed.unpack());
        fs::write(&archive, stored.expect("frames")).expect("the archive is written");
        let script = pg::run(pg::program("pg_restore").arg("-f-").arg(&archive))
            .expect("a readable archive");
        assert_clean("the archive", &script, &secrets);
        assert!(script.contains("scott"), "the user's name is no secret");
    }
    let found = pair.target.psql(
        db,
        "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'",
    );
    assert!(
        secrets.contains(&found),
        "the role came without its password"
    );
    // The target's own role is not the source's.
    assert_converged(&pair, db);
}

both_ways!(what_has_no_key_has_no_secret);
/// Without a key, a spool holds no secrets, and the load says which are missing; a channel needs
/// none.
fn what_has_no_key_has_no_secret(way: Way) {
    let mut pair = Pair::start();
    let db = "keyless";
    pair.source.create_db(db);
    pair.source
        .psql(db, "CREATE ROLE app LOGIN PASSWORD 'canary-of-role'");
    pair.source.psql(db, OBJECTS);
    let mut secrets: Vec<String> = CANARIES.map(str::to_owned).into();
    let hash = "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'";
    secrets.push(pair.source.psql(db, hash));
    let mut haul = way.of(db);
    let output = haul.run(&mut pair, &[]).expect(0);
    let differences = oracle::differences(&pair.source, db, &pair.target, db);
    if way == Way::Channel {
        assert_eq!(differences, "");
        return;
    }
    assert_clean_spool(&haul.spool(), &secrets);
    let archive = fs::read(haul.spool().join("schema")).expect("the archive");
    let line = archive.iter().position(|byte| *byte == b'\n');
    let file = haul.temporary().join("archive");
    fs::write(&file, &archive[line.expect("a line") + 1..]).expect("the archive is written");
    let script = pg::run(pg::program("pg_restore").arg("-f-").arg(&file));
    let script = script.expect("a readable archive");
    assert_clean("the archive", &script, &secrets);
    assert!(script.contains("scott"), "the user's name is no secret");

    let told = format!("{}{}", output.stdout, output.stderr);
    for lost in [
        "password of role \"app\"",
        "password of user mapping USER MAPPING app SERVER far",
        "api_token of server far",
        "password of subscription listener",
    ] {
        assert!(told.contains(lost), "{lost}: {told}");
    }
    // Nothing else is missing.
    let known = [
        "role \"app\"",
        "canary-of-",
        "OPTIONS",
        "SERVER far",
        "USER MAPPING",
        "SUBSCRIPTION listener",
        "user mapping",
        "foreign server",
        "pg_foreign_server",
        "pg_user_mapping",
        "pg_subscription",
    ];
    let other = |line: &&str| !known.iter().any(|known| line.contains(known));
    let others: Vec<&str> = differences.lines().filter(other).collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// A run that stopped before it had made what holds secrets gets them from the source again.
/// Over a spool without a key there is nobody to ask again.
#[test]
fn secrets_that_are_not_stored_arrive_all_the_same() {
    let pair = Pair::start();
    let db = "stopped";
    pair.source.create_db(db);
    let library = pair.source.socket_dir().join("library.so");
    let original = pg::bindir().join("../lib/lo.so");
    fs::copy(&original, &library).expect("the library of the extension lo");
    pair.source.psql(
        db,
        &format!(
            "CREATE FUNCTION made_before() RETURNS trigger LANGUAGE c AS '{}', 'lo_manage';
             CREATE ROLE app; CREATE TABLE t AS SELECT 1 AS a; {OBJECTS}",
            library.display()
        ),
    );
    fs::remove_file(&library).expect("the library is removed");
    let failed = pair.pghaul(db, &["migrate"]).run().expect(1);
    assert_says(&failed, &["made_before"]);
    assert_eq!(
        pair.target.psql(db, "SELECT count(*) FROM pg_user_mapping"),
        "0"
    );

    fs::copy(&original, &library).expect("the library comes back");
    let resumed = pair.pghaul(db, &["migrate", "--resume"]).run().expect(0);
    assert!(
        !resumed.stderr.contains("arrives without"),
        "{}",
        resumed.stderr
    );
    assert_converged(&pair, db);
}

#[test]
fn no_secret_in_errors() {
    let pair = Pair::start();
    let db = "errors";
    pair.source.create_db(db);
    let secrets: Vec<String> = CANARIES.map(str::to_owned).into();
    let [wrong, second, environment, ..] = CANARIES;
    let port = pair.source.port();
    let right = pair.target.dsn(db);
    let sources = [
        // A wrong password, in each form and place; an unknown host; strings that do not parse.
        format!("postgresql://postgres:{wrong}@127.0.0.1:{port}/{db}"),
        format!("host=127.0.0.1 port={port} user=postgres dbname={db} password={wrong}"),
        format!("postgresql://127.0.0.1:{port}/{db}?user=postgres&password={wrong}"),
        format!("postgresql://postgres@127.0.0.1:{port}/{db}"),
        format!("postgresql://postgres:{wrong}@nowhere.invalid/{db}"),
        format!("postgresql://postgres:{wrong}@127.0.0.1:{wrong}/{db}"),
        format!("postgresql://postgres:{wrong}@127.0.0.1:{port}/{db}?nonsense={second}"),
        format!("postgresql://postgres:{wrong}%zz@127.0.0.1/{db}"),
        format!("host=127.0.0.1 password='{wrong}"),
        format!("host=127.0.0.1 {wrong}"),
        format!("mysql://root:{wrong}@127.0.0.1/{db}"),
    ];
    for source in &sources {
        for verb in ["migrate", "verify", "cleanup"] {
            let output = Pghaul::new(&[verb, "-vv"])
                .source(source)
                .target(&right)
                .env("PGPASSWORD", environment)
                .run();
            assert!(matches!(output.code, 1 | 2), "{source}: {output:?}");
            assert_clean(source, &output.stdout, &secrets);
            assert_clean(source, &output.stderr, &secrets);
        }
    }
    // In argv it is refused, and not repeated either.
    let output = Pghaul::new(&["migrate", "--source", &sources[0], "--target", &right])
        .run()
        .expect(2);
    assert_says(&output, &["PGHAUL_SOURCE"]);
    assert_clean("the refusal", &output.stderr, &secrets);
}

/// Each process that descends from this one, with it: program and command line.
fn family(pid: u32) -> Vec<(String, String)> {
    let mut members = vec![pid];
    let mut known = 0;
    while known < members.len() {
        let tasks = format!("/proc/{}/task", members[known]);
        for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            members.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        known += 1;
    }
    let read = |pid: u32, file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim_end().to_owned()
    };
    members
        .iter()
        .map(|pid| (read(*pid, "comm"), read(*pid, "cmdline")))
        .collect()
}

/// Fails if anyone but the owner could read a file in this folder.
#[track_caller]
fn assert_private(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let mode = metadata.permissions().mode() & 0o777;
        assert!(mode & 0o077 == 0, "{:?} has mode {mode:o}", entry.path());
        if metadata.is_dir() {
            assert_private(&entry.path());
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit") as u8;
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// Watches a run to its end: its command lines, those of its children, and its temporary files.
/// Gives the programs that ran.
#[track_caller]
fn watched(run: &mut Running, temporary: &Path, secrets: &[String]) -> BTreeSet<String> {
    let mut programs = BTreeSet::new();
    while run.is_running() {
        for (program, arguments) in family(run.pid()) {
            assert_clean("a command line", &arguments, secrets);
            programs.insert(program);
        }
        assert_private(temporary);
        thread::sleep(Duration::from_millis(2));
    }
    programs
}

/// Fails if any object of a spool has a secret in it.
#[track_caller]
fn assert_clean_spool(spool: &Path, secrets: &[String]) {
    let names = objects(spool);
    assert!(names.iter().any(|name| name == "catalog"), "{names:?}");
    for name in &names {
        let content = fs::read(spool.join(name)).expect("an object");
        assert_clean(name, &String::from_utf8_lossy(&content), secrets);
    }
}
