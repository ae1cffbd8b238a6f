//! The spool service: keeps spools for agents that reach this server and nothing else.
//!
//! It speaks the part of S3's protocol that the client of `object_store` needs: path style, the
//! bucket is the name of a migration, a bearer token stands in place of a signature. Behind it is
//! any object store. Only names that a spool has are taken, each side writes and removes only what
//! it does in the course of its work, and nothing but signs of life is ever replaced.
//!
//! | request | file |
//! |---|---|
//! | who may do what; the fence | `guest.rs` |
//! | PUT | `put.rs`, `body.rs`, `quota.rs` |
//! | GET, HEAD | `get.rs` |
//! | lists | `list.rs` |
//! | DELETE, POST ?delete | `remove.rs` |
//! | answers in S3's words | `answer.rs` |

mod answer;
mod body;
mod get;
mod guest;
mod list;
mod put;
mod quota;
mod remove;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use pghaul_spool::{AGENT_HEADER, EPOCH_HEADER, Object, Seat};
use uuid::Uuid;

pub use self::answer::Refusal;
pub use self::guest::{Epoch, Gate, Guest, Side};

use self::put::Incoming;
use self::quota::Quotas;

/// All spools of a server.
#[derive(Debug)]
pub struct Spools {
    objects: Arc<dyn ObjectStore>,
    gate: Arc<dyn Gate>,
    quotas: Quotas,
    incoming: Incoming,
}

impl Spools {
    /// What is answered: methods, and paths as axum writes them.
    pub(crate) const REQUESTS: [(Method, &'static str); 9] = [
        (Method::GET, "/spool/{bucket}"),
        (Method::POST, "/spool/{bucket}"),
        (Method::GET, "/spool/{bucket}/"),
        (Method::POST, "/spool/{bucket}/"),
        (Method::GET, "/spool/{bucket}/{*key}"),
        (Method::HEAD, "/spool/{bucket}/{*key}"),
        (Method::PUT, "/spool/{bucket}/{*key}"),
        (Method::POST, "/spool/{bucket}/{*key}"),
        (Method::DELETE, "/spool/{bucket}/{*key}"),
    ];

    /// Spools in these objects, each of at most `quota` bytes.
    pub fn new(objects: Arc<dyn ObjectStore>, gate: Arc<dyn Gate>, quota: Option<u64>) -> Self {
        Self {
            incoming: Incoming::new(Arc::clone(&objects)),
            quotas: Quotas::new(Arc::clone(&objects), quota),
            objects,
            gate,
        }
    }

    /// Removes what uploads left behind that a crash interrupted.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn sweep(&self) -> object_store::Result<()> {
        self.incoming.sweep().await
    }

    /// Removes the spools of a migration.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn erase(&self, migration: Uuid) -> object_store::Result<()> {
        remove::all(&*self.objects, &of_migration(migration)).await?;
        self.quotas.forget(migration);
        Ok(())
    }

    /// How many bytes the spools of a migration take.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn used(&self, migration: Uuid) -> object_store::Result<u64> {
        Ok(self.quotas.of(migration).await?.used())
    }

    /// The routes, below `/spool`.
    pub fn routes(self: Arc<Self>) -> Router {
        Router::new()
            .route("/spool/{bucket}", any(of_bucket))
            .route("/spool/{bucket}/", any(of_bucket))
            .route("/spool/{bucket}/{*key}", any(of_object))
            .with_state(self)
    }

    async fn admit(&self, bucket: &str, headers: &HeaderMap) -> Result<Guest, Refusal> {
        let bearer = headers.get(header::AUTHORIZATION);
        let bearer = bearer.and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let token = token.ok_or(Refusal::Unknown)?;
        self.gate.admit(bucket, token, seat(headers)?).await
    }
}

/// The objects of a migration are below its identifier, so that another one of the same name never
/// finds them.
fn of_migration(migration: Uuid) -> ObjectPath {
    ObjectPath::from(migration.to_string())
}

/// An object that a request names.
#[derive(Debug, Clone)]
struct Target {
    path: ObjectPath,
    object: Object,
}

impl Target {
    /// The object of this key, if a spool has such objects.
    fn of(migration: Uuid, key: &str) -> Result<Self, Refusal> {
        let (segment, name) = key.split_once('/').ok_or(Refusal::NoSuchName)?;
        if !pghaul_spool::is_segment(segment) {
            return Err(Refusal::NoSuchName);
        }
        let object = Object::named(name).ok_or(Refusal::NoSuchName)?;
        let path = ObjectPath::parse(format!("{migration}/{key}"));
        let path = path.map_err(|_| Refusal::NoSuchName)?;
        Ok(Self { path, object })
    }
}

fn seat(headers: &HeaderMap) -> Result<Option<Seat>, Refusal> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    match (text(AGENT_HEADER), text(EPOCH_HEADER)) {
        (None, None) => Ok(None),
        (Some(agent), Some(epoch)) => match (agent.parse(), epoch.parse()) {
            (Ok(agent), Ok(epoch)) => Ok(Some(Seat { agent, epoch })),
            _ => Err(Refusal::Malformed("the headers of the seat are none")),
        },
        _ => Err(Refusal::Malformed("a seat has an agent and an epoch")),
    }
}

async fn of_bucket(
    State(spools): State<Arc<Spools>>,
    Path(bucket): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        let guest = spools.admit(&bucket, &headers).await?;
        let query = query.unwrap_or_default();
        match method {
            Method::GET => list::list(&*spools.objects, &guest, &query).await,
            Method::POST if query == "delete" || query == "delete=" => {
                remove::several(&spools, &guest, &headers, body).await
            }
            _ => Err(Refusal::NotImplemented),
        }
    };
    answer.await.into_response()
}

async fn of_object(
    State(spools): State<Arc<Spools>>,
    Path((bucket, key)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        let guest = spools.admit(&bucket, &headers).await?;
        let target = Target::of(guest.migration, &key)?;
        if query.is_some_and(|query| !query.is_empty()) {
            return Err(Refusal::NotImplemented);
        }
        match method {
            Method::GET => get::get(&*spools.objects, &target, &headers).await,
            Method::HEAD => get::head(&*spools.objects, &target).await,
            Method::PUT => put::put(&spools, &guest, &target, &headers, body).await,
            Method::DELETE => remove::one(&spools, &guest, &target).await,
            _ => Err(Refusal::NotImplemented),
        }
    };
    answer.await.into_response()
}
