//! Users: people who log in with a password.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, params};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::session::{self, now};
use super::{Access, Role, password};
use crate::Time;
use crate::job::{Fault, Password};
use crate::problem::Problem;

/// Bytes of a name.
const NAME: usize = 63;

/// A user as it is kept.
pub(super) struct User {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) password: String,
    created_at: i64,
}

impl User {
    /// The user of this name.
    pub(super) fn find(file: &mut Connection, name: &str) -> rusqlite::Result<Option<Self>> {
        let sql = "SELECT name, role, password, created_at FROM user WHERE name = ?1";
        file.query_row(sql, [name], Self::read).optional()
    }

    fn all(file: &mut Connection) -> rusqlite::Result<Vec<Self>> {
        let sql = "SELECT name, role, password, created_at FROM user ORDER BY name";
        file.prepare(sql)?.query_map([], Self::read)?.collect()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get(0)?,
            role: role(row, 1)?,
            password: row.get(2)?,
            created_at: row.get(3)?,
        })
    }

    /// Adds one.
    pub(super) fn add(
        file: &Connection,
        name: &str,
        role: Role,
        password: &str,
    ) -> rusqlite::Result<()> {
        let sql = "INSERT INTO user (name, role, password, created_at) VALUES (?1, ?2, ?3, ?4)";
        file.execute(sql, params![name, role.word(), password, now()])
            .map(drop)
    }

    /// Whether there is any.
    pub(super) fn exists(file: &Connection) -> rusqlite::Result<bool> {
        file.query_row("SELECT EXISTS (SELECT 1 FROM user)", [], |row| row.get(0))
    }
}

/// A role as it is kept.
pub(super) fn role(row: &Row<'_>, index: usize) -> rusqlite::Result<Role> {
    let word: String = row.get(index)?;
    word.parse().map_err(|error: String| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, error.into())
    })
}

/// A moment as it is kept.
pub(super) fn time(seconds: i64) -> Time {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default()
}

/// A user as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownUser {
    /// The name.
    name: String,
    /// What the user may do.
    role: Role,
    /// When the user was created.
    created_at: DateTime<Utc>,
}

impl From<User> for ShownUser {
    fn from(user: User) -> Self {
        Self {
            name: user.name,
            role: user.role,
            created_at: time(user.created_at),
        }
    }
}

/// All users.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserList {
    /// By name.
    value: Vec<ShownUser>,
}

/// A user as somebody wants it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedUser {
    /// What the user may do.
    role: Role,
    /// The password, of 12 characters or more; absent: the one the user has.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password, write_only)]
    password: Option<Password>,
}

/// List users.
#[utoipa::path(get, path = "/users", operation_id = "listUsers", tag = "access",
    security(("token" = ["admin"]), ("session" = ["admin"])),
    responses((status = 200, body = UserList), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_users(State(access): State<Access>) -> Result<Json<UserList>, Problem> {
    let users = access.store().call(User::all).await?;
    let value = users.into_iter().map(ShownUser::from).collect();
    Ok(Json(UserList { value }))
}

/// Show a user.
#[utoipa::path(get, path = "/users/{name}", operation_id = "getUser", tag = "access",
    params(("name" = String, Path)),
    security(("token" = ["admin"]), ("session" = ["admin"])),
    responses((status = 200, body = ShownUser), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_user(
    State(access): State<Access>,
    Path(name): Path<String>,
) -> Result<Json<ShownUser>, Problem> {
    let wanted = name.clone();
    let user = access
        .store()
        .call(move |file| User::find(file, &wanted))
        .await?;
    let user = user.ok_or_else(|| Problem::not_found("user", &name))?;
    Ok(Json(user.into()))
}

/// What becomes of a change.
enum Change {
    Created(User),
    Changed(User),
    Deleted,
    NoSuchUser,
    NoPassword,
    NoAdmin,
}

/// Create a user, or change role and password. A new password ends the user's sessions.
#[utoipa::path(put, path = "/users/{name}", operation_id = "putUser", tag = "access",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$")),
    request_body = WantedUser,
    security(("token" = ["admin"]), ("session" = ["admin"])),
    responses((status = 200, body = ShownUser), (status = 201, body = ShownUser),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put_user(
    State(access): State<Access>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    if !is_name(&name) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, WRONG_NAME));
    }
    let WantedUser { role, password } = super::read(&body)?;
    let fault = password
        .as_ref()
        .and_then(|password| password::fault(password.expose()));
    if let Some(message) = fault {
        let key = "password".to_owned();
        return Err(Problem::faults(vec![Fault { key, message }]));
    }
    let hash = match password {
        Some(password) => {
            let password = SecretString::from(password.expose());
            Some(access.0.passwords.hash(password).await?)
        }
        None => None,
    };
    let change = access
        .store()
        .call(move |file| put(file, &name, role, hash.as_deref()))
        .await?;
    match change {
        Change::Created(user) => {
            Ok((StatusCode::CREATED, Json(ShownUser::from(user))).into_response())
        }
        Change::Changed(user) => Ok(Json(ShownUser::from(user)).into_response()),
        other => Err(refusal(&other)),
    }
}

