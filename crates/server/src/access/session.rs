//! Sessions: what a browser has after a login. They live in the store, so they survive a restart.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rusqlite::{Connection, OptionalExtension, params};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::audit::Deed;
use super::credential::Credential;
use super::user::User;
use super::{Access, Caller, Peer, Role};
use crate::job::Password;
use crate::problem::Problem;

/// The name of the cookie.
const COOKIE: &str = "pghaul_session";

/// The header that shows that a page of this server writes.
pub(super) const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// Seconds without a request after which a session ends.
const IDLE: i64 = 8 * 3600;

/// Seconds after which a session ends in any case.
const LONGEST: i64 = 24 * 3600;

/// Seconds for which it is not noted anew that a session is in use.
const NOTED: i64 = 60;

/// Sessions of one user; the oldest ends when there would be more.
const SESSIONS: i64 = 32;

/// The text of the cookie, if a request has one.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let mut pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Whose session it is, unless it has ended, and that of its user's roles.
pub(super) async fn find(
    access: &Access,
    shown: Credential,
) -> Result<Option<(String, Role, Credential)>, Problem> {
    let id = shown.id;
    let found = access
        .store()
        .call(move |file| look_up(file, id, now()))
        .await?;
    Ok(found.and_then(|(hash, user, role)| {
        shown
            .fits(&hash)
            .then_some((user, role.parse().ok()?, shown))
    }))
}

fn look_up(
    file: &mut Connection,
    id: Uuid,
    now: i64,
) -> rusqlite::Result<Option<(Vec<u8>, String, String)>> {
    let sql = "SELECT hash, name, role, seen_at FROM session JOIN user ON name = user
               WHERE id = ?1 AND ?2 < session.created_at + ?3 AND ?2 < seen_at + ?4";
    let row = file.query_row(sql, params![id.to_string(), now, LONGEST, IDLE], |row| {
        let seen_at: i64 = row.get(3)?;
        Ok(((row.get(0)?, row.get(1)?, row.get(2)?), seen_at))
    });
    let Some((found, seen_at)) = row.optional()? else {
        return Ok(None);
    };
    // A wrong secret for the right name would keep a session from going idle, which does not
    // let anybody in; the name is as hard to guess for who cannot read the cookie.
    if seen_at + NOTED < now {
        let sql = "UPDATE session SET seen_at = ?2 WHERE id = ?1";
        file.execute(sql, params![id.to_string(), now])?;
    }
    Ok(Some(found))
}

fn add(file: &mut Connection, id: Uuid, hash: &[u8], user: &str) -> rusqlite::Result<()> {
    let now = now();
    let transaction = file.transaction()?;
    let ended = "DELETE FROM session WHERE ?1 >= created_at + ?2 OR ?1 >= seen_at + ?3";
    transaction.execute(ended, params![now, LONGEST, IDLE])?;
    let many = "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE user = ?1
                ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?2)";
    transaction.execute(many, params![user, SESSIONS - 1])?;
    let sql =
        "INSERT INTO session (id, hash, user, created_at, seen_at) VALUES (?1, ?2, ?3, ?4, ?4)";
    transaction.execute(sql, params![id.to_string(), hash, user, now])?;
    transaction.commit()
}

/// Ends all sessions of a user.
pub(super) fn end_all(file: &Connection, user: &str) -> rusqlite::Result<()> {
    file.execute("DELETE FROM session WHERE user = ?1", [user])
        .map(drop)
}

async fn end(access: &Access, id: Uuid) -> Result<(), Problem> {
    let sql = "DELETE FROM session WHERE id = ?1";
    let ended = access
        .store()
        .call(move |file| file.execute(sql, [id.to_string()]));
    Ok(ended.await.map(drop)?)
}

/// Who wants to log in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// The user's name.
    user: String,
    /// The user's password.
    #[schema(value_type = String, format = Password, write_only)]
    password: Password,
}

