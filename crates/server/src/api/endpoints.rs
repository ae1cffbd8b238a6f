//! One end of a migration before there is one: whether it can be connected to, and what it holds.

use std::io::Write;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use pghaul_stage::{Finding, Side, Verdict};
use pghaul_wire::{Client, Conninfo, checkup, server_error};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::job::Endpoint;
use crate::problem::Problem;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a connection showed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Tested {
    /// `Succeeded`, `Warning` or `Failed`: the worst of the checks.
    state: String,
    /// The server's version, such as 15.18, if it was reached.
    server_version: Option<String>,
    /// Each step on the way.
    checks: Vec<Tried>,
}

/// One step on the way to a session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Tried {
    /// Which one.
    check: String,
    /// Its stable code.
    code: u32,
    /// `Succeeded`, `Warning` or `Failed`.
    state: String,
    /// What was found.
    message: String,
    /// What to do, unless it succeeded.
    remedy: Option<String>,
}

/// The databases of a server.
#[derive(Debug, Serialize, ToSchema)]
struct Databases {
    /// Those that can be migrated, by name.
    value: Vec<Database>,
}

/// A database.
#[derive(Debug, Serialize, ToSchema)]
struct Database {
    /// Its name.
    name: String,
    /// Its size on disk; 0 where the role may not know.
    bytes: u64,
}

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(test))
        .routes(routes!(list))
}

/// Connect to a server from this one, and say how far that went.
#[utoipa::path(post, path = "/test-connection", operation_id = "testConnection",
    security(("token" = ["operator"]), ("session" = ["operator"])), tag = "server",
    request_body = Endpoint,
    responses((status = 200, body = Tested),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
async fn test(State(app): State<App>, body: Bytes) -> Result<Json<Tested>, Problem> {
    let trying = async {
        let (info, _authorities) = reach(&app, &body).await?;
        let client = match Client::try_connect(&info, Side::Source).await {
            Ok(client) => client,
            Err(unconnected) => {
                return Ok(tested(
                    checkup::unreachable(Side::Source, &unconnected),
                    None,
                ));
            }
        };
        let findings = checkup::connected(&client).await.map_err(refused)?;
        let version = client
            .query_one("SELECT pg_catalog.current_setting('server_version')", &[])
            .await
            .map_err(|error| refused(server_error(Side::Source, error)))?;
        let version: String = version.get(0);
        let number = version.split(' ').next().map(str::to_owned);
        Ok(tested(findings, number))
    };
    within(trying).await.map(Json)
}

/// List the databases of a server that can be migrated, with their sizes.
#[utoipa::path(post, path = "/source-databases", operation_id = "listSourceDatabases",
    security(("token" = ["operator"]), ("session" = ["operator"])), tag = "server",
    request_body = Endpoint,
    responses((status = 200, body = Databases),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
async fn list(State(app): State<App>, body: Bytes) -> Result<Json<Databases>, Problem> {
    let sql = "SELECT d.datname::text, \
                      CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') \
                           THEN pg_catalog.pg_database_size(d.oid) ELSE 0 END::int8 \
                 FROM pg_catalog.pg_database d \
                WHERE d.datallowconn AND NOT d.datistemplate ORDER BY d.datname";
    let listing = async {
        let (info, _authorities) = reach(&app, &body).await?;
        let client = Client::connect(&info, Side::Source).await;
        let client = client.map_err(refused)?;
        let rows = client.query(sql, &[]).await;
        let rows = rows.map_err(|error| refused(server_error(Side::Source, error)))?;
        let value = rows.iter().map(|row| Database {
            name: row.get(0),
            bytes: row.get::<_, i64>(1).unsigned_abs(),
        });
        Ok(Databases {
            value: value.collect(),
        })
    };
    within(listing).await.map(Json)
}

/// The parameters of a connection to the end in the body, at an address that is allowed; and the
/// file with its authorities, which is gone once it is dropped.
async fn reach(
    app: &App,
    body: &[u8],
) -> Result<(Conninfo, Option<tempfile::NamedTempFile>), Problem> {
    let end: Endpoint = super::read(body)?;
    let folder = app.state().to_owned();
    let certificate = end.ca_certificate.clone();
    let authorities = super::blocking(move || {
        let Some(certificate) = certificate else {
            return Ok(None);
        };
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(certificate.as_bytes())?;
        Ok(Some(file))
    });
    let authorities = authorities.await?;
    let file = authorities.as_ref().map(tempfile::NamedTempFile::path);
    let info = app.pin(&end, file).await.map_err(refused)?;
    Ok((info.with_application_name("pghaul"), authorities))
}

/// What a server or the way to it refuses is no fault of this one's.
fn refused(error: pghaul_stage::Error) -> Problem {
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
    match error.hint() {
        Some(hint) => problem.remedy(hint),
        None => problem,
    }
}

async fn within<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let late = || {
        let detail = format!("the server did not answer within {PATIENCE:?}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
            .remedy("check host, port and firewall")
    };
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| Err(late()))
}

fn tested(findings: Vec<Finding>, server_version: Option<String>) -> Tested {
    let worst = findings.iter().map(Finding::verdict).max();
    Tested {
        state: format!("{:?}", worst.unwrap_or(Verdict::Succeeded)),
        server_version,
        checks: findings
            .iter()
            .map(|finding| Tried {
                check: finding.check().name().to_owned(),
                code: finding.check().code(),
                state: format!("{:?}", finding.verdict()),
                message: finding.message().to_owned(),
                remedy: finding.remedy().map(str::to_owned),
            })
            .collect(),
    }
}
