//! Finds and removes what pghaul left on either side.
//!
//! On both sides: sessions still connected, replication slots, publications and replication
//! origins, and databases of benchmarks, all known by their name. On the target also the schema `pghaul`, the record of the
//! migration. Roles that a migration created stay, because the migrated database needs them.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use pghaul_stage::{Error, Kind, Result, Side};
use pghaul_wire::{Client, Conninfo, quote, server_error};
use serde::Serialize;
use tokio_postgres::Row;

use crate::role::{Joined, MEMBER};
use crate::scratch;
use crate::session::PINNED;

/// The name of the sessions that clean up, which are no leftovers themselves.
const NAME: &str = "pghaul cleanup";

/// How long a terminated session may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something of pghaul's that is still on a server. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// Where it is.
    #[serde(serialize_with = "side")]
    pub side: Side,
    /// What it is.
    #[serde(flatten)]
    pub trace: Trace,
}

/// The kinds of leftovers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Trace {
    /// A session of this database.
    Session {
        /// Its server process.
        pid: i32,
        /// The name it goes by: `pghaul`, and on the target the migration.
        name: String,
        /// When it was opened, as text in UTC.
        since: String,
    },
    /// A replication slot: of this database, or a physical one, which belongs to the server.
    Slot {
        /// Its name.
        name: String,
        /// Whether somebody reads from it.
        active: bool,
    },
    /// A publication.
    Publication {
        /// Its name.
        name: String,
    },
    /// A replication origin. Origins belong to the whole server.
    Origin {
        /// Its name.
        name: String,
    },
    /// A database that a benchmark made. It may be of anybody who benchmarks on that server.
    Scratch {
        /// Its name.
        name: String,
        /// Sessions in it.
        sessions: i64,
    },
    /// The schema `pghaul`.
    Record {
        /// The migrations that it remembers.
        migrations: Vec<Migration>,
    },
}

/// What the record says about one migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migration {
    /// Its identifier.
    pub id: String,
    /// When it began, as text in UTC.
    pub since: String,
    /// Whether it is complete.
    pub complete: bool,
    /// Parts that are on the target.
    pub durable: i64,
    /// Parts that it has.
    pub parts: i64,
}

impl Leftover {
    /// Why it is removed only on request, if removing it can do harm.
    pub fn risk(&self) -> Option<&'static str> {
        match &self.trace {
            Trace::Session { .. } | Trace::Slot { active: true, .. } => {
                Some("it may belong to a migration that is running")
            }
            Trace::Scratch { sessions: 1.., .. } => Some("a benchmark may be running"),
            Trace::Record { migrations } if migrations.iter().any(|m| !m.complete) => {
                Some("without it the migration cannot be resumed")
            }
            _ => None,
        }
    }

    /// Whether it belongs to the whole server, so that every database of it shows it.
    pub fn is_servers(&self) -> bool {
        matches!(self.trace, Trace::Slot { .. } | Trace::Origin { .. })
    }

    /// The order of removal: what holds others comes first.
    fn rank(&self) -> u8 {
        match &self.trace {
            Trace::Session { .. } => 0,
            Trace::Slot { .. } => 1,
            Trace::Publication { .. } => 2,
            Trace::Origin { .. } => 3,
            Trace::Scratch { .. } => 4,
            Trace::Record { .. } => 5,
        }
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.side)?;
        match &self.trace {
            Trace::Session { pid, name, since } => {
                write!(f, "session {pid} ({name:?}) connected since {since}")
            }
            Trace::Slot { name, active } => {
                let active = if *active { ", in use" } else { "" };
                write!(f, "replication slot {name:?}{active}")
            }
            Trace::Publication { name } => write!(f, "publication {name:?}"),
            Trace::Origin { name } => write!(f, "replication origin {name:?}"),
            Trace::Scratch { name, .. } => write!(f, "database {name:?} of a benchmark"),
            Trace::Record { migrations } => {
                f.write_str("schema pghaul")?;
                for (i, migration) in migrations.iter().enumerate() {
                    f.write_str(if i == 0 { " with " } else { " and " })?;
                    write!(f, "{migration}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            since,
            durable,
            parts,
            ..
        } = self;
        if self.complete {
            write!(f, "the complete migration {id} of {since}")
        } else {
            write!(
                f,
                "the unfinished migration {id} of {since}, {durable} of {parts} parts done"
            )
        }
    }
}

/// Lists what pghaul left on the given sides. Changes nothing.
///
/// # Errors
///
/// When a server cannot be reached or does not answer.
pub async fn leftovers(
    source: Option<&Conninfo>,
    target: Option<&Conninfo>,
) -> Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for (info, side) in [(source, Side::Source), (target, Side::Target)] {
        if let Some(info) = info {
            let client = connect(info, side).await?;
            found.extend(list(&client).await?);
        }
    }
    Ok(found)
}

