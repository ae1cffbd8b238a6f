//! `pghaul serve` under test, and a client of its API that shares no code with it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::network::{Network, enter};
use super::object_store::ObjectStore;
use super::pghaul::Running;
use super::run_dir::RunDir;
use super::tls::{Authority, Certificate};
use super::{Cluster, Pair, Pghaul};

/// How long a migration may take to come to some point.
const PATIENCE: Duration = Duration::from_secs(180);

/// A server; killed when dropped.
pub(crate) struct RuntimeServer {
    folder: TempDir,
    flags: Vec<String>,
    running: Option<Running>,
    address: String,
    network: Option<PathBuf>,
    /// What vouches for its certificate, if it speaks TLS.
    authority: Option<PathBuf>,
    env: Vec<(&'static str, String)>,
}

/// Sends what it is given to an address, and prints the answer.
const EXCHANGE: &str = "
import socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
peer.sendall(sys.stdin.buffer.read())
while piece := peer.recv(65536):
    sys.stdout.buffer.write(piece)
";

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The type of the body.
    pub(crate) kind: String,
    /// The status line and the headers.
    pub(crate) head: String,
    /// The body.
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Fails unless the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }
}

/// Migrations outlive a server that is killed. These shall not: nobody will start it again.
impl Drop for RuntimeServer {
    fn drop(&mut self) {
        let Some(mut running) = self.running.take().filter(|_| !thread::panicking()) else {
            return;
        };
        if !running.is_running() {
            return;
        }
        let children = super::pg::children(running.pid());
        drop(running);
        for child in children.iter().filter(|child| super::pg::is_alive(**child)) {
            super::pg::signal(*child, "KILL");
        }
    }
}

