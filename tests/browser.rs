//! The dashboard in a real browser. Each case is in `browser/`, where Chromium is driven; it fails
//! if the browser has anything to complain about, as what the content security policy forbids.

mod pictures;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Map, Value, json};

use crate::support::oracle::assert_migrated;
use crate::support::runtime_server::{self, RuntimeServer};
use crate::support::{Pair, fixture};

/// A name that runs a script wherever it is taken for markup.
const MARKUP: &str = "<img src=x onerror=pwned=1>";

/// Lasts for a couple of seconds with these fixtures, long enough to be seen copying.
const SLOW: &str = "3 MB";

/// One case in a browser.
struct Case<'a> {
    name: &'a str,
    settings: Map<String, Value>,
}

impl<'a> Case<'a> {
    fn new(name: &'a str, server: &RuntimeServer, pair: &Pair) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| repository.join("target"));
        let settings = json!({
            "url": format!("http://{}/", server.address()),
            "user": "admin",
            "password": server.admin_token(),
            "modules": target.join("browser/node_modules"),
            "chromium": chromium(),
            "patience": 120_000,
            "name": "first-move",
            "limit": SLOW,
            "source": runtime_server::end(&pair.source),
            "target": runtime_server::end(&pair.target),
        });
        let Value::Object(settings) = settings else {
            unreachable!("it is an object");
        };
        Self { name, settings }
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.settings.insert(key.to_owned(), value);
        self
    }

    fn start(&self) -> Child {
        let drive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/browser/drive.mjs");
        let mut command = Command::new("setpriv");
        let mut child = command
            .args(["--pdeathsig", "KILL", "--", "node"])
            .arg(drive)
            .arg(self.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let settings = Value::Object(self.settings.clone()).to_string();
        stdin
            .write_all(settings.as_bytes())
            .expect("it reads its settings");
        child
    }

    fn run(&self) {
        finish(self.start());
    }
}

fn chromium() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("chromium"))
        .find(|program| program.exists())
        .expect("chromium is installed: scripts/setup browser")
}

#[track_caller]
fn finish(mut browser: Child) {
    let status = browser.wait().expect("it can be waited for");
    assert!(
        status.success(),
        "the case in the browser failed; see above"
    );
}

/// A database with enough rows to be watched, and one whose name is markup.
fn databases(pair: &Pair) -> [&'static str; 2] {
    fixture::pgbench(&pair.source, "bench", 1);
    pair.source.create_db(MARKUP);
    let create = format!(
        "CREATE TABLE \"{MARKUP}\" (id int PRIMARY KEY, \"<b>\" text);
         INSERT INTO \"{MARKUP}\" SELECT n, '{MARKUP}' FROM generate_series(1, 1234) AS n;
         COMMENT ON TABLE \"{MARKUP}\" IS '{MARKUP}'"
    );
    pair.source.psql(MARKUP, &create);
    ["bench", MARKUP]
}

/// The exact number of rows of every table, as the source's server says.
fn rows(pair: &Pair, db: &str) -> Value {
    let names = "SELECT format('%I.%I', schemaname, relname) FROM pg_stat_user_tables";
    let tables = pair.source.psql(db, names);
    let of = |name: &str| {
        let count = pair
            .source
            .psql(db, &format!("SELECT count(*) FROM {name}"));
        (name.to_owned(), Value::String(count))
    };
    tables.lines().map(of).collect::<Map<_, _>>().into()
}

#[test]
fn a_migration_from_the_wizard_to_its_end() {
    let pair = Pair::start();
    let databases = databases(&pair);
    let server = RuntimeServer::start(&[]);
    let tables: Map<_, _> = databases
        .iter()
        .map(|db| ((*db).to_owned(), rows(&pair, db)))
        .collect();
    Case::new("wizard", &server, &pair)
        .with("databases", json!(databases))
        .with("tables", tables.into())
        .run();
    for db in databases {
        assert_migrated(&pair.source, db, &pair.target, db);
    }
}

#[test]
fn a_migration_by_keyboard_alone_is_canceled_in_two_steps() {
    let pair = Pair::start();
    databases(&pair);
    let server = RuntimeServer::start(&[]);
    Case::new("keyboard", &server, &pair)
        .with("databases", json!(["bench"]))
        .with("limit", json!("200 kB"))
        .run();
}

/// Adds a user of the server's who has this role, and gives what to sign in with.
fn user(server: &RuntimeServer, name: &str, role: &str) -> Value {
    let password = format!("the password of {name}");
    let body = json!({ "role": role, "password": password });
    let path = format!("/api/v1/users/{name}");
    let added = server.ask("PUT", &path, Some(&body));
    assert!((200..300).contains(&added.status), "{}", added.text);
    json!({ "user": name, "password": password })
}

#[test]
fn a_role_is_offered_what_it_may_do_and_nothing_else() {
    let pair = Pair::start();
    pair.source.create_db("a");
    let server = RuntimeServer::start(&[]);
    server.create("ended", &runtime_server::job(&pair, &["a"], json!({})));
    server.wait_for("ended", "Succeeded");
    let agents = json!({ "topology": "agents", "databases": ["a"] });
    server.create("open", &agents);
    Case::new("roles", &server, &pair)
        .with("open", json!("open"))
        .with("ended", json!("ended"))
        .with(
            "users",
            json!({
                "viewer": user(&server, "vera", "viewer"),
                "operator": user(&server, "olga", "operator"),
                "admin": user(&server, "ada", "admin"),
            }),
        )
        .run();
    let open = server.get("open");
    assert_eq!(open["paused"], true, "an operator has paused it");
    server.get("ended");
}

#[test]
fn a_server_that_goes_away_is_told_until_it_is_back() {
    let pair = Pair::start();
    let mut server = RuntimeServer::start(&[]);
    let mut browser = Case::new("away", &server, &pair).start();
    let said = BufReader::new(browser.stdout.take().expect("a pipe"));
    for line in said.lines() {
        match line.expect("text").as_str() {
            "stop" => drop(server.end("KILL")),
            "start" => server.start_again(),
            other => panic!("the case says {other:?}"),
        }
    }
    finish(browser);
}
