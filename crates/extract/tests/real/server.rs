//! A throwaway PostgreSQL cluster, and sessions on it that do not go through our own code.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use pghaul_extract::{Config, PgSource};
use pghaul_stage::{Format, Part, Payload, Result, Silent, Source};
use pghaul_wire::{Conninfo, Environment};
use tokio_postgres::NoTls;

/// A running server in a directory that vanishes with it.
pub(crate) struct Server {
    child: Child,
    directory: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// Initialises and starts one. `PGHAUL_TEST_BINDIR` names another version's programs.
    pub(crate) async fn start() -> Server {
        let bin = bindir();
        let directory = tempfile::Builder::new()
            .prefix("pghaul-extract-")
            .tempdir()
            .unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(directory.path()));
        }
        let data = directory.path().join("data");
        run(Command::new("cp").arg("-a").arg(template(&bin)).arg(&data));
        let port = free_port();
        // The kernel stops the server when the thread that started it ends.
        let child = as_postgres(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args([
                "-c",
                "fsync=off",
                "-c",
                "autovacuum=off",
                "-c",
                "wal_level=logical",
            ])
            .arg("-k")
            .arg(directory.path())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Server {
            child,
            directory,
            port,
        };
        let patience = Instant::now() + Duration::from_secs(30);
        while server.try_connect("postgres", "postgres").await.is_none() {
            assert!(
                Instant::now() < patience,
                "the server did not start: {}",
                server.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    async fn try_connect(&self, user: &str, database: &str) -> Option<tokio_postgres::Client> {
        let text = format!(
            "host=127.0.0.1 port={} user={user} dbname={database}",
            self.port
        );
        let (client, connection) = tokio_postgres::connect(&text, NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    /// A session of the superuser.
    pub(crate) async fn session(&self) -> tokio_postgres::Client {
        self.session_in("postgres").await
    }

    /// A session of the superuser in another database.
    pub(crate) async fn session_in(&self, database: &str) -> tokio_postgres::Client {
        self.try_connect("postgres", database)
            .await
            .expect("the server accepts sessions")
    }

    /// Runs statements as the superuser.
    pub(crate) async fn run(&self, sql: &str) {
        if let Err(error) = self.session().await.batch_execute(sql).await {
            panic!("{error:?} in: {sql}");
        }
    }

    /// The first field of a query's answer, as text.
    pub(crate) async fn ask(&self, sql: &str) -> String {
        let messages = self.session().await.simple_query(sql).await.unwrap();
        let row = messages.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.and_then(|row| row.get(0))
            .unwrap_or_default()
            .to_owned()
    }

    /// What PostgreSQL itself sends for a COPY statement.
    pub(crate) async fn copy(&self, sql: &str) -> Vec<u8> {
        let stream = self.session().await.copy_out(sql).await.unwrap();
        let chunks: Vec<bytes::Bytes> = stream.try_collect().await.unwrap();
        chunks.concat()
    }

    pub(crate) fn info(&self, user: &str) -> Conninfo {
        let text = format!(
            "host=127.0.0.1 port={} user='{user}' dbname=postgres",
            self.port
        );
        Conninfo::parse_with(&text, &Environment::default()).unwrap()
    }

    /// Our source on the database, with the usual configuration.
    pub(crate) async fn source(&self) -> PgSource {
        self.source_with(Config::default()).await
    }

    pub(crate) async fn source_with(&self, config: Config) -> PgSource {
        self.open("postgres", config).await.unwrap()
    }

    pub(crate) async fn open(&self, user: &str, config: Config) -> Result<PgSource> {
        let config = Config {
            target_version: config.target_version.or(Some(150_000)),
            ..config
        };
        PgSource::open(self.info(user), config, Arc::new(Silent)).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is the fast shutdown; SIGKILL would leave shared memory behind.
        run(Command::new("kill").args(["-INT", &self.child.id().to_string()]));
        self.child.wait().unwrap();
    }
}

/// A part's content: the bytes and rows of each slice.
pub(crate) async fn read(source: &PgSource, part: &Part) -> Result<Vec<(Vec<u8>, u64)>> {
    let mut batches = source.read(part, Format::Copy).await?;
    let mut slices = vec![(Vec::new(), 0); part.slices().len().max(2)];
    let mut mark = 0;
    while let Some(batch) = batches.try_next().await? {
        let Payload::Copy(bytes) = batch.payload else {
            panic!("not COPY")
        };
        mark += bytes.len() as u64;
        assert_eq!(batch.mark.0, mark, "marks count bytes");
        let slice = &mut slices[batch.slice as usize];
        slice.0.extend_from_slice(&bytes);
        slice.1 += batch.rows;
    }
    Ok(slices)
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
            let directory = tempfile::tempdir().unwrap();
            if is_root() {
                run(Command::new("chown").arg("postgres").arg(directory.path()));
            }
            let data = directory.path().join("data");
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

fn run(command: &mut Command) {
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