/// Who is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Session {
    /// The user's name, or the token's.
    user: String,
    /// What the user may do.
    role: Role,
    /// What the header `X-CSRF-Token` must hold in writes with the cookie; none for tokens, which
    /// need no such header.
    csrf: Option<String>,
}

/// Log in. The answer sets the cookie `pghaul_session`.
#[utoipa::path(post, path = "/login", operation_id = "login", tag = "access", security(()),
    request_body = Login,
    responses((status = 200, body = Session), (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn login(
    State(access): State<Access>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let refuse = |problem: Problem| problem.into_response();
    if let Err(wait) = access.0.limits.login(peer.remote.ip()) {
        return Err(super::limits::too_often(wait));
    }
    let Login { user, password } = super::read(&body).map_err(refuse)?;
    if password.expose().len() > super::password::LONGEST {
        return Err(refuse(refused()));
    }
    let name = user.clone();
    let found = access
        .store()
        .call(move |file| User::find(file, &name))
        .await;
    let found = found.map_err(|error| refuse(error.into()))?;
    let kept = found.as_ref().map(|user| user.password.clone());
    let password = SecretString::from(password.expose());
    let fits = access.0.passwords.fits(password, kept).await;
    let fits = fits.map_err(|error| refuse(error.into()))?;
    let Some(user) = found else {
        // The name is not noted: it may be a password in the wrong field.
        return Err(refuse(refused()));
    };
    let deed = Extension(Deed::by(&user.name, user.role));
    if !fits {
        return Err((deed, refused()).into_response());
    }
    let logged_in = async {
        // Whoever was logged in with this browser is not any more.
        if let Some(old) = cookie(&headers).and_then(Credential::parse)
            && let Some((_, _, old)) = find(&access, old).await?
        {
            end(&access, old.id).await?;
        }
        let session = Credential::random()?;
        let (id, hash, name) = (session.id, session.hash(), user.name.clone());
        access
            .store()
            .call(move |file| add(file, id, &hash, &name))
            .await?;
        Ok::<_, Problem>(session)
    };
    let session = logged_in.await.map_err(refuse)?;
    let text = session.text();
    let cookie = set_cookie(text.expose_secret(), LONGEST, access.0.secure);
    let answer = Session {
        user: user.name,
        role: user.role,
        csrf: Some(session.csrf()),
    };
    Ok((deed, [(header::SET_COOKIE, cookie)], Json(answer)).into_response())
}

fn refused() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "user or password is wrong")
}

fn set_cookie(value: &str, seconds: i64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// Log out: the session ends, and the cookie is removed.
#[utoipa::path(post, path = "/logout", operation_id = "logout", tag = "access",
    security(("token" = ["viewer"]), ("session" = ["viewer"])),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn logout(
    State(access): State<Access>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // The layer around this let the cookie pass, unless a token stood beside it.
    if let Some(shown) = cookie(&headers).and_then(Credential::parse)
        && let Some((_, _, session)) = find(&access, shown).await?
    {
        end(&access, session.id).await?;
    }
    let cookie = [(header::SET_COOKIE, set_cookie("", 0, access.0.secure))];
    let deed = Extension(Deed::new("logout"));
    Ok((StatusCode::NO_CONTENT, deed, cookie).into_response())
}

/// Show who is logged in.
#[utoipa::path(get, path = "/session", operation_id = "getSession", tag = "access",
    security(("token" = ["viewer"]), ("session" = ["viewer"])),
    responses((status = 200, body = Session), (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_session(
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Json<Session> {
    // Somebody was let in, and without a token it was by this cookie.
    let session = cookie(&headers).and_then(Credential::parse);
    let csrf = session
        .filter(|_| caller.token.is_none())
        .map(|session| session.csrf());
    Json(Session {
        user: caller.name,
        role: caller.role,
        csrf,
    })
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    crate::now().timestamp()
}
