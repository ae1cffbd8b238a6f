//! Objects that are created if absent, and never changed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use pghaul_stage::{Error, Kind, Result, Side};

use crate::relay::Fenced;

/// How often a request whose outcome is unknown is repeated.
const ATTEMPTS: u32 = 4;

/// The pause before the first repetition; it doubles.
const PAUSE: Duration = Duration::from_millis(200);

/// The largest object that is read. Files of rows are a tenth of it at most; only the archive of an
/// enormous schema comes near.
const LARGEST: u64 = 1 << 30;

/// A place for objects.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    place: Arc<str>,
    directory: Option<Arc<std::path::Path>>,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// Its name within the spool.
    pub(crate) name: String,
    /// Its size in bytes.
    pub(crate) size: u64,
}

impl Store {
    /// A store of these objects; `place` is what messages call it, without any secret.
    pub fn new(objects: Arc<dyn ObjectStore>, place: &str) -> Self {
        Self {
            objects,
            place: place.into(),
            directory: None,
        }
    }

    /// A store of objects that are files of this directory.
    pub(crate) fn in_directory(objects: Arc<dyn ObjectStore>, directory: &std::path::Path) -> Self {
        let store = Self::new(objects, &directory.display().to_string());
        Self {
            directory: Some(directory.into()),
            ..store
        }
    }

    pub(crate) fn into_objects(self) -> Arc<dyn ObjectStore> {
        self.objects
    }

    /// The directory that the objects are in, if they are in one.
    pub(crate) fn directory(&self) -> Option<&std::path::Path> {
        self.directory.as_deref()
    }

    /// What messages call it.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Creates an object; `false` if the name stands for something else already.
    ///
    /// An answer that was lost, or that a retry within the client made wrong, is settled by looking:
    /// an object with this very content is ours.
    pub(crate) async fn create(&self, name: &str, content: &Bytes) -> Result<bool> {
        let mut pause = PAUSE;
        let mut attempt = 1;
        loop {
            let options = PutOptions::from(PutMode::Create);
            let payload = PutPayload::from(content.clone());
            let failed = match self
                .objects
                .put_opts(&Path::from(name), payload, options)
                .await
            {
                Ok(_) => return Ok(true),
                Err(failed) => failed,
            };
            let taken = matches!(
                failed,
                object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. }
            );
            let error = self.failed(name, failed);
            if !taken && !error.is_transient() {
                return Err(error);
            }
            match self.read(name).await {
                Ok(Some(there)) => return Ok(there == *content),
                Ok(None) if attempt < ATTEMPTS => {}
                Ok(None) => return Err(error),
                Err(_) if attempt < ATTEMPTS => {}
                Err(unreadable) => return Err(unreadable),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    /// Writes an object that says nothing about rows, over an earlier one.
    pub(crate) async fn replace(&self, name: &str, content: Bytes) -> Result<()> {
        let path = Path::from(name);
        let put = self.objects.put(&path, content.into());
        put.await.map_err(|error| self.failed(name, error))?;
        Ok(())
    }

    /// The content of an object; `None` if there is none.
    pub(crate) async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        let found = match self.objects.get(&Path::from(name)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(name, error)),
        };
        if found.meta.size > LARGEST {
            return Err(self.damaged(name, "it is larger than anything pghaul writes"));
        }
        match found.bytes().await {
            Ok(content) => Ok(Some(content)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(name, error)),
        }
    }

    /// All objects whose names begin with these steps, in no order. What is being written in a
    /// directory has no name yet, and is not among them.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let path = Path::from(prefix);
        let prefix = (!prefix.is_empty()).then_some(&path);
        let found = self.objects.list(prefix).map_ok(|meta| Object {
            name: meta.location.to_string(),
            size: meta.size,
        });
        let found: object_store::Result<Vec<Object>> = found.try_collect().await;
        found.map_err(|error| self.failed(path.as_ref(), error))
    }

    /// Removes an object, if it is there.
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        match self.objects.delete(&Path::from(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(name, error)),
        }
    }

    /// Removes everything, and the directory if it is one.
    pub(crate) async fn erase(&self) -> Result<()> {
        for object in self.list("").await? {
            self.remove(&object.name).await?;
        }
        let Some(directory) = self.directory.clone() else {
            return Ok(());
        };
        let subject = directory.display().to_string();
        let removing = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(&directory));
        match removing.await {
            Ok(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                let failed = Error::new(Kind::Permanent, "the directory cannot be removed");
                Err(failed.at(Side::Link).on(subject).because(error))
            }
            _ => Ok(()),
        }
    }

    /// The error of an object that is not what it should be.
    pub(crate) fn damaged(&self, name: &str, what: &'static str) -> Error {
        Error::new(Kind::Identity, what)
            .at(Side::Link)
            .on(self.subject(name))
            .remedy("nothing of it was used; `pghaul spool check` lists all damage, and `pghaul spool repair` extracts damaged parts again")
    }

    /// How errors name an object.
    pub(crate) fn subject(&self, name: &str) -> String {
        format!("{name} in the spool {}", self.place)
    }

    fn failed(&self, name: &str, error: object_store::Error) -> Error {
        use object_store::Error as Cause;
        let (kind, message, remedy) = match &error {
            Cause::PermissionDenied { .. } | Cause::Unauthenticated { .. } => (
                Kind::Permanent,
                "the store does not allow it",
                Some(
                    "check the credentials in the environment, and their right to read, write, list and remove objects of the spool",
                ),
            ),
            Cause::NotFound { .. } if self.directory.is_none() => (
                Kind::Permanent,
                "the store does not know the bucket",
                Some("check the URL, and create the bucket or container first"),
            ),
            Cause::NotSupported { .. }
            | Cause::NotImplemented { .. }
            | Cause::InvalidPath { .. }
            | Cause::UnknownConfigurationKey { .. } => {
                (Kind::Permanent, "the store cannot do this", None)
            }
            other if is_fenced(other) => (
                Kind::Fenced,
                "the runtime server gave the work of this agent to another one",
                Some("look at the agents of the migration; this one may be started again"),
            ),
            _ => match cause(&error) {
                Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => (
                    Kind::Transient,
                    "there is no room left in the spool",
                    Some(
                        "make room, or set --spool-limit while a load removes what it has loaded; then go on with --resume",
                    ),
                ),
                Some(
                    std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem,
                ) => (
                    Kind::Permanent,
                    "the directory does not allow it",
                    Some("give the process the right to read and write the spool's directory"),
                ),
                _ => (
                    Kind::Transient,
                    "the store failed",
                    self.directory.is_none().then_some(
                        "check the network, and the endpoint and the credentials in the environment",
                    ),
                ),
            },
        };
        let failed = Error::new(kind, message)
            .at(Side::Link)
            .on(self.subject(name))
            .because(error);
        match remedy {
            Some(remedy) => failed.remedy(remedy),
            None => failed,
        }
    }
}

/// What the operating system said, if it was that.
fn cause(error: &object_store::Error) -> Option<std::io::ErrorKind> {
    let mut errors = chain(error);
    errors.find_map(|error| Some(error.downcast_ref::<std::io::Error>()?.kind()))
}

/// Whether a runtime server has given the work to another agent.
fn is_fenced(error: &object_store::Error) -> bool {
    chain(error).any(|error| error.is::<Fenced>())
}

/// An error, and what it came from.
fn chain(error: &object_store::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
