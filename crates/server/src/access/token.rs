//! Tokens: what programs show instead of logging in. A token is told once, when it is made.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, params};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::credential::Credential;
use super::session::now;
use super::user::{is_name, role, time};
use super::{Access, Caller, Role};
use crate::job::Fault;
use crate::problem::Problem;

/// Seconds for which a token may be valid: ten years.
const LONGEST: i64 = 10 * 366 * 86_400;

/// Tokens that have not expired.
const TOKENS: i64 = 1000;

/// Whose token it is, unless it has expired.
pub(super) async fn find(
    access: &Access,
    shown: Credential,
) -> Result<Option<(String, Role)>, Problem> {
    let id = shown.id.to_string();
    let found = access.store().call(move |file| {
        let sql = "SELECT hash, name, role FROM token
                   WHERE id = ?1 AND (expires_at IS NULL OR ?2 < expires_at)";
        let row = file.query_row(sql, params![id, now()], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?, role(row, 2)?))
        });
        row.optional()
    });
    let found = found.await?;
    Ok(found.and_then(|(hash, name, role)| shown.fits(&hash).then_some((name, role))))
}

/// Keeps the hash of one.
pub(super) fn add(
    file: &Connection,
    token: (Uuid, &[u8]),
    name: &str,
    role: Role,
    created_by: &str,
    expires_at: Option<i64>,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO token (id, hash, name, role, created_by, created_at, expires_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let (id, hash) = token;
    let row = params![
        id.to_string(),
        hash,
        name,
        role.word(),
        created_by,
        now(),
        expires_at
    ];
    file.execute(sql, row).map(drop)
}

/// A token as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownToken {
    /// Its identifier, by which it is revoked.
    id: Uuid,
    /// What it is called.
    name: String,
    /// What its holder may do.
    role: Role,
    /// Who made it.
    created_by: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// Until when it is valid; `null`: until it is revoked.
    expires_at: Option<DateTime<Utc>>,
}

/// All tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenList {
    /// The oldest first.
    value: Vec<ShownToken>,
}

/// A token as somebody wants it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WantedToken {
    /// What to call it.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$")]
    name: String,
    /// What its holder may do.
    role: Role,
    /// For how long it is valid, up to ten years.
    #[schema(minimum = 1, maximum = 316_224_000)]
    expires_in_seconds: i64,
}

/// A new token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewToken {
    /// Its identifier, by which it is revoked.
    id: Uuid,
    /// What it is called.
    name: String,
    /// What its holder may do.
    role: Role,
    /// The token. It is told now and never again.
    token: String,
    /// Until when it is valid.
    expires_at: DateTime<Utc>,
}

/// List tokens, without what lets anybody in.
#[utoipa::path(get, path = "/tokens", operation_id = "listTokens", tag = "access",
    security(("token" = ["admin"]), ("session" = ["admin"])),
    responses((status = 200, body = TokenList), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_tokens(State(access): State<Access>) -> Result<Json<TokenList>, Problem> {
    let value = access.store().call(|file| {
        let sql = "SELECT id, name, role, created_by, created_at, expires_at FROM token
                   WHERE expires_at IS NULL OR ?1 < expires_at ORDER BY created_at, id";
        let mut statement = file.prepare(sql)?;
        let rows = statement.query_map([now()], |row| {
            let id: String = row.get(0)?;
            Ok(ShownToken {
                id: Uuid::try_parse(&id).unwrap_or_default(),
                name: row.get(1)?,
                role: role(row, 2)?,
                created_by: row.get(3)?,
                created_at: time(row.get(4)?),
                expires_at: row.get::<_, Option<i64>>(5)?.map(time),
            })
        })?;
        rows.collect()
    });
    Ok(Json(TokenList {
        value: value.await?,
    }))
}

/// Make a token.
#[utoipa::path(post, path = "/tokens", operation_id = "createToken", tag = "access",
    request_body = WantedToken,
    security(("token" = ["admin"]), ("session" = ["admin"])),
    responses((status = 201, body = NewToken), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create_token(
    State(access): State<Access>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<(StatusCode, Json<NewToken>), Problem> {
    let wanted: WantedToken = super::read(&body)?;
    let fault = |key: &str, message: &str| {
        let (key, message) = (key.to_owned(), message.to_owned());
        Err(Problem::faults(vec![Fault { key, message }]))
    };
    if !is_name(&wanted.name) {
        return fault(
            "name",
            "has up to 63 letters, digits, dots, dashes, underscores and at signs",
        );
    }
    if !(1..=LONGEST).contains(&wanted.expires_in_seconds) {
        return fault("expiresInSeconds", "must be 1 to 316224000");
    }
    let token = Credential::random()?;
    let (id, hash) = (token.id, token.hash());
    let expires_at = now() + wanted.expires_in_seconds;
    let (name, role) = (wanted.name.clone(), wanted.role);
    let added = access.store().call(move |file| {
        let transaction = file.transaction()?;
        transaction.execute("DELETE FROM token WHERE expires_at <= ?1", [now()])?;
        let count = "SELECT count(*) FROM token";
        if transaction.query_row(count, [], |row| row.get::<_, i64>(0))? >= TOKENS {
            return Ok(false);
        }
        add(
            &transaction,
            (id, &hash),
            &name,
            role,
            &caller.name,
            Some(expires_at),
        )?;
        transaction.commit()?;
        Ok(true)
    });
    if !added.await? {
        return Err(Problem::conflict("there are 1000 tokens").remedy("revoke some first"));
    }
    let token = NewToken {
        id,
        name: wanted.name,
        role,
        token: token.text().expose_secret().to_owned(),
        expires_at: time(expires_at),
    };
    Ok((StatusCode::CREATED, Json(token)))
}

/// Revoke a token: it lets nobody in from now on.
#[utoipa::path(delete, path = "/tokens/{id}", operation_id = "deleteToken", tag = "access",
    params(("id" = Uuid, Path)),
    security(("token" = ["admin"]), ("session" = ["admin"])),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete_token(
    State(access): State<Access>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    let sql = "DELETE FROM token WHERE id = ?1";
    let deleted = access
        .store()
        .call(move |file| file.execute(sql, [id.to_string()]));
    match deleted.await? {
        0 => Err(Problem::not_found("token", &id.to_string())),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
