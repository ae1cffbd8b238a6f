//! Throwaway PostgreSQL servers and certificates.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pghaul_wire::{Conninfo, Environment};

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A running server. It stops when this is dropped, and when the test process dies in any way.
pub(crate) struct Server {
    folder: PathBuf,
    pub(crate) port: u16,
    /// Stops the server as soon as its standard input closes.
    guard: Child,
}

impl Server {
    /// Starts a server with these lines in postgresql.conf and pg_hba.conf.
    pub(crate) fn start(conf: &str, hba: &str) -> Server {
        let folder = base().join(format!("server{}", next()));
        run(Command::new("cp").arg("-a").arg(template()).arg(&folder));
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let settings = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\n\
             fsync = off\nmax_connections = 40\nshared_buffers = 64MB\n{conf}\n",
            folder.display()
        );
        std::fs::write(folder.join("postgresql.auto.conf"), settings).unwrap();
        std::fs::write(folder.join("pg_hba.conf"), hba).unwrap();
        // The shell outlives the tests just long enough to stop the server and clean up.
        let script = format!(
            "{BIN}/postgres -D '{0}' </dev/null >>'{0}/log' 2>&1 & \
             server=$!; read -r _; kill -QUIT $server; wait $server; rm -rf '{0}'",
            folder.display()
        );
        let guard = as_server_user("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server {
            folder,
            port,
            guard,
        };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !Command::new(format!("{BIN}/pg_isready"))
            .args([
                "-q",
                "-h",
                &self.socket_folder(),
                "-p",
                &self.port.to_string(),
            ])
            .status()
            .unwrap()
            .success()
        {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "the server does not start: {log}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn socket_folder(&self) -> String {
        self.folder.display().to_string()
    }

    /// Runs SQL by psql, which is none of our code; returns the unaligned output.
    pub(crate) fn psql(&self, sql: &str) -> String {
        let output = Command::new(format!("{BIN}/psql"))
            .args([
                "-XqAt",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                "postgres",
            ])
            .args([
                "-h",
                &self.socket_folder(),
                "-p",
                &self.port.to_string(),
                "-c",
                sql,
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A conninfo over TCP; the text may replace any part of it.
    pub(crate) fn tcp(&self, text: &str) -> Conninfo {
        parse(&format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres {text}",
            self.port
        ))
    }

    /// A conninfo over the Unix socket.
    pub(crate) fn unix(&self, text: &str) -> Conninfo {
        self.tcp(&format!("host={} {text}", self.socket_folder()))
    }

    /// Stops the server at once, without farewell to its sessions.
    pub(crate) fn stop(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reads a conninfo in surroundings that hold nothing.
pub(crate) fn parse(text: &str) -> Conninfo {
    parse_in(text, &[])
}

/// Reads a conninfo with some variables and an empty home.
pub(crate) fn parse_in(text: &str, variables: &[(&str, &str)]) -> Conninfo {
    let env = Environment {
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        home: None,
        user: Some("postgres".to_owned()),
    };
    Conninfo::parse_with(text, &env).unwrap()
}

/// A server without TLS.
pub(crate) fn plain() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("", "local all all trust\nhost all all all trust\n"))
}

/// A server with TLS and a role for every rule of pg_hba.conf.
pub(crate) fn tls() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let conf = format!(
            "{}ssl_ca_file = '{}'\n",
            ssl_conf("server"),
            certificate("ca.crt")
        );
        let server = Server::start(
            &conf,
            "local   all postgres            trust\n\
             local   all scram,clear         scram-sha-256\n\
             hostssl all only_tls        all trust\n\
             hostnossl all only_plain    all trust\n\
             host    all md5             all md5\n\
             host    all scram           all scram-sha-256\n\
             host    all clear           all password\n\
             hostssl all ann             all cert\n\
             host    all postgres        all trust\n",
        );
        server.psql(
            "SET password_encryption = 'md5'; CREATE ROLE md5 LOGIN PASSWORD 'secret';
             SET password_encryption = 'scram-sha-256';
             CREATE ROLE scram LOGIN PASSWORD 'sécret'; CREATE ROLE clear LOGIN PASSWORD 'secret';
             CREATE ROLE only_tls LOGIN; CREATE ROLE only_plain LOGIN; CREATE ROLE ann LOGIN",
        );
        server
    })
}