/// Delete a user. Sessions end; tokens stay, as they may belong to a service.
#[utoipa::path(delete, path = "/users/{name}", operation_id = "deleteUser", tag = "access",
    params(("name" = String, Path)),
    security(("token" = ["admin"]), ("session" = ["admin"])),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete_user(
    State(access): State<Access>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    match access.store().call(move |file| delete(file, &name)).await? {
        Change::Deleted => Ok(StatusCode::NO_CONTENT),
        other => Err(refusal(&other)),
    }
}

fn refusal(change: &Change) -> Problem {
    match change {
        Change::NoPassword => Problem::faults(vec![Fault {
            key: "password".to_owned(),
            message: "a new user needs one".to_owned(),
        }]),
        Change::NoAdmin => {
            Problem::conflict("this is the last admin").remedy("make somebody else an admin first")
        }
        _ => Problem::new(StatusCode::NOT_FOUND, "there is no such user"),
    }
}

fn put(
    file: &mut Connection,
    name: &str,
    role: Role,
    password: Option<&str>,
) -> rusqlite::Result<Change> {
    let before = User::find(file, name)?;
    let transaction = file.transaction()?;
    let created = before.is_none();
    match (before, password) {
        (None, None) => return Ok(Change::NoPassword),
        (None, Some(password)) => User::add(&transaction, name, role, password)?,
        (Some(_), password) => {
            let sql =
                "UPDATE user SET role = ?2, password = coalesce(?3, password) WHERE name = ?1";
            transaction.execute(sql, params![name, role.word(), password])?;
            if password.is_some() {
                session::end_all(&transaction, name)?;
            }
        }
    }
    if !has_admin(&transaction)? {
        return Ok(Change::NoAdmin);
    }
    transaction.commit()?;
    let after = User::find(file, name)?;
    Ok(match after {
        Some(user) if created => Change::Created(user),
        Some(user) => Change::Changed(user),
        None => Change::NoSuchUser,
    })
}

fn delete(file: &mut Connection, name: &str) -> rusqlite::Result<Change> {
    let transaction = file.transaction()?;
    // Sessions go with it.
    if transaction.execute("DELETE FROM user WHERE name = ?1", [name])? == 0 {
        return Ok(Change::NoSuchUser);
    }
    if !has_admin(&transaction)? {
        return Ok(Change::NoAdmin);
    }
    transaction.commit()?;
    Ok(Change::Deleted)
}

fn has_admin(file: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM user WHERE role = ?1)";
    file.query_row(sql, [Role::Admin.word()], |row| row.get(0))
}

const WRONG_NAME: &str = "a name begins with a letter or digit and has up to 63 letters, digits, \
    dots, dashes, underscores and at signs";

/// Whether a user or a token can have this name.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= NAME
        && bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte))
}
