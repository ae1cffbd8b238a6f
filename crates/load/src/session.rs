//! Sessions on the target, with every setting pinned.

use pghaul_stage::{Error, Kind, Result, Side};
use pghaul_wire::{Client, Conninfo, Lane, server_error};
use uuid::Uuid;

/// Pins every setting that a database, a role or a configuration file could have changed.
///
/// Settings that this server does not know are passed over, so one text serves all versions.
/// The search path goes first, on its own: what follows must not depend on it.
pub(crate) const PINNED: &str = "SET search_path = '';
SELECT pg_catalog.set_config(s.name, v.value, false)
FROM (VALUES
    ('statement_timeout', '0'),
    ('lock_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0'),
    ('idle_session_timeout', '0'),
    ('transaction_timeout', '0'),
    ('default_transaction_read_only', 'off'),
    ('default_transaction_isolation', 'read committed'),
    ('default_transaction_deferrable', 'off'),
    ('client_encoding', 'UTF8'),
    ('standard_conforming_strings', 'on'),
    ('quote_all_identifiers', 'off'),
    ('transform_null_equals', 'off'),
    ('array_nulls', 'on'),
    ('DateStyle', 'ISO'),
    ('IntervalStyle', 'postgres'),
    ('TimeZone', 'UTC'),
    ('extra_float_digits', '3'),
    ('bytea_output', 'hex'),
    ('xmloption', 'content'),
    ('lc_monetary', 'C'),
    ('row_security', 'off'),
    ('check_function_bodies', 'off'),
    ('client_min_messages', 'warning'),
    -- A commit that was acknowledged must not be lost in a crash: it is never asked about again.
    ('synchronous_commit', CASE pg_catalog.current_setting('synchronous_commit')
         WHEN 'off' THEN 'local' ELSE pg_catalog.current_setting('synchronous_commit') END)
) AS v (name, value)
JOIN pg_catalog.pg_settings AS s ON s.name = v.name";

/// The name under which every session of a migration shows in `pg_stat_activity`; by it a
/// later run finds the sessions that an earlier one left behind.
pub(crate) fn application_name(migration: Option<Uuid>) -> String {
    match migration {
        Some(id) => format!("pghaul {id}"),
        None => "pghaul".to_owned(),
    }
}

/// Opens a session for catalogs and DDL.
pub(crate) async fn open(conninfo: &Conninfo, migration: Option<Uuid>) -> Result<Client> {
    let conninfo = conninfo.with_application_name(&application_name(migration));
    let client = Client::connect(&conninfo, Side::Target).await?;
    client.batch_execute(PINNED).await.map_err(failed)?;
    Ok(client)
}

/// Opens a thin session for COPY.
pub(crate) async fn lane(conninfo: &Conninfo, migration: Uuid) -> Result<Lane> {
    let conninfo = conninfo.with_application_name(&application_name(Some(migration)));
    let mut lane = Lane::connect(&conninfo, Side::Target).await?;
    lane.execute(PINNED).await?;
    Ok(lane)
}

/// An error of the driver, on the target; one that says another run has taken over becomes
/// [`Kind::Fenced`].
pub(crate) fn failed(error: tokio_postgres::Error) -> Error {
    fenced(server_error(Side::Target, error))
}

/// The error code that `pghaul.fence` raises.
pub(crate) const FENCED: &str = "PGH01";

/// Recognises the error of `pghaul.fence`.
pub(crate) fn fenced(error: Error) -> Error {
    if error.code() == Some(FENCED) {
        Error::new(Kind::Fenced, "another run has taken over this migration")
            .at(Side::Target)
            .sqlstate(FENCED)
            .remedy("stop this run, or stop the other one and start again with --resume")
    } else {
        error
    }
}