/// Refuses to remove leftovers with a [`risk`](Leftover::risk), unless `force` allows it.
///
/// # Errors
///
/// [`Kind::Input`] for the first of them.
pub fn refuse(leftovers: &[Leftover], force: bool) -> Result<()> {
    for leftover in leftovers {
        match leftover.risk() {
            Some(risk) if !force => {
                return Err(Error::input(format!("not removed, because {risk}"))
                    .on(leftover.to_string())
                    .remedy("use --force to remove it all the same"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes leftovers; what is gone already counts as removed. `force` allows those with a
/// [`risk`](Leftover::risk).
///
/// # Errors
///
/// [`Kind::Input`] before anything is removed, if one has a risk and `force` is not set, or if
/// its side is not given. Otherwise what the server reports, for example that the schema
/// `pghaul` holds objects of somebody else.
pub async fn remove(
    source: Option<&Conninfo>,
    target: Option<&Conninfo>,
    leftovers: &[Leftover],
    force: bool,
) -> Result<()> {
    refuse(leftovers, force)?;
    let mut ordered: Vec<&Leftover> = leftovers.iter().collect();
    ordered.sort_by_key(|leftover| leftover.rank());
    for (info, side) in [(source, Side::Source), (target, Side::Target)] {
        let mut here = ordered.iter().filter(|l| l.side == side).peekable();
        if here.peek().is_none() {
            continue;
        }
        let info = info.ok_or_else(|| Error::input("its server is not given").at(side))?;
        let client = connect(info, side).await?;
        for leftover in here {
            drop_one(&client, &leftover.trace)
                .await
                .map_err(|error| error.on(leftover.to_string()))?;
        }
    }
    Ok(())
}

async fn connect(info: &Conninfo, side: Side) -> Result<Client> {
    let client = Client::connect(&info.with_application_name(NAME), side).await?;
    client
        .batch_execute(PINNED)
        .await
        .map_err(|error| server_error(side, error))?;
    Ok(client)
}

async fn list(client: &Client) -> Result<Vec<Leftover>> {
    let mut traces = Vec::new();
    let sessions = format!(
        "SELECT pid, application_name, backend_start::text FROM pg_stat_activity
          WHERE datname = current_database() AND application_name ~ '^pghaul( |$)'
            AND application_name <> '{NAME}' AND pid <> pg_backend_pid()
          ORDER BY backend_start"
    );
    for row in query(client, &sessions).await? {
        traces.push(Trace::Session {
            pid: field(&row, 0)?,
            name: field(&row, 1)?,
            since: field(&row, 2)?,
        });
    }
    // An underscore or a hyphen ends the name, so that another tool's pghauler_x is not ours.
    let slots = "SELECT slot_name::text, active FROM pg_replication_slots
                  WHERE coalesce(database, current_database()) = current_database()
                    AND slot_name ~ '^pghaul(_|-|$)' ORDER BY 1";
    for row in query(client, slots).await? {
        traces.push(Trace::Slot {
            name: field(&row, 0)?,
            active: field(&row, 1)?,
        });
    }
    let publications = "SELECT pubname::text FROM pg_publication
                         WHERE pubname ~ '^pghaul(_|-|$)' ORDER BY 1";
    for row in query(client, publications).await? {
        traces.push(Trace::Publication {
            name: field(&row, 0)?,
        });
    }
    let origins = "SELECT roname FROM pg_replication_origin
                    WHERE roname ~ '^pghaul(_|-|$)' ORDER BY 1";
    for row in query(client, origins).await? {
        traces.push(Trace::Origin {
            name: field(&row, 0)?,
        });
    }
    for (name, sessions) in scratch::list(client).await? {
        traces.push(Trace::Scratch { name, sessions });
    }
    if client.side() == Side::Target
        && let Some(migrations) = record(client).await?
    {
        traces.push(Trace::Record { migrations });
    }
    let side = client.side();
    Ok(traces
        .into_iter()
        .map(|trace| Leftover { side, trace })
        .collect())
}

/// The migrations in the schema `pghaul`, if there is such a schema.
async fn record(client: &Client) -> Result<Option<Vec<Migration>>> {
    let exists = "SELECT to_regclass('pghaul.migration') IS NOT NULL
                     AND to_regclass('pghaul.progress') IS NOT NULL
                    FROM pg_namespace WHERE nspname = 'pghaul'";
    let Some(row) = query(client, exists).await?.into_iter().next() else {
        return Ok(None);
    };
    if !field::<bool>(&row, 0)? {
        return Ok(Some(Vec::new()));
    }
    let migrations = "SELECT m.id::text, m.created_at::text, m.state = 'complete',
                (SELECT count(*) FROM pghaul.progress p WHERE p.migration = m.id),
                coalesce(json_array_length(m.plan -> 'parts'), 0)::bigint
           FROM pghaul.migration m ORDER BY m.created_at";
    let rows = query(client, migrations).await?;
    let migrations = rows.iter().map(|row| {
        Ok(Migration {
            id: field(row, 0)?,
            since: field(row, 1)?,
            complete: field(row, 2)?,
            durable: field(row, 3)?,
            parts: field(row, 4)?,
        })
    });
    Ok(Some(migrations.collect::<Result<_>>()?))
}

async fn drop_one(client: &Client, trace: &Trace) -> Result<()> {
    let failed = |error| server_error(client.side(), error);
    match trace {
        Trace::Session { pid, name, .. } => end_session(client, *pid, name).await,
        Trace::Slot { name, .. } => {
            let reader = "SELECT a.pid, a.application_name
                            FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid
                           WHERE s.slot_name::text = $1";
            for row in client.query(reader, &[name]).await.map_err(failed)? {
                let application: String = field(&row, 1)?;
                end_session(client, field(&row, 0)?, &application).await?;
            }
            let sql = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
                        WHERE slot_name::text = $1";
            client.execute(sql, &[name]).await.map_err(failed)?;
            Ok(())
        }
        Trace::Publication { name } => {
            let name = pghaul_wire::quote::ident(name);
            let sql = format!("DROP PUBLICATION IF EXISTS {name}");
            client.batch_execute(&sql).await.map_err(failed)
        }
        Trace::Origin { name } => {
            let sql = "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin
                        WHERE roname = $1";
            client.execute(sql, &[name]).await.map_err(failed)?;
            Ok(())
        }
        Trace::Scratch { name, .. } => scratch::remove(client, name).await,
        Trace::Record { .. } => drop_record(client).await,
    }
}

/// The statements that end the memberships of a loading role that was no superuser. Those that
/// were ended already, or whose roles are gone, need none.
async fn memberships(client: &Client) -> Result<Vec<String>> {
    let steps = "SELECT DISTINCT step FROM pghaul.step WHERE left(step, length($1)) = $1";
    let there = "SELECT to_regclass('pghaul.step') IS NOT NULL";
    let there = query(client, there).await?;
    if there.first().is_none_or(|row| !row.get::<_, bool>(0)) {
        return Ok(Vec::new());
    }
    let steps = client.query(steps, &[&MEMBER]).await;
    let steps = steps.map_err(|error| server_error(Side::Target, error))?;
    // Who has granted it matters to nobody but a superuser, who would revoke what superusers granted.
    let granted = "SELECT CASE WHEN u.rolname <> current_user
                AND current_setting('server_version_num')::int >= 160000
                THEN format(' GRANTED BY %I', g.rolname) ELSE '' END
        FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.roleid
        JOIN pg_roles AS u ON u.oid = m.member LEFT JOIN pg_roles AS g ON g.oid = m.grantor
        WHERE r.rolname = $1 AND u.rolname = $2
          AND (current_setting('server_version_num')::int < 160000
               OR NOT g.rolsuper OR g.oid = u.oid)";
    let mut statements = Vec::new();
    for joined in steps.iter().filter_map(|step| Joined::of(step.get(0))) {
        let (role, member) = (quote::ident(&joined.role), quote::ident(&joined.member));
        let end = joined
            .left
            .unwrap_or(format!("REVOKE {role} FROM {member}"));
        let rows = client.query(granted, &[&joined.role, &joined.member]).await;
        let rows = rows.map_err(|error| server_error(Side::Target, error))?;
        let grantors: BTreeSet<&str> = rows.iter().map(|row| row.get(0)).collect();
        statements.extend(grantors.iter().map(|by| format!("{end}{by}")));
    }
    Ok(statements)
}

/// Drops the schema with the tables and functions in it, if it is ours: if it has the table of
/// migrations. Never CASCADE, so that what somebody built on it, or instead of it, stops this.
async fn drop_record(client: &Client) -> Result<()> {
    let objects = "SELECT string_agg(s.drop, '; ' ORDER BY s.drop DESC) FROM (
        SELECT format('DROP TABLE %s', string_agg(c.oid::regclass::text, ', ')) AS drop
          FROM pg_class c WHERE c.relnamespace = to_regnamespace('pghaul') AND c.relkind = 'r'
        HAVING count(*) > 0
        UNION ALL
        SELECT format('DROP FUNCTION %s', string_agg(p.oid::regprocedure::text, ', '))
          FROM pg_proc p WHERE p.pronamespace = to_regnamespace('pghaul')
        HAVING count(*) > 0) s
        WHERE to_regclass('pghaul.migration') IS NOT NULL";
    let mut statements = vec!["BEGIN".to_owned()];
    let memberships = memberships(client).await?;
    let some = !memberships.is_empty();
    statements.extend(memberships);
    for row in query(client, objects).await? {
        statements.extend(field::<Option<String>>(&row, 0)?);
    }
    statements.push("DROP SCHEMA IF EXISTS pghaul; COMMIT".to_owned());
    let done = client.batch_execute(&statements.join("; ")).await;
    done.map_err(|error| match server_error(client.side(), error) {
        error if some && error.code() == Some("42501") => Error::new(
            Kind::Permanent,
            "the role may not end memberships that were for the migration",
        )
        .at(client.side())
        .remedy(
            "run `pghaul cleanup` as a superuser of the target, who alone may do so where a \
                     role has become a superuser since",
        )
        .because(error),
        error => error,
    })
}

/// Terminates a session, unless its process serves somebody else by now, and waits for its end.
async fn end_session(client: &Client, pid: i32, name: &str) -> Result<()> {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE pid = $1 AND application_name = $2";
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let rows = client
            .query(sql, &[&pid, &name])
            .await
            .map_err(|error| server_error(client.side(), error))?;
        if rows.is_empty() {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Error::new(
                Kind::Permanent,
                "the session does not end although it was told to",
            )
            .at(client.side()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn query(client: &Client, sql: &str) -> Result<Vec<Row>> {
    client
        .query(sql, &[])
        .await
        .map_err(|error| server_error(client.side(), error))
}

fn field<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(|error| {
        Error::new(
            Kind::Protocol,
            "the server answered a catalog query with something else",
        )
        .because(error)
    })
}

fn side<S: serde::Serializer>(side: &Side, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(side)
}
