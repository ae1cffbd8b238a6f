//! Who may do what: users, sessions, tokens, the one layer that every request passes, and the log
//! of what was done.
//!
//! | what | file |
//! |---|---|
//! | the layer, in the order of its checks | `guard.rs` |
//! | which role a route needs | `rules.rs` |
//! | names by which the server is called; pages of others | `hosts.rs` |
//! | how much and how often | `limits.rs` |
//! | random secrets of sessions and tokens | `credential.rs` |
//! | passwords | `password.rs` |
//! | users, sessions, tokens and their routes | `user.rs`, `session.rs`, `token.rs` |
//! | the first admin | `first.rs` |
//! | the log | `audit.rs` |

mod audit;
mod credential;
mod first;
mod guard;
mod headers;
mod hosts;
mod limits;
mod password;
mod rules;
mod session;
mod token;
mod user;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use serde::de::DeserializeOwned;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::job::Fault;
use crate::problem::Problem;
use crate::store::Store;
use crate::words::words;
pub use audit::Deed;
pub use first::FirstAdmin;
pub use guard::guard;
pub use hosts::Hosts;
use limits::Limits;
pub use limits::{Rate, Rates};
use password::Passwords;
pub use rules::{Need, Rules};

words! {
    /// What somebody may do. Each may do what those before it may.
    pub Role {
        /// Look at everything but users, tokens and the audit log.
        Viewer = "viewer",
        /// Create migrations and act on them.
        Operator = "operator",
        /// Delete, decommission, and decide who may do what.
        Admin = "admin",
    }
}

impl Role {
    /// Whether who has this role may do what needs that one.
    pub fn may(self, needed: Role) -> bool {
        self as u8 >= needed as u8
    }
}

/// Who makes a request. Handlers find it among the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's name, or the token's.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
    /// The token, if it is one.
    pub token: Option<Uuid>,
    /// Where the request comes from.
    pub address: IpAddr,
}

/// The connection that a request came by; whoever accepts connections adds it to every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The client's end.
    pub remote: SocketAddr,
    /// The server's end.
    pub local: SocketAddr,
    /// Whether the client showed a certificate of the authority that is trusted.
    pub certified: bool,
}

/// How access is controlled.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The names by which the server may be called.
    pub hosts: Hosts,
    /// Whether clients speak TLS with this server.
    pub tls: bool,
    /// Whether agents must show a client certificate.
    pub certified_agents: bool,
    /// How often a client may ask.
    pub rates: Rates,
    /// How long a request may take until its answer begins.
    pub deadline: Duration,
}

impl Default for Settings {
    /// A server that is called by this host alone.
    fn default() -> Self {
        Self {
            hosts: Hosts::default(),
            tls: false,
            certified_agents: false,
            rates: Rates::default(),
            deadline: Duration::from_secs(60),
        }
    }
}

/// All that controls access. Clones are the same one.
#[derive(Clone)]
pub struct Access(Arc<Inner>);

struct Inner {
    store: Store,
    passwords: Passwords,
    hosts: Hosts,
    limits: Limits,
    secure: bool,
    certified_agents: bool,
    deadline: Duration,
}

impl Access {
    /// Controls access by what the store holds.
    ///
    /// # Errors
    ///
    /// If the system has no random bytes.
    pub fn new(store: Store, settings: &Settings) -> pghaul_stage::Result<Self> {
        Ok(Self(Arc::new(Inner {
            store,
            passwords: Passwords::new()?,
            hosts: settings.hosts.clone(),
            limits: Limits::new(settings.rates),
            secure: settings.tls,
            certified_agents: settings.certified_agents,
            deadline: settings.deadline,
        })))
    }

    fn store(&self) -> &Store {
        &self.0.store
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}

/// The routes for logging in, users, tokens and the audit log, below `/api/v1`.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Access: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(session::login))
        .routes(routes!(session::logout))
        .routes(routes!(session::get_session))
        .routes(routes!(user::list_users))
        .routes(routes!(user::get_user, user::put_user, user::delete_user))
        .routes(routes!(token::list_tokens, token::create_token))
        .routes(routes!(token::delete_token))
        .routes(routes!(audit::list_audit))
}

/// Reads a body. What is wrong with it is told by the key, and never by a value, which may be a
/// secret in the wrong place.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let key = error.path().to_string();
        let message = match key.as_str() {
            key if key.ends_with("password") => "must be a text".to_owned(),
            _ => error.into_inner().to_string(),
        };
        Problem::faults(vec![Fault { key, message }])
    })?;
    json.end().map_err(|error| {
        let (key, message) = (String::new(), error.to_string());
        Problem::faults(vec![Fault { key, message }])
    })?;
    Ok(value)
}

#[cfg(test)]
mod tests;
