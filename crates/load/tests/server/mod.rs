//! One throwaway PostgreSQL server for all tests of a binary; every test has databases of its
//! own. It ends with the process, however that ends.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use pghaul_wire::{Conninfo, Environment};

/// A running server.
pub(crate) struct Server {
    folder: PathBuf,
    bindir: PathBuf,
    _guard: Child,
}

/// The server's port, part of its socket's name only: it does not listen on TCP.
const PORT: u16 = 5432;

impl Server {
    /// The server of this process.
    pub(crate) fn get() -> &'static Server {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(Server::start)
    }

    fn start() -> Server {
        sweep();
        let bindir = bindir();
        let folder = PathBuf::from(format!("/tmp/pghaul-load-{}", std::process::id()));
        fs::create_dir(&folder).expect("a new folder");
        let guard = guard(&folder);
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(&folder), "");
        }
        let data = folder.join("data");
        let mut initdb = as_server_user(&bindir, "initdb", &[]);
        initdb.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ]);
        run(initdb.arg("--no-sync").arg("-D").arg(&data), "");
        let mut settings = fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .expect("a file");
        write!(
            settings,
            "listen_addresses = ''\nunix_socket_directories = '{}'\nport = {PORT}\n\
             fsync = off\nmax_connections = 200\nautovacuum = off\nshared_buffers = 64MB\n",
            folder.display()
        )
        .expect("settings are written");
        let log = fs::File::create(folder.join("log")).expect("a log file");
        // The kernel stops the server when the thread that started it ends, so that thread
        // stays until the process ends.
        let mut postgres = as_server_user(&bindir, "postgres", &["--pdeathsig", "QUIT"]);
        postgres.arg("-D").arg(&data).stdin(Stdio::null());
        postgres
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        thread::spawn(move || {
            let mut server = postgres
                .spawn()
                .expect("setpriv starts: it is in util-linux");
            drop(server.wait());
        });
        let server = Server {
            folder,
            bindir,
            _guard: guard,
        };
        for _ in 0..600 {
            let mut command = server.client("pg_isready", "postgres");
            if command
                .stdout(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
            {
                return server;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(server.folder.join("log")).unwrap_or_default();
        panic!("the server does not start:\n{log}");
    }

    /// A client program of PostgreSQL's, pointed at this database.
    pub(crate) fn client(&self, program: &str, db: &str) -> Command {
        let mut command = Command::new(self.bindir.join(program));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .arg("-h")
            .arg(&self.folder)
            .args(["-p", "5432", "-U", "postgres", "-d", db]);
        command
    }

    /// What psql prints for these commands, unaligned and without headers.
    pub(crate) fn psql(&self, db: &str, sql: &str) -> String {
        let mut command = self.client("psql", db);
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1"]);
        run(&mut command, sql).trim_end_matches('\n').to_owned()
    }

    /// The bytes that COPY produces, by psql.
    pub(crate) fn copy(&self, db: &str, copy: &str) -> Vec<u8> {
        let mut command = self.client("psql", db);
        let output = command
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", copy])
            .output();
        let output = output.expect("psql runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{copy}: {error}");
        output.stdout
    }

    /// The schema of a database as pg_dump's custom archive.
    pub(crate) fn archive(&self, db: &str) -> Vec<u8> {
        let output = self
            .client("pg_dump", db)
            .args(["-Fc", "-s"])
            .output()
            .expect("pg_dump runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_dump {db}: {error}");
        output.stdout
    }

    /// The parameters of this database.
    pub(crate) fn conninfo(&self, db: &str) -> Conninfo {
        let text = format!(
            "host='{}' port={PORT} user=postgres dbname='{}'",
            self.folder.display(),
            db.replace('\\', "\\\\").replace('\'', "\\'")
        );
        Conninfo::parse_with(&text, &Environment::default()).expect("a conninfo")
    }

    /// A name that no other test has.
    pub(crate) fn name(&self, prefix: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A new, empty database.
    pub(crate) fn database(&self) -> String {
        let name = self.name("db");
        self.psql(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE template0"),
        );
        name
    }
}

/// Runs a command with this input to its end; what it printed. Panics if it fails.
pub(crate) fn run(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let output = thread::scope(|scope| {
        scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
        child.wait_with_output().expect("output")
    });
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{error}\n{input}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn as_server_user(bindir: &Path, program: &str, options: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .current_dir("/")
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC");
    command
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .args(options);
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg("--").arg(bindir.join(program));
    command
}

/// The programs of the newest server that is installed, or of `PGHAUL_PG_BINDIR`.
fn bindir() -> PathBuf {
    if let Some(named) = std::env::var_os("PGHAUL_PG_BINDIR") {
        return named.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse::<u32>().ok()?,
                entry.path(),
            ))
        })
        .filter(|(_, path)| path.join("bin/postgres").exists())
        .max();
    newest
        .map(|(_, path)| path.join("bin"))
        .expect("a PostgreSQL server is installed")
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").expect("/proc is mounted").uid() == 0
}

/// Removes the folder once this process has ended, however that was. In a session of its own it
/// outlives a signal to the whole group of processes.
fn guard(folder: &Path) -> Child {
    let script = "read -r _; for _ in 1 2 3 4 5; do sleep 1; rm -rf \"$0\" && exit; done";
    Command::new("setsid")
        .args(["sh", "-c", script])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setsid starts: it is in util-linux")
}

/// Removes the folders of test processes that are gone, guards included.
fn sweep() {
    for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix("pghaul-load-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
