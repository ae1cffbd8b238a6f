//! Where a spool is: a directory or a prefix of a bucket, named by a URL.
//!
//! Credentials and endpoints come from the environment, by the names that each cloud's own tools
//! use (`AWS_…`, `AZURE_STORAGE_…`, `GOOGLE_…`; `PGHAUL_TOKEN` of a runtime server), never from the URL.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use pghaul_stage::{Error, Kind, Result, Side};

use crate::Store;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use crate::cloud;
use crate::relay::{Access, Relay};

/// The objects of the place that a URL names, whatever they are; as [`open`].
///
/// # Errors
///
/// As [`open`].
pub fn objects(url: &str, create: bool) -> Result<Arc<dyn ObjectStore>> {
    open(url, create).map(Store::into_objects)
}

/// Opens the place that a URL names: `file:///path` or a path, `s3://bucket/prefix`,
/// `az://container/prefix`, `gs://bucket/prefix`, `relay+https://server/migration/database`. With
/// `create`, a directory that is not there is made, for its owner alone.
///
/// # Errors
///
/// Kind input for what is no such URL, and for a directory that is not there.
pub fn open(url: &str, create: bool) -> Result<Store> {
    match url.split_once("://") {
        None => directory(PathBuf::from(url), create),
        Some(("file", path)) if path.starts_with('/') => directory(PathBuf::from(path), create),
        Some(("file", _)) => Err(invalid("a file URL has three slashes: file:///path")),
        Some((scheme, _)) if scheme.starts_with("relay+") => match Relay::parse(url)? {
            Some(relay) => relay.connect(&Access::default())?.store(None),
            None => Err(invalid("it is none of a runtime server")),
        },
        Some((scheme, rest)) => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() || bucket.contains('@') {
                return Err(invalid(
                    "it names no bucket, or has a user in it; credentials come from the environment",
                ));
            }
            let objects = in_cloud(scheme, bucket)?;
            let prefix = Path::parse(prefix.trim_end_matches('/'))
                .map_err(|error| invalid("its path is none of an object").because(error))?;
            let store: Arc<dyn ObjectStore> = match prefix.as_ref() {
                "" => objects,
                _ => Arc::new(PrefixStore::new(objects, prefix)),
            };
            Ok(Store::new(store, url))
        }
    }
}

/// The place of a database's spool within the place of several. The first one has number 1.
pub fn of_database(url: &str, number: usize) -> String {
    format!("{}/database/{number:06}", url.trim_end_matches('/'))
}

/// Whether this names a directory that is not there yet.
pub fn is_missing(url: &str) -> bool {
    let path = match url.split_once("://") {
        None => url,
        Some(("file", path)) => path,
        Some(_) => return false,
    };
    std::path::Path::new(path)
        .try_exists()
        .is_ok_and(|there| !there)
}

fn directory(path: PathBuf, create: bool) -> Result<Store> {
    let place = path.display().to_string();
    if place.is_empty() {
        return Err(invalid("it is empty"));
    }
    let failed = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Kind::Input,
            _ => Kind::Permanent,
        };
        Error::new(kind, "the directory of the spool cannot be used")
            .at(Side::Link)
            .on(place.clone())
            .because(error)
    };
    if create && !path.exists() {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&path).map_err(failed)?;
    }
    let path = path.canonicalize().map_err(failed)?;
    if !path.is_dir() {
        return Err(failed(std::io::ErrorKind::NotADirectory.into()));
    }
    let objects = LocalFileSystem::new_with_prefix(&path)
        .map_err(|error| invalid("it is no directory").because(error))?
        .with_fsync(true);
    Ok(Store::in_directory(Arc::new(objects), &path))
}

#[cfg_attr(
    not(any(feature = "aws", feature = "azure", feature = "gcp")),
    expect(unused_variables, reason = "no cloud, no bucket")
)]
fn in_cloud(scheme: &str, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
    match scheme {
        #[cfg(feature = "aws")]
        "s3" | "s3a" => cloud::s3(bucket),
        #[cfg(feature = "azure")]
        "az" | "azure" | "abfs" => cloud::azure(bucket),
        #[cfg(feature = "gcp")]
        "gs" => cloud::gcs(bucket),
        _ => Err(invalid(
            "this build knows file://, s3://, az:// and gs://, as far as its features allow, and relay+https://",
        )),
    }
}

pub(crate) fn invalid(why: &'static str) -> Error {
    Error::input(why).at(Side::Link).on("the URL of the spool")
}

#[cfg(test)]
mod tests {
    use pghaul_stage::Kind;

    use super::{is_missing, open};

    #[test]
    fn wrong_urls_are_wrong_input() {
        for url in [
            "",
            "file://relative",
            "ftp://host/path",
            "s3://",
            "s3://key:secret@bucket/x",
            "/nowhere/at/all",
        ] {
            let error = open(url, false).expect_err(url);
            assert_eq!(error.kind(), Kind::Input, "{url}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{url}");
        }
    }

    #[test]
    fn a_directory_is_made_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        let file = format!("file://{}", path.display());
        assert!(is_missing(path.to_str().unwrap()) && is_missing(&file));
        let store = open(path.to_str().unwrap(), true).unwrap();
        assert!(!is_missing(path.to_str().unwrap()) && !is_missing(&file));
        assert!(!is_missing("s3://bucket/a"));
        assert_eq!(store.place(), path.to_str().unwrap());
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
