//! PUT: an object is created if absent, whole or not at all.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::body::Content;
use super::get::quoted;
use super::{Guest, Refusal, Spools, Target};

/// The largest object of a spool, as its reader has it too.
const LARGEST: u64 = 1 << 30;

/// What of an object is held in memory. Files of rows are smaller as a rule; a larger object takes
/// the way over one that has no name in the spool yet.
const HELD: usize = 16 << 20;

/// Objects that arrive at the same time: together with [`HELD`] a bound of memory.
const AT_ONCE: usize = 16;

/// Where objects are that have not arrived whole yet.
const INCOMING: &str = "incoming";

/// The objects that are arriving.
#[derive(Debug)]
pub(super) struct Incoming {
    objects: Arc<dyn ObjectStore>,
    places: Semaphore,
}

/// What has arrived whole.
enum Arrived {
    /// In memory.
    Here(PutPayload),
    /// In the store, under this name.
    Aside(ObjectPath),
}

impl Incoming {
    pub(super) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self {
            objects,
            places: Semaphore::new(AT_ONCE),
        }
    }

    /// Removes what a crash left. To be called before anything arrives.
    pub(super) async fn sweep(&self) -> object_store::Result<()> {
        super::remove::all(&*self.objects, &ObjectPath::from(INCOMING)).await
    }

    async fn receive(&self, content: &mut Content) -> Result<Arrived, Refusal> {
        let (mut pieces, mut held) = (Vec::new(), 0);
        while let Some(piece) = content.next().await? {
            held += piece.len();
            pieces.push(piece);
            if held > HELD {
                return self.aside(content, pieces).await.map(Arrived::Aside);
            }
        }
        Ok(Arrived::Here(PutPayload::from_iter(pieces)))
    }

    /// Receives an object that begins with these pieces into a place of its own.
    async fn aside(&self, content: &mut Content, begin: Vec<Bytes>) -> Result<ObjectPath, Refusal> {
        let path = ObjectPath::from(INCOMING).join(Uuid::now_v7().to_string());
        let mut upload = self.objects.put_multipart(&path).await?;
        let mut pieces = begin;
        let received = async {
            loop {
                upload
                    .put_part(PutPayload::from_iter(pieces.drain(..)))
                    .await?;
                let mut held = 0;
                while held <= HELD {
                    let Some(piece) = content.next().await? else {
                        if !pieces.is_empty() {
                            upload
                                .put_part(PutPayload::from_iter(pieces.drain(..)))
                                .await?;
                        }
                        return Ok(());
                    };
                    held += piece.len();
                    pieces.push(piece);
                }
            }
        };
        match received.await {
            Ok(()) => {
                upload.complete().await?;
                Ok(path)
            }
            Err(refusal) => {
                if let Err(error) = upload.abort().await {
                    tracing::debug!(%error, "an upload that was broken off is left");
                }
                Err(refusal)
            }
        }
    }
}

pub(super) async fn put(
    spools: &Spools,
    guest: &Guest,
    target: &Target,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    guest.may_create(target.object)?;
    let mode = match headers.get(header::IF_NONE_MATCH) {
        Some(value) if value == "*" => PutMode::Create,
        None if target.object.is_replaced() => PutMode::Overwrite,
        Some(_) => return Err(Refusal::NotImplemented),
        None => {
            return Err(Refusal::Forbidden(
                "An object of a spool is never replaced.",
            ));
        }
    };
    let mut content = Content::of(headers, body, LARGEST)?;
    // A stale agent need not send what nobody will keep.
    drop(guest.hold().await?);
    let reserved = match target.object.is_replaced() {
        true => None,
        false => {
            let usage = spools.quotas.of(guest.migration).await?;
            Some(usage.reserve(content.length()).ok_or(Refusal::NoRoom)?)
        }
    };
    let incoming = &spools.incoming;
    let _place = incoming.places.acquire().await.map_err(|_| Refusal::Slow)?;
    let arrived = incoming.receive(&mut content).await?;
    let stored = match guest.hold().await {
        Ok(_seat) => store(spools, target, mode, &arrived).await,
        Err(fenced) => Err(fenced),
    };
    if let Arrived::Aside(path) = &arrived
        && let Err(error) = spools.objects.delete(path).await
    {
        tracing::debug!(%error, "an upload is left aside");
    }
    let tag = stored?;
    if let Some(reserved) = reserved {
        reserved.keep();
    }
    let mut response = StatusCode::OK.into_response();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Gives what arrived its name; gives its tag.
async fn store(
    spools: &Spools,
    target: &Target,
    mode: PutMode,
    arrived: &Arrived,
) -> Result<String, Refusal> {
    let tag = match arrived {
        Arrived::Here(payload) => {
            let options = PutOptions::from(mode);
            let put = spools
                .objects
                .put_opts(&target.path, payload.clone(), options);
            put.await?.e_tag
        }
        Arrived::Aside(path) => {
            spools
                .objects
                .copy_if_not_exists(path, &target.path)
                .await?;
            spools.objects.head(&target.path).await?.e_tag
        }
    };
    Ok(quoted(tag.as_deref()))
}
