//! A throwaway PostgreSQL server, and what it says.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use pghaul_codec::Field;
use pghaul_stage::Encoding;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A running server in a folder that vanishes with it.
pub(crate) struct Server {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// Initialises and starts one. `PGHAUL_TEST_BINDIR` names another version's server.
    pub(crate) async fn start() -> Server {
        let bin = bindir();
        let folder = tempfile::Builder::new()
            .prefix("pghaul-codec-")
            .tempdir()
            .unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let data = folder.path().join("data");
        run(as_postgres(&bin.join("initdb"))
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "-A", "trust"])
            .args(["-E", "UTF8", "--no-locale", "--no-sync"]));
        let port = free_port();
        // The kernel stops the server when the thread that started it ends.
        let child = as_postgres(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "fsync=off", "-c", "autovacuum=off"])
            .arg("-k")
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Server {
            child,
            folder,
            port,
        };
        let patience = Instant::now() + Duration::from_secs(30);
        while server.connect("postgres").await.is_none() {
            let log = std::fs::read_to_string(server.folder.path().join("log"));
            assert!(
                Instant::now() < patience,
                "the server did not start: {}",
                log.unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    async fn connect(&self, database: &str) -> Option<Client> {
        let port = self.port;
        let text = format!("host=127.0.0.1 port={port} user=postgres dbname={database}");
        let (client, connection) = tokio_postgres::connect(&text, NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    /// A session of the superuser.
    pub(crate) async fn session(&self, database: &str) -> Client {
        self.connect(database).await.expect("a session")
    }

    /// Makes the tables of `tests/fixtures/values`, one for each type that a column can have, in
    /// the schema `kinds`.
    pub(crate) fn make_every_type(&self) {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/values/types.sql");
        run(Command::new("psql")
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-v", "catalogs=1"])
            .args(["-v", "seed=0.5", "-h", "127.0.0.1", "-U", "postgres"])
            .args(["-p", &self.port.to_string(), "-d", "postgres", "-f"])
            .arg(script));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is the fast shutdown; SIGKILL would leave shared memory behind.
        run(Command::new("kill").args(["-INT", &self.child.id().to_string()]));
        self.child.wait().unwrap();
    }
}

/// The rows of a query's answer, as text.
pub(crate) async fn ask(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await;
    let messages = messages.unwrap_or_else(|error| panic!("{error:?} in: {sql}"));
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .map(|row| {
            (0..row.len())
                .map(|at| row.get(at).map(str::to_owned))
                .collect()
        })
        .collect()
}

/// What the server sends for each row of a query by COPY, without header and trailer; `None` if a
/// type in it has no binary form.
pub(crate) async fn try_copy(
    client: &Client,
    query: &str,
    encoding: Encoding,
) -> Option<Vec<Bytes>> {
    let sql = format!("COPY ({query}) TO STDOUT (FORMAT {encoding})");
    let rows = async { client.copy_out(&sql).await?.try_collect().await };
    // A message holds a row; the header shares the first one.
    let mut rows: Vec<Bytes> = match rows.await {
        Ok(rows) => rows,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_FUNCTION) => return None,
        Err(error) => panic!("{error:?} in: {sql}"),
    };
    if encoding == Encoding::Binary {
        if let Some(first) = rows.first_mut() {
            drop(first.split_to(19));
        }
        let trailer = rows.pop();
        assert_eq!(trailer.as_deref(), Some(&b"\xff\xff"[..]));
    }
    Some(rows)
}

/// The same of types that have a binary form.
pub(crate) async fn copy(client: &Client, query: &str, encoding: Encoding) -> Vec<Bytes> {
    try_copy(client, query, encoding).await.unwrap()
}

/// The columns of a table, as the catalog tells.
pub(crate) async fn fields(client: &Client, table: &str) -> Vec<Field> {
    let sql = format!(
        "WITH RECURSIVE bases (attnum, base) AS ( \
           SELECT attnum, atttypid FROM pg_attribute \
            WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped \
           UNION SELECT b.attnum, y.typbasetype FROM bases b \
             JOIN pg_type y ON y.oid = b.base AND y.typtype = 'd') \
         SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod, \
                CASE WHEN y.typtype = 'e' OR p.prosrc = 'textsend' AND y.oid > 9999 THEN 25 \
                     WHEN y.oid < 10000 THEN y.oid::int8 ELSE 0 END \
           FROM bases b JOIN pg_type y ON y.oid = b.base AND y.typtype <> 'd' \
           JOIN pg_attribute a ON a.attrelid = '{table}'::regclass AND a.attnum = b.attnum \
           LEFT JOIN pg_proc p ON p.oid = y.typsend ORDER BY a.attnum"
    );
    let rows = ask(client, &sql).await;
    rows.into_iter()
        .map(|row| {
            let Ok(
                [
                    Some(name),
                    Some(type_name),
                    Some(oid),
                    Some(modifier),
                    Some(sent_as),
                ],
            ) = <[Option<String>; 5]>::try_from(row)
            else {
                panic!("the catalog knows all of it")
            };
            Field {
                name,
                type_name,
                oid: oid.parse().unwrap(),
                modifier: modifier.parse().unwrap(),
                sent_as: sent_as.parse().unwrap(),
            }
        })
        .collect()
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
