//! One database under one snapshot, and sessions that share it.

use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use pghaul_stage::{Error, Kind, Result, Selection, Side};
use pghaul_wire::{Canceller, Chosen, Client, Conninfo, quote, server_error};
use tokio::runtime::Handle;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

/// SQLSTATE of a lock that was not had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// How often a statement is tried when its connection or its server has a passing weakness.
const ATTEMPTS: u32 = 4;

/// How long a reader waits for a lock, in milliseconds, under a snapshot that another session keeps
/// and that has locked every table. Nobody can hold a lock that conflicts, but who waits for one keeps
/// readers out, and waits himself until that session ends, which may be only after the readers.
const LOCK_WAIT: u32 = 10_000;

/// Everything that changes how a value prints, how long a statement may take, or which rows it
/// sees. Parameters that a server does not know are left out by the join.
///
/// `restrict_nonsystem_relation_kind` keeps a table that was swapped for a view, after we saw a
/// table, from running the view's code.
const PINS: &[(&str, &str)] = &[
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
    ("row_security", "off"),
    ("quote_all_identifiers", "off"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("transaction_timeout", "0"),
    ("jit", "off"),
    ("restrict_nonsystem_relation_kind", "view,foreign-table"),
];

/// A database whose state stands still for every session of this side.
#[derive(Debug)]
pub(super) struct Snapshot {
    side: Side,
    info: Conninfo,
    id: String,
    version: u32,
    encoding: String,
    float_digits: i32,
    /// Whether another session keeps the snapshot, and locks.
    given: bool,
    holder: Client,
}

impl Snapshot {
    /// Exports a snapshot and keeps it until this value is dropped. `given` is another session's
    /// snapshot to use instead of the present; it need not outlive this call.
    pub(super) async fn take(info: &Conninfo, side: Side, given: Option<&str>) -> Result<Self> {
        let info = info.with_application_name("pghaul verify");
        let holder = connect(&info, side, 3).await?;
        let sql = format!(
            "{};
             SELECT pg_catalog.pg_export_snapshot(),
                    pg_catalog.current_setting('server_version_num'),
                    pg_catalog.current_setting('server_encoding')",
            begin(given)
        );
        let rows = rows(&holder, &sql).await?;
        let row = one(&rows)?;
        Ok(Self {
            side,
            id: text(row, 0)?.to_owned(),
            version: number(row, 1)?,
            encoding: text(row, 2)?.to_owned(),
            float_digits: 3,
            given: given.is_some(),
            info,
            holder,
        })
    }

    /// Makes floating-point numbers inside composite values print alike on both sides.
    ///
    /// Before PostgreSQL 12 the digits beyond the fifteenth are printed differently; columns of
    /// such types are compared by their binary form instead, see [`image`](super::image).
    pub(super) fn align(a: &mut Self, b: &mut Self) {
        if a.major() != b.major() {
            let oldest = a.version.min(b.version);
            a.print_as_since(oldest);
            b.print_as_since(oldest);
        }
    }

    /// Makes them print as every server does from this version on.
    pub(super) fn print_as_since(&mut self, version: u32) {
        if version < 120_000 {
            self.float_digits = 0;
        }
    }

    /// The search path that this side's sessions begin with.
    pub(super) async fn search_path(&self) -> Result<String> {
        pghaul_wire::search_path(&self.holder).await
    }

    /// What is selected of this side; `lenient` if a pattern may match nothing.
    pub(super) async fn choose(
        &self,
        selection: &Selection,
        path: &str,
        lenient: bool,
    ) -> Result<Chosen> {
        Chosen::resolve(&self.holder, selection, path, lenient).await
    }

    /// How a reader begins.
    fn begin(&self) -> String {
        let begin = begin(Some(&self.id));
        if self.given {
            format!("{begin}; SET LOCAL lock_timeout = {LOCK_WAIT}")
        } else {
            begin
        }
    }

    /// Explains why a reader did not get a lock although nobody can hold one that conflicts.
    async fn overtaken(&self, error: Error) -> Error {
        if !self.given || error.code() != Some(LOCK_NOT_AVAILABLE) {
            return error;
        }
        let sql = "SELECT l.pid FROM pg_catalog.pg_locks l \
                   WHERE NOT l.granted AND l.mode = 'AccessExclusiveLock' \
                     AND l.locktype = 'relation' AND l.database = \
                         (SELECT d.oid FROM pg_catalog.pg_database d \
                           WHERE d.datname = pg_catalog.current_database()) \
                   ORDER BY l.pid LIMIT 1";
        let waiting = rows(&self.holder, sql).await;
        let waiting = waiting.ok().and_then(|rows| {
            let pid: i32 = number(rows.first()?, 0).ok()?;
            Some(pid)
        });
        let Some(pid) = waiting else {
            return error;
        };
        Error::new(
            Kind::Transient,
            format!("server process {pid} waits to lock a table, which keeps readers out"),
        )
        .at(self.side)
        .sqlstate(LOCK_NOT_AVAILABLE)
        .remedy(format!(
            "see its query in pg_stat_activity and cancel it with pg_cancel_backend({pid})"
        ))
        .because(error)
    }

    /// A session that reads under this snapshot.
    pub(super) fn session(&self) -> Session<'_> {
        Session {
            snapshot: self,
            client: None,
        }
    }

    /// Which of both it is.
    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// `server_version_num`.
    pub(super) fn version(&self) -> u32 {
        self.version
    }

    /// The major version, by the numbering since PostgreSQL 10.
    pub(super) fn major(&self) -> u32 {
        self.version / 10_000
    }

    /// The database's encoding.
    pub(super) fn encoding(&self) -> &str {
        &self.encoding
    }

    /// An error if the session that keeps the snapshot is gone, because every other failure then
    /// is only its consequence.
    pub(super) fn check(&self) -> Result<()> {
        if self.holder.is_closed() {
            return Err(Error::new(
                Kind::Permanent,
                "the session that kept the snapshot was closed",
            )
            .at(self.side)
            .remedy("run verify again"));
        }
        Ok(())
    }
}

