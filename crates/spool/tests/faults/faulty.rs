//! A store whose requests can be made to fail, one by one.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Put,
    Get,
    List,
    Delete,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// Which one, counted from 1. Beats of workers count too.
    pub(crate) number: u64,
    pub(crate) verb: Verb,
    pub(crate) name: &'a str,
}

impl Request<'_> {
    /// Whether it changes the store.
    pub(crate) fn mutates(&self) -> bool {
        matches!(self.verb, Verb::Put | Verb::Delete)
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is carried out.
    Pass,
    /// It is not carried out.
    Fail(Cause),
    /// It is carried out, and the answer says it was not.
    Lie(Cause),
    /// It is carried out, but only after the answer that it failed.
    Late(Cause),
}

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Generic,
    Timeout,
    NoSpace,
    Permission,
    AlreadyExists,
    Precondition,
}

impl Cause {
    fn error(self, name: &str) -> Error {
        let path = name.to_owned();
        let io = |kind| Box::new(io::Error::from(kind));
        match self {
            Cause::Generic => Error::Generic {
                store: "faulty",
                source: "503 Slow Down".into(),
            },
            Cause::Timeout => Error::Generic {
                store: "faulty",
                source: io(io::ErrorKind::TimedOut),
            },
            Cause::NoSpace => Error::Generic {
                store: "faulty",
                source: io(io::ErrorKind::StorageFull),
            },
            Cause::Permission => Error::PermissionDenied {
                path,
                source: "403 Forbidden".into(),
            },
            Cause::AlreadyExists => Error::AlreadyExists {
                path,
                source: "409 Conflict".into(),
            },
            Cause::Precondition => Error::Precondition {
                path,
                source: "412 Precondition Failed".into(),
            },
        }
    }
}

type Decide = dyn Fn(&Request<'_>) -> Fate + Send + Sync;

/// Objects in memory, behind something that decides what becomes of each request.
pub(crate) struct Faulty {
    objects: Arc<InMemory>,
    count: AtomicU64,
    decide: Arc<Decide>,
}

impl Faulty {
    pub(crate) fn new(
        objects: &Arc<InMemory>,
        decide: impl Fn(&Request<'_>) -> Fate + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            objects: Arc::clone(objects),
            count: AtomicU64::new(0),
            decide: Arc::new(decide),
        })
    }

    /// How many requests there have been.
    pub(crate) fn requests(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    fn fate(&self, verb: Verb, name: &str) -> Fate {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        (self.decide)(&Request { number, verb, name })
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let name = location.as_ref();
        match self.fate(Verb::Put, name) {
            Fate::Pass => self.objects.put_opts(location, payload, options).await,
            Fate::Fail(cause) => Err(cause.error(name)),
            Fate::Lie(cause) => {
                // Its own outcome is not told either.
                drop(self.objects.put_opts(location, payload, options).await);
                Err(cause.error(name))
            }
            Fate::Late(cause) => {
                let (objects, location) = (Arc::clone(&self.objects), location.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(LATE).await;
                    drop(objects.put_opts(&location, payload, options).await);
                });
                Err(cause.error(name))
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(unused("put_multipart_opts"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.fate(Verb::Get, location.as_ref()) {
            Fate::Pass => self.objects.get_opts(location, options).await,
            Fate::Fail(cause) | Fate::Lie(cause) | Fate::Late(cause) => {
                Err(cause.error(location.as_ref()))
            }
        }
    }

    async fn get_ranges(&self, _: &Path, _: &[Range<u64>]) -> Result<Vec<Bytes>> {
        Err(unused("get_ranges"))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (decide, objects) = (Arc::clone(&self.decide), Arc::clone(&self.objects));
        // Only ever asked for one object at a time.
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        let delete = move |location: Path| {
            let (decide, objects) = (Arc::clone(&decide), Arc::clone(&objects));
            async move {
                let fate = decide(&Request {
                    number,
                    verb: Verb::Delete,
                    name: location.as_ref(),
                });
                if !matches!(fate, Fate::Fail(_)) {
                    objects.delete(&location).await?;
                }
                match fate {
                    Fate::Pass => Ok(location),
                    Fate::Fail(cause) | Fate::Lie(cause) | Fate::Late(cause) => {
                        Err(cause.error(location.as_ref()))
                    }
                }
            }
        };
        locations.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let name = prefix.map(Path::as_ref).unwrap_or_default();
        match self.fate(Verb::List, name) {
            Fate::Pass => self.objects.list(prefix),
            Fate::Fail(cause) | Fate::Lie(cause) | Fate::Late(cause) => {
                stream::iter([Err(cause.error(name))]).boxed()
            }
        }
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(unused("list_with_delimiter"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(unused("copy_opts"))
    }
}

/// How late a request comes that was given up.
const LATE: std::time::Duration = std::time::Duration::from_millis(1500);

fn unused(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "faulty".to_owned(),
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}
