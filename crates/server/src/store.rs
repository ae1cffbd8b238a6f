//! What must outlive the process: a SQLite file, which one thread owns. Every change is durable
//! once it returns.

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use pghaul_stage::{Error, Kind, Result};
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

/// How the file came to be what it is, step by step. Steps are added, and never changed.
const SCHEMA: &[&str] = &[
    "CREATE TABLE migration (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL UNIQUE,
        job TEXT NOT NULL,
        secrets BLOB NOT NULL,
        created_at TEXT NOT NULL,
        created_by TEXT NOT NULL,
        status TEXT NOT NULL,
        view TEXT
    ) STRICT;",
    include_str!("access/schema.sql"),
    "CREATE TABLE agent_token (
        id TEXT PRIMARY KEY,
        migration TEXT NOT NULL,
        side TEXT NOT NULL,
        expires INTEGER NOT NULL,
        hash BLOB NOT NULL
    ) STRICT;
    CREATE TABLE agent_seat (
        migration TEXT NOT NULL,
        side TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        received INTEGER NOT NULL,
        holder TEXT,
        PRIMARY KEY (migration, side)
    ) STRICT;",
];

/// Calls that may wait for the thread.
const QUEUE: usize = 64;

/// How long another process may keep the file busy.
const BUSY: Duration = Duration::from_secs(10);

type Call = Box<dyn FnOnce(&mut Connection) + Send>;

/// The file. Clones are the same one; it is closed with the last of them.
#[derive(Clone)]
pub struct Store(mpsc::Sender<Call>);

impl Store {
    /// Opens the file, makes it if it is not there, and brings it to this version's schema.
    ///
    /// # Errors
    ///
    /// If it cannot be written, is no such file, or is of a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error: rusqlite::Error| {
            Error::input("the state cannot be opened")
                .on(path.display().to_string())
                .because(error)
        };
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                       PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;";
        connection.execute_batch(pragmas).map_err(failed)?;
        upgrade(&mut connection, path)?;
        let (sender, mut calls) = mpsc::channel::<Call>(QUEUE);
        thread::Builder::new()
            .name("pghaul-store".to_owned())
            .spawn(move || {
                while let Some(call) = calls.blocking_recv() {
                    call(&mut connection);
                }
            })
            .map_err(|error| Error::new(Kind::Permanent, "no thread").because(error))?;
        Ok(Self(sender))
    }

    /// Does something with the file, and waits until it is done. For futures.
    ///
    /// # Errors
    ///
    /// Whatever SQLite refuses.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (call, answer) = package(work);
        self.0.send(call).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(refused)
    }

    /// As [`Store::call`], for threads that may block.
    ///
    /// # Errors
    ///
    /// As [`Store::call`].
    pub fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (call, answer) = package(work);
        self.0.blocking_send(call).map_err(|_| gone())?;
        answer.blocking_recv().map_err(|_| gone())?.map_err(refused)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

fn package<T: Send + 'static>(
    work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
) -> (Call, oneshot::Receiver<rusqlite::Result<T>>) {
    let (answer, answered) = oneshot::channel();
    let call = Box::new(move |connection: &mut Connection| {
        // Whoever asked may have gone, which changes nothing about what was done.
        drop(answer.send(work(connection)));
    });
    (call, answered)
}

/// Takes the steps that the file lacks, each whole or not at all.
fn upgrade(connection: &mut Connection, path: &Path) -> Result<()> {
    let failed = |error: rusqlite::Error| {
        Error::new(
            Kind::Permanent,
            "the state cannot be brought to this version",
        )
        .on(path.display().to_string())
        .because(error)
    };
    let version: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(failed)?;
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    if done > SCHEMA.len() {
        return Err(Error::input("the state is of a newer version of pghaul")
            .on(path.display().to_string())
            .remedy("start that version, or name another --state"));
    }
    for (number, step) in (1_i64..).zip(SCHEMA).skip(done) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(step).map_err(failed)?;
        transaction
            .pragma_update(None, "user_version", number)
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

fn gone() -> Error {
    Error::new(Kind::Permanent, "the state is closed")
}

fn refused(error: rusqlite::Error) -> Error {
    Error::new(Kind::Permanent, "the state cannot be read or written").because(error)
}

/// A row of the table of migrations.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) job: String,
    pub(crate) secrets: Vec<u8>,
    pub(crate) created_at: String,
    pub(crate) created_by: String,
    pub(crate) status: String,
    /// What is said of it, once it has ended.
    pub(crate) view: Option<String>,
}