/// A session under a snapshot. Connects when it is first used, and again after a failure.
#[derive(Debug)]
pub(super) struct Session<'a> {
    snapshot: &'a Snapshot,
    client: Option<Client>,
}

impl<'a> Session<'a> {
    /// What it reads.
    pub(super) fn snapshot(&self) -> &'a Snapshot {
        self.snapshot
    }

    /// The rows of one query.
    ///
    /// Each query has a transaction of its own under the common snapshot, so that the locks of
    /// thousands of tables do not pile up in the server's lock table.
    pub(super) async fn read(&mut self, query: &str) -> Result<Vec<SimpleQueryRow>> {
        let push = |rows: &mut Vec<_>, row| {
            rows.push(row);
            Ok(())
        };
        self.fold(query, || Ok(Vec::new()), push).await
    }

    /// What `step` makes of the rows of one query, of which there may be many, one after the
    /// other; `begun` is where it starts, each time it has to.
    pub(super) async fn fold<T>(
        &mut self,
        query: &str,
        begun: impl Fn() -> Result<T>,
        step: impl Fn(&mut T, SimpleQueryRow) -> Result<()>,
    ) -> Result<T> {
        let sql = format!("{}; {query}; COMMIT", self.snapshot.begin());
        self.persist(|_| sql.clone(), begun, step).await
    }

    /// The rows of statements, some of which are needed only where the session is a new one, which
    /// `sql` is told: the first time, and after a failure.
    async fn persist<T>(
        &mut self,
        sql: impl Fn(bool) -> String,
        begun: impl Fn() -> Result<T>,
        step: impl Fn(&mut T, SimpleQueryRow) -> Result<()>,
    ) -> Result<T> {
        let mut attempt = 1;
        loop {
            let folded = self.try_fold(&sql, begun()?, &step).await;
            let folded = match folded {
                Err(error) => Err(self.snapshot.overtaken(error).await),
                folded => folded,
            };
            match folded {
                Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                    self.snapshot.check()?;
                    tracing::warn!(%error, "it will be read again");
                    tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    async fn try_fold<T>(
        &mut self,
        sql: impl Fn(bool) -> String,
        begun: T,
        step: impl Fn(&mut T, SimpleQueryRow) -> Result<()>,
    ) -> Result<T> {
        let snapshot = self.snapshot;
        let (client, sql) = match self.client.take() {
            Some(client) if !client.is_closed() => (client, sql(false)),
            _ => {
                let digits = snapshot.float_digits;
                let client = connect(&snapshot.info, snapshot.side, digits).await?;
                (client, sql(true))
            }
        };
        let running = Running(Some(client.canceller()));
        let folded = fold(&client, &sql, begun, step).await;
        running.over();
        // A client whose statement failed is dropped with its broken transaction.
        let folded = folded?;
        self.client = Some(client);
        Ok(folded)
    }
}

/// The rows of a query whose order is the same each time, some at a time, because all of them would
/// take too much memory. It has a session of its own, whose transaction stays open.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    session: Session<'a>,
    query: String,
    /// How many rows were read. A new session goes on after them.
    read: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, query: String) -> Self {
        Self {
            session: snapshot.session(),
            query,
            read: 0,
        }
    }

    /// The next rows, at most so many; fewer at the end only.
    pub(super) async fn fetch(&mut self, rows: usize) -> Result<Vec<SimpleQueryRow>> {
        let Self { query, read, .. } = self;
        let begin = self.session.snapshot.begin();
        let sql = |new: bool| {
            let fetch = format!("FETCH FORWARD {rows} FROM found");
            if !new {
                return fetch;
            }
            format!(
                "{begin}; DECLARE found NO SCROLL CURSOR FOR {query}; \
                 MOVE FORWARD {read} IN found; {fetch}"
            )
        };
        let push = |rows: &mut Vec<_>, row| {
            rows.push(row);
            Ok(())
        };
        let found = self.session.persist(sql, || Ok(Vec::new()), push).await?;
        self.read += found.len();
        Ok(found)
    }
}

