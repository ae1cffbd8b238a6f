//! A throwaway PostgreSQL server for the tests of a crate, and sessions on it that do not go through
//! our own code. Crates take this file in by its path, and add what they ask the server for.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

/// A running server in a folder that vanishes with it.
pub(crate) struct Server {
    child: Child,
    folder: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Server {
    /// Initialises and starts one. `PGHAUL_TEST_BINDIR` names another version's programs.
    pub(crate) async fn start() -> Self {
        let bin = bindir();
        let folder = new_folder();
        let data = folder.path().join("data");
        run(Command::new("cp").arg("-a").arg(template(&bin)).arg(&data));
        let port = free_port();
        let mut command = as_postgres(&bin.join("postgres"));
        command
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "fsync=off", "-c", "autovacuum=off"])
            .args(["-c", "wal_level=logical", "-k"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .stdin(Stdio::null());
        let server = Server {
            child: command.spawn().unwrap(),
            folder,
            port,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while server.try_session("postgres").await.is_none() {
            assert!(
                Instant::now() < deadline,
                "the server does not start: {}",
                std::fs::read_to_string(server.folder.path().join("log")).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    /// A session of the superuser in a database.
    pub(crate) async fn session_in(&self, database: &str) -> Client {
        let session = self.try_session(database).await;
        session.expect("the server accepts sessions")
    }

    async fn try_session(&self, database: &str) -> Option<Client> {
        let port = self.port;
        let text = format!("host=127.0.0.1 port={port} user=postgres dbname={database}");
        let (client, connection) = tokio_postgres::connect(&text, NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is the fast shutdown; SIGKILL would leave shared memory behind.
        run(Command::new("kill").args(["-INT", &self.child.id().to_string()]));
        self.child.wait().unwrap();
    }
}

/// A data directory to copy, which is ten times faster than making one.
fn template(bin: &Path) -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let version = Command::new(bin.join("postgres"))
            .arg("--version")
            .output()
            .unwrap();
        let name = String::from_utf8(version.stdout)
            .unwrap()
            .replace([' ', '(', ')', '\n'], "_");
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if !kept.exists() {
            let folder = new_folder();
            let data = folder.path().join("data");
            run(as_postgres(&bin.join("initdb"))
                .arg("-D")
                .arg(&data)
                .args(["-U", "postgres", "-A", "trust"])
                .args(["-E", "UTF8", "--no-locale", "--no-sync"]));
            // Aside first, so that nobody takes a half copied one.
            let aside = kept.with_extension(std::process::id().to_string());
            run(Command::new("cp").arg("-a").arg(&data).arg(&aside));
            if std::fs::rename(&aside, &kept).is_err() {
                std::fs::remove_dir_all(&aside).unwrap();
            }
        }
        kept
    })
}

/// A folder that the server's user may write.
fn new_folder() -> tempfile::TempDir {
    let prefix = concat!(env!("CARGO_PKG_NAME"), "-");
    let folder = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
    if is_root() {
        run(Command::new("chown").arg("postgres").arg(folder.path()));
    }
    folder
}

fn bindir() -> PathBuf {
    std::env::var_os("PGHAUL_TEST_BINDIR").map_or_else(
        || PathBuf::from("/usr/lib/postgresql/15/bin"),
        PathBuf::from,
    )
}

/// A program run by a user that PostgreSQL accepts: not root.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg("--pdeathsig=INT").arg(program).current_dir("/");
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