impl RuntimeServer {
    /// Starts one with these flags, in a state of its own.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let mut server = Self::new(flags);
        server.start_again();
        server
    }

    /// As [`Self::start`], with a certificate for 127.0.0.1 of this authority.
    pub(crate) fn start_tls(authority: &Authority, flags: &[&str]) -> Self {
        let Certificate { cert, key } = authority.issue("server", &["IP:127.0.0.1"]);
        let [cert, key] = [&cert, &key].map(|path| path.to_str().expect("paths here are UTF-8"));
        let mut server = Self::new(&[flags, &["--tls-cert", cert, "--tls-key", key]].concat());
        server.authority = Some(authority.root());
        server.start_again();
        server
    }

    /// As [`Self::start`], with spools below this prefix of an object store.
    pub(crate) fn start_over(store: &ObjectStore, prefix: &str, flags: &[&str]) -> Self {
        let url = store.url(prefix);
        let mut server = Self::new(&[flags, &["--spool-store", &url]].concat());
        server.env = store.env();
        server.start_again();
        server
    }

    /// As [`Self::start`], in a network.
    pub(crate) fn start_in(network: &Network, flags: &[&str]) -> Self {
        let mut server = Self::new(flags);
        server.network = Some(network.path());
        server.start_again();
        server
    }

    fn new(flags: &[&str]) -> Self {
        Self {
            folder: tempfile::Builder::new()
                .prefix("pghaul-state-")
                .tempdir()
                .expect("a folder"),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            running: None,
            address: String::new(),
            network: None,
            authority: None,
            env: Vec::new(),
        }
    }

    /// Starts it again on the same state, at the same address.
    pub(crate) fn start_again(&mut self) {
        assert!(self.running.is_none(), "the server runs already");
        let state = self
            .state()
            .to_str()
            .expect("paths here are UTF-8")
            .to_owned();
        // Who knew where it was, finds it there again.
        let port = self.address.rsplit_once(':').map_or("0", |(_, port)| port);
        // In a network of its own, it is others who connect.
        let (host, insecure) = match self.network {
            Some(_) => ("0.0.0.0", &["--insecure"][..]),
            None => ("127.0.0.1", &[][..]),
        };
        let listen = format!("{host}:{port}");
        let mut args = vec!["serve", "--state", &state, "--listen", &listen];
        args.extend(insecure);
        args.extend(self.flags.iter().map(String::as_str));
        let mut call = Pghaul::new(&args).env("PGHAUL_PG_BINDIR", super::pg::bindir());
        for (name, value) in &self.env {
            call = call.env(name, value);
        }
        if let Some(network) = &self.network {
            call = call.network_at(network);
        }
        let mut running = call.spawn();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = running.stdout();
            let line = said
                .lines()
                .find_map(|line| line.strip_prefix("listening on "))
                .and_then(|url| url.split_once("://"))
                .map(|(_, address)| address);
            if let Some(address) = line.filter(|_| said.ends_with('\n')) {
                self.address = address.replace("0.0.0.0", "127.0.0.1");
                self.running = Some(running);
                return;
            }
            assert!(running.is_running(), "no server:\n{}", running.stderr());
            assert!(
                Instant::now() < deadline,
                "no server:\n{}",
                running.stderr()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends it a signal and waits for its end; gives what it said.
    pub(crate) fn end(&mut self, signal: &str) -> super::Output {
        let running = self.running.take().expect("the server runs");
        running.signal(signal);
        running.wait()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        self.running
            .as_ref()
            .expect("the server runs")
            .signal(signal);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        let scheme = match self.authority {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}", self.address)
    }

    /// The administrator's token, which is the password of the user `admin`, too.
    pub(crate) fn admin_token(&self) -> String {
        let token = fs::read_to_string(self.state().join("admin.token")).expect("a token");
        token.trim().to_owned()
    }

    /// Its state.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        let running = self.running.as_ref().expect("the server runs");
        running.stdout() + &running.stderr()
    }

    /// How many of the processes that it started still are its own.
    pub(crate) fn children(&self) -> usize {
        let running = self.running.as_ref().expect("the server runs");
        super::pg::children(running.pid()).len()
    }

    /// The directory of a migration's processes.
    pub(crate) fn run_dir(&self, name: &str) -> RunDir {
        let migration = self.get(name);
        let id = migration["migrationId"].as_str().expect("an identifier");
        RunDir::at(&self.state().join("runs").join(id))
    }

    /// Sends a request with the administrator's token.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send(method, path, &self.authorization(), &body)
    }

    /// As [`Self::ask`], of a server that may hang up.
    pub(crate) fn try_ask(&self, method: &str, path: &str) -> std::io::Result<Answer> {
        self.try_send(method, path, &self.authorization(), "")
    }

    fn authorization(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.admin_token())
    }

    /// Sends a request with these header lines.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let answer = self.try_send(method, path, headers, body);
        answer.expect("the server answers")
    }

    fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> std::io::Result<Answer> {
        let answer = self.exchange(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        ))?;
        let (head, text) = answer
            .split_once("\r\n\r\n")
            .ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).expect("a status");
        let kind = head
            .lines()
            .find_map(|line| line.strip_prefix("content-type: "));
        Ok(Answer {
            status: status.parse().expect("a number"),
            kind: kind.unwrap_or_default().to_owned(),
            head: head.to_owned(),
            text: text.to_owned(),
        })
    }

    /// An agent of a side of a migration, with these further arguments, and how it was let in.
    pub(crate) fn agent(&self, verb: &str, name: &str, args: &[&str]) -> Pghaul {
        let side = if verb == "extract" {
            "source"
        } else {
            "target"
        };
        let token = self.agent_token(name, &json!({ "side": side }));
        self.agent_with(verb, name, args, &token)
    }

    /// As [`Self::agent`], with this token.
    pub(crate) fn agent_with(&self, verb: &str, name: &str, args: &[&str], token: &str) -> Pghaul {
        let spool = format!("relay+{}/{name}", self.url());
        let args = [&[verb, "--spool", &spool], args].concat();
        Pghaul::new(&args)
            .env("PGHAUL_TOKEN", token)
            .env("PGHAUL_PG_BINDIR", super::pg::bindir())
            .timeout(PATIENCE)
    }

    /// A token for agents.
    #[track_caller]
    pub(crate) fn agent_token(&self, name: &str, asked: &Value) -> String {
        let path = format!("/api/v1/migrations/{name}/tokens");
        let issued = self.ask("POST", &path, Some(asked)).expect(201);
        issued["token"].as_str().expect("a token").to_owned()
    }

    /// The agents that the server knows, the newest first.
    pub(crate) fn agents(&self) -> Vec<Value> {
        let list = self.ask("GET", "/api/v1/agents", None).expect(200);
        list["value"].as_array().expect("a list").clone()
    }

    fn exchange(&self, request: &str) -> std::io::Result<String> {
        if let Some(network) = &self.network {
            let (host, port) = self.address.rsplit_once(':').expect("an address");
            let mut python = enter(Some(network), "python3");
            let asking = python.args(["-c", EXCHANGE, host, port]);
            return super::pg::run_with_input(asking, request).map_err(std::io::Error::other);
        }
        if let Some(authority) = &self.authority {
            let mut openssl = Command::new("openssl");
            openssl.args([
                "s_client",
                "-quiet",
                "-verify_return_error",
                "-verify_quiet",
            ]);
            openssl
                .arg("-CAfile")
                .arg(authority)
                .args(["-connect", &self.address]);
            return super::pg::run_with_input(&mut openssl, request).map_err(std::io::Error::other);
        }
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Creates a migration.
    #[track_caller]
    pub(crate) fn create(&self, name: &str, job: &Value) -> Value {
        let path = format!("/api/v1/migrations/{name}");
        self.ask("PUT", &path, Some(job)).expect(201)
    }

    /// A migration.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> Value {
        self.ask("GET", &format!("/api/v1/migrations/{name}"), None)
            .expect(200)
    }

    /// Acts on a migration.
    pub(crate) fn act(&self, name: &str, body: &Value) -> Answer {
        self.ask("PATCH", &format!("/api/v1/migrations/{name}"), Some(body))
    }

    /// Waits until something holds of a migration, and gives it.
    #[track_caller]
    pub(crate) fn wait(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let migration = self.get(name);
            if holds(&migration) {
                return migration;
            }
            let late = Instant::now() > deadline;
            if late || !is_active(&migration) {
                let log = self.ask("GET", &format!("/api/v1/migrations/{name}/logs"), None);
                panic!(
                    "waiting until {what}: {migration:#}\n{}\n{}",
                    log.text,
                    self.said()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a migration has ended in this state, and gives it.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str, state: &str) -> Value {
        self.wait(name, state, |migration| {
            migration["currentStatus"]["state"] == state
        })
    }
}

/// Whether a migration has not ended.
pub(crate) fn is_active(migration: &Value) -> bool {
    let state = &migration["currentStatus"]["state"];
    state == "InProgress" || state == "WaitingForUserAction"
}

/// One end of a job: this cluster, over TCP.
pub(crate) fn end(cluster: &Cluster) -> Value {
    json!({
        "host": "127.0.0.1", "port": cluster.port(), "user": "postgres",
        "password": Cluster::PASSWORD,
    })
}

/// A job for these databases.
pub(crate) fn job(pair: &Pair, databases: &[&str], more: Value) -> Value {
    let mut job = json!({
        "source": end(&pair.source), "target": end(&pair.target), "databases": databases,
    });
    for (key, value) in more.as_object().expect("an object") {
        job[key] = value.clone();
    }
    job
}

/// Every file below a directory, with its content.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)
        .expect("a directory")
        .filter_map(Result::ok)
    {
        let path = entry.path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if let Ok(content) = fs::read(&path) {
            files.push((path, content));
        }
    }
    files
}