/// A statement that is stopped on the server when nobody waits for it any more; by itself a
/// server would notice only at the statement's end, which for a large table may be hours away.
struct Running(Option<Canceller>);

impl Running {
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(canceller) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                if let Err(error) = canceller.cancel().await {
                    tracing::debug!("a statement goes on: {error}");
                }
            });
        }
    }
}

async fn connect(info: &Conninfo, side: Side, float_digits: i32) -> Result<Client> {
    let client = Client::connect(info, side).await?;
    let values: Vec<String> = PINS
        .iter()
        .map(|(name, value)| format!("({}, {})", quote::literal(name), quote::literal(value)))
        .collect();
    // The search path comes first, because the operators of what follows are looked up by it,
    // and the timeout, lest a short one end what follows.
    rows(&client, "SET search_path = ''; SET statement_timeout = 0").await?;
    let sql = format!(
        "SET extra_float_digits = {float_digits};
         SELECT pg_catalog.set_config(s.name, p.value, false)
           FROM (VALUES {}) AS p(name, value)
           JOIN pg_catalog.pg_settings s ON s.name = p.name",
        values.join(", ")
    );
    rows(&client, &sql).await?;
    Ok(client)
}

fn begin(snapshot: Option<&str>) -> String {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    match snapshot {
        Some(id) => format!("{begin}; SET TRANSACTION SNAPSHOT {}", quote::literal(id)),
        None => begin.to_owned(),
    }
}

async fn fold<T>(
    client: &Client,
    sql: &str,
    mut folded: T,
    step: impl Fn(&mut T, SimpleQueryRow) -> Result<()>,
) -> Result<T> {
    let failed = |error| server_error(client.side(), error);
    let mut messages = pin!(client.simple_query_raw(sql).await.map_err(failed)?);
    while let Some(message) = messages.try_next().await.map_err(failed)? {
        if let SimpleQueryMessage::Row(row) = message {
            step(&mut folded, row)?;
        }
    }
    Ok(folded)
}

async fn rows(client: &Client, sql: &str) -> Result<Vec<SimpleQueryRow>> {
    let messages = client
        .simple_query(sql)
        .await
        .map_err(|error| server_error(client.side(), error))?;
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .collect())
}

/// The only row of an answer.
pub(super) fn one(rows: &[SimpleQueryRow]) -> Result<&SimpleQueryRow> {
    rows.first().ok_or_else(|| unexpected("no row"))
}

/// A field that may be NULL.
pub(super) fn maybe(row: &SimpleQueryRow, field: usize) -> Result<Option<&str>> {
    row.try_get(field).map_err(|_| unexpected("too few fields"))
}

/// A field that is not NULL.
pub(super) fn text(row: &SimpleQueryRow, field: usize) -> Result<&str> {
    maybe(row, field)?.ok_or_else(|| unexpected("NULL"))
}

/// A field that is a number.
pub(super) fn number<T: std::str::FromStr>(row: &SimpleQueryRow, field: usize) -> Result<T> {
    text(row, field)?
        .parse()
        .map_err(|_| unexpected("something that is no number"))
}

/// A field that is a boolean.
pub(super) fn boolean(row: &SimpleQueryRow, field: usize) -> Result<bool> {
    Ok(text(row, field)? == "t")
}

/// An answer that a catalog query cannot have.
pub(super) fn unexpected(what: &str) -> Error {
    Error::new(
        Kind::Protocol,
        format!("the server answered a catalog query with {what}"),
    )
}
