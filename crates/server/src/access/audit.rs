//! The log of who did what, from where, and with which outcome. Rows are added and never changed or
//! removed, which the store itself enforces. No body and no query gets into it, so no secret does.

use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::session::now;
use super::user::time;
use super::{Access, Caller, Role};
use crate::problem::Problem;

/// Bytes of a subject.
const SUBJECT: usize = 256;

/// What a handler says of what it did, for the audit log, among the extensions of its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deed {
    action: Option<&'static str>,
    user: Option<(String, Role)>,
}

impl Deed {
    /// It did this, which the route alone does not tell.
    pub fn new(action: &'static str) -> Self {
        Self {
            action: Some(action),
            user: None,
        }
    }

    /// It was this user, whom the handler found out.
    pub(super) fn by(user: &str, role: Role) -> Self {
        Self {
            action: None,
            user: Some((user.to_owned(), role)),
        }
    }
}

/// A row that is to be added.
#[derive(Debug)]
pub(super) struct Entry {
    user: Option<String>,
    role: Option<Role>,
    token: Option<Uuid>,
    address: IpAddr,
    action: String,
    subject: String,
    status: StatusCode,
}

impl Entry {
    /// What came of a request.
    pub(super) fn new(
        caller: Option<&Caller>,
        address: IpAddr,
        action: &str,
        path: &str,
        status: StatusCode,
    ) -> Self {
        let mut subject = path.strip_prefix("/api/v1").unwrap_or(path).to_owned();
        // A path has no characters but those of ASCII.
        subject.truncate(SUBJECT);
        Self {
            user: caller.map(|caller| caller.name.clone()),
            role: caller.map(|caller| caller.role),
            token: caller.and_then(|caller| caller.token),
            address,
            action: action.to_owned(),
            subject,
            status,
        }
    }

    /// With what the handler said.
    pub(super) fn told(mut self, deed: Option<&Deed>) -> Self {
        if let Some(action) = deed.and_then(|deed| deed.action) {
            action.clone_into(&mut self.action);
        }
        if let Some((user, role)) = deed.and_then(|deed| deed.user.clone()) {
            (self.user, self.role) = (Some(user), Some(role));
        }
        self
    }

    /// Adds the row. What was done is done, so a failure is told to those who run the server.
    pub(super) async fn add(self, access: &Access) {
        let told = format!("{self:?}");
        if let Err(error) = access.store().call(move |file| self.insert(file)).await {
            tracing::error!(entry = told, %error, "not in the audit log");
        }
    }

    fn insert(&self, file: &mut Connection) -> rusqlite::Result<()> {
        let sql = "INSERT INTO audit
                   (time, user, role, token, address, action, subject, outcome, status)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let row = params![
            now(),
            self.user,
            self.role.map(Role::word),
            self.token.map(|token| token.to_string()),
            self.address.to_string(),
            self.action,
            self.subject,
            outcome(self.status),
            self.status.as_u16(),
        ];
        file.execute(sql, row).map(drop)
    }
}

fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        ..400 => "done",
        400..500 => "refused",
        _ => "failed",
    }
}

/// A row of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditEntry {
    /// Its number. Numbers grow.
    id: i64,
    /// When.
    time: DateTime<Utc>,
    /// The user's name, or the token's; `null` if it was nobody who is known.
    user: Option<String>,
    /// What the caller might do then.
    role: Option<String>,
    /// The identifier of the token, if it was one.
    token: Option<String>,
    /// The address that the request came from.
    address: String,
    /// What was to be done, mostly by the name the OpenAPI document gives the operation.
    action: String,
    /// With what: a path below `/api/v1`.
    subject: String,
    /// `done`, `refused` or `failed`.
    outcome: String,
    /// The status of the answer.
    status: u16,
}

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    /// The newest first.
    value: Vec<AuditEntry>,
    /// The number to go on after, if there are more.
    next: Option<i64>,
}

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    /// Only those that are older than the one of this number.
    after: Option<i64>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

/// List what was done, the newest first.
#[utoipa::path(get, path = "/audit", operation_id = "listAudit", tag = "access", params(Paging),
    security(("token" = ["admin"]), ("session" = ["admin"])),
    responses((status = 200, body = AuditPage),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_audit(
    State(access): State<Access>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<AuditPage>, Problem> {
    let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Query(paging) = paging.map_err(|error| wrong(error.body_text()))?;
    let limit = paging.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(wrong("limit must be 1 to 1000".to_owned()));
    }
    let after = paging.after.unwrap_or(i64::MAX);
    let read = access
        .store()
        .call(move |file| page(file, after, limit + 1));
    let mut value = read.await?;
    let more = value.len() > usize::from(limit);
    value.truncate(usize::from(limit));
    let next = value.last().map(|entry| entry.id).filter(|_| more);
    Ok(Json(AuditPage { value, next }))
}

fn page(file: &mut Connection, after: i64, limit: u16) -> rusqlite::Result<Vec<AuditEntry>> {
    let sql = "SELECT id, time, user, role, token, address, action, subject, outcome, status
               FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
    let mut statement = file.prepare(sql)?;
    let rows = statement.query_map(params![after, limit], |row| {
        Ok(AuditEntry {
            id: row.get(0)?,
            time: time(row.get(1)?),
            user: row.get(2)?,
            role: row.get(3)?,
            token: row.get(4)?,
            address: row.get(5)?,
            action: row.get(6)?,
            subject: row.get(7)?,
            outcome: row.get(8)?,
            status: row.get(9)?,
        })
    })?;
    rows.collect()
}