/// The lines of postgresql.conf that turn TLS on with one of the certificates.
pub(crate) fn ssl_conf(name: &str) -> String {
    format!(
        "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
        certificate(&format!("{name}.crt")),
        certificate(&format!("{name}.key"))
    )
}

/// The path of a file among the test certificates.
pub(crate) fn certificate(file: &str) -> String {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = base().join("certificates");
        std::fs::create_dir(&folder).unwrap();
        // For each: who signs it (nobody: itself), its common name, its other names, its hash.
        authority(&folder, "ca", "pghaul test CA");
        authority(&folder, "other_ca", "somebody else");
        issue(
            &folder,
            "server",
            "ca",
            "x",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "sha256",
        );
        issue(
            &folder,
            "wrong_name",
            "ca",
            "x",
            "subjectAltName=DNS:elsewhere.example",
            "sha384",
        );
        issue(
            &folder,
            "common_name",
            "ca",
            "localhost",
            "basicConstraints=CA:FALSE",
            "sha512",
        );
        issue(&folder, "version1", "ca", "localhost", "", "sha256");
        issue(
            &folder,
            "ann",
            "ca",
            "ann",
            "basicConstraints=CA:FALSE",
            "sha256",
        );
        issue(
            &folder,
            "mallory",
            "other_ca",
            "ann",
            "basicConstraints=CA:FALSE",
            "sha256",
        );
        authority(&folder, "self_signed", "localhost");
        if is_root() {
            // The server reads its keys as another user.
            run(Command::new("chown")
                .args(["-R", "postgres:postgres"])
                .arg(&folder));
        }
        folder
    });
    folder.join(file).display().to_string()
}

const EC: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
];

/// A certificate that signs itself and may sign others.
fn authority(folder: &Path, name: &str, common: &str) {
    run(openssl(folder)
        .args([
            "req",
            "-x509",
            "-days",
            "2",
            "-subj",
            &format!("/CN={common}"),
        ])
        .args(EC)
        .args([
            "-keyout",
            &format!("{name}.key"),
            "-out",
            &format!("{name}.crt"),
        ]));
}

fn issue(folder: &Path, name: &str, signer: &str, common: &str, extension: &str, hash: &str) {
    let file = |end: &str| format!("{name}.{end}");
    run(openssl(folder)
        .args(["req", "-new", "-subj", &format!("/CN={common}")])
        .args(EC)
        .args(["-keyout", &file("key"), "-out", &file("csr")]));
    std::fs::write(folder.join(file("ext")), extension).unwrap();
    let mut sign = openssl(folder);
    sign.args([
        "x509",
        "-req",
        "-days",
        "2",
        "-CAcreateserial",
        &format!("-{hash}"),
    ])
    .args([
        "-CA",
        &format!("{signer}.crt"),
        "-CAkey",
        &format!("{signer}.key"),
    ])
    .args(["-in", &file("csr"), "-out", &file("crt")]);
    if !extension.is_empty() {
        sign.args(["-extfile", &file("ext")]);
    }
    run(&mut sign);
}

fn openssl(folder: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(folder);
    command
}

/// A data folder to copy, so that initdb runs once.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = base().join("template");
        run(as_server_user(&format!("{BIN}/initdb"))
            .args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(&folder));
        folder
    })
}

/// Where everything is; a guard removes it when this process ends.
fn base() -> &'static Path {
    static BASE: OnceLock<(PathBuf, Child)> = OnceLock::new();
    &BASE
        .get_or_init(|| {
            sweep();
            let name = format!("{PREFIX}{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).unwrap();
            if is_root() {
                run(Command::new("chown").arg("postgres:postgres").arg(&folder));
            }
            // In a session of its own it outlives a signal to the whole group of processes.
            let script = "read -r _; for _ in 1 2 3 4 5; do sleep 1; rm -rf \"$0\" && exit; done";
            let guard = Command::new("setsid")
                .args(["sh", "-c", script])
                .arg(&folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            (folder, guard)
        })
        .0
}

/// How the folders of test processes begin; the rest is the process.
const PREFIX: &str = "pghaul-wire-";

/// Removes the folders of test processes that are gone, guards included.
fn sweep() {
    let entries = std::fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// A scratch folder that this user alone can read.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn next() -> usize {
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// PostgreSQL refuses to run as root.
fn as_server_user(program: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=postgres",
        "--regid=postgres",
        "--clear-groups",
        program,
    ]);
    command.current_dir("/");
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