impl Row {
    /// All of them, in the order in which they were created.
    pub(crate) fn all(connection: &mut Connection) -> rusqlite::Result<Vec<Row>> {
        let mut statement = connection.prepare(
            "SELECT seq, id, name, job, secrets, created_at, created_by, status, view
             FROM migration ORDER BY seq",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Row {
                seq: row.get(0)?,
                id: row.get(1)?,
                name: row.get(2)?,
                job: row.get(3)?,
                secrets: row.get(4)?,
                created_at: row.get(5)?,
                created_by: row.get(6)?,
                status: row.get(7)?,
                view: row.get(8)?,
            })
        })?;
        rows.collect()
    }

    /// Adds it, and gives its number.
    pub(crate) fn insert(&self, connection: &mut Connection) -> rusqlite::Result<i64> {
        connection.execute(
            "INSERT INTO migration (id, name, job, secrets, created_at, created_by, status)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                self.id,
                self.name,
                self.job,
                self.secrets,
                self.created_at,
                self.created_by,
                self.status
            ],
        )?;
        Ok(connection.last_insert_rowid())
    }

    /// Changes what may change of one.
    pub(crate) fn update(
        connection: &mut Connection,
        seq: i64,
        status: &str,
        view: Option<&str>,
    ) -> rusqlite::Result<()> {
        let sql = "UPDATE migration SET status = ?2, view = ?3 WHERE seq = ?1";
        connection
            .execute(sql, params![seq, status, view])
            .map(drop)
    }

    /// Removes one.
    pub(crate) fn delete(connection: &mut Connection, seq: i64) -> rusqlite::Result<()> {
        let sql = "DELETE FROM migration WHERE seq = ?1";
        connection.execute(sql, params![seq]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> Row {
        Row {
            seq: 0,
            id: format!("id of {name}"),
            name: name.to_owned(),
            job: "{}".to_owned(),
            secrets: vec![1, 2],
            created_at: String::new(),
            created_by: String::new(),
            status: "new".to_owned(),
            view: None,
        }
    }

    #[test]
    fn what_was_written_is_there_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let store = Store::open(&path).unwrap();
        let first = store.wait(|file| row("a").insert(file)).unwrap();
        store.wait(|file| row("b").insert(file)).unwrap();
        assert!(
            store.wait(|file| row("a").insert(file)).is_err(),
            "a name is unique"
        );
        store
            .wait(move |file| Row::update(file, first, "done", Some("{}")))
            .unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        let rows = store.wait(Row::all).unwrap();
        let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(
            (rows[0].status.as_str(), rows[0].view.as_deref()),
            ("done", Some("{}"))
        );
        store.wait(move |file| Row::delete(file, first)).unwrap();
        assert_eq!(store.wait(Row::all).unwrap().len(), 1);
        let mode = |sql: &'static str| {
            store.wait(move |file| {
                file.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0))
            })
        };
        assert_eq!(
            mode("PRAGMA journal_mode").unwrap(),
            "wal".to_owned().into()
        );
        assert_eq!(mode("PRAGMA synchronous").unwrap(), 2_i64.into());
    }

    #[test]
    fn a_newer_state_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        drop(Store::open(&path).unwrap());
        let file = Connection::open(&path).unwrap();
        file.pragma_update(None, "user_version", 1000).unwrap();
        assert!(Store::open(&path).unwrap_err().message().contains("newer"));
    }
}
