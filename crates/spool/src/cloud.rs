//! Buckets of clouds, and how patient one is with whatever is elsewhere.

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use std::sync::Arc;
use std::time::Duration;

use object_store::{BackoffConfig, RetryConfig};
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use object_store::{ClientConfigKey, ObjectStore};
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use pghaul_stage::Result;

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use crate::location::invalid;

/// How long one request may take, its body included, unless the environment says otherwise: at
/// 140 kB a second and connection the largest file of rows still passes.
pub(crate) const TIMEOUT_SECONDS: u64 = 120;

/// For how long a request is repeated within the client. What takes longer is repeated by those
/// who know what it was for, as the part of a table.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest pause between two repetitions.
const PAUSE: Duration = Duration::from_secs(3);

/// A bucket in S3, or in what speaks its protocol.
#[cfg(feature = "aws")]
pub(crate) fn s3(bucket: &str) -> Result<Arc<dyn ObjectStore>> {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey::Client, S3CopyIfNotExists};
    let builder = AmazonS3Builder::from_env()
        .with_config(Client(ClientConfigKey::Timeout), timeout("AWS_TIMEOUT"))
        .with_retry(retry())
        .with_bucket_name(bucket)
        // Objects are removed one by one, which more stores understand than lists of them.
        .with_disable_bulk_delete(true)
        .with_copy_if_not_exists(S3CopyIfNotExists::Multipart);
    built(builder.build())
}

/// A container in Azure Blob Storage.
#[cfg(feature = "azure")]
pub(crate) fn azure(container: &str) -> Result<Arc<dyn ObjectStore>> {
    use object_store::azure::{AzureConfigKey::Client, MicrosoftAzureBuilder};
    let builder = MicrosoftAzureBuilder::from_env()
        .with_config(Client(ClientConfigKey::Timeout), timeout("AZURE_TIMEOUT"))
        .with_retry(retry())
        .with_container_name(container);
    built(builder.build())
}

/// A bucket in Google Cloud Storage.
#[cfg(feature = "gcp")]
pub(crate) fn gcs(bucket: &str) -> Result<Arc<dyn ObjectStore>> {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey::Client};
    let builder = GoogleCloudStorageBuilder::from_env()
        .with_config(Client(ClientConfigKey::Timeout), timeout("GOOGLE_TIMEOUT"))
        .with_retry(retry())
        .with_bucket_name(bucket);
    built(builder.build())
}

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn timeout(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| format!("{TIMEOUT_SECONDS}s"))
}

pub(crate) fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            max_backoff: PAUSE,
            ..BackoffConfig::default()
        },
        retry_timeout: PATIENCE,
        ..RetryConfig::default()
    }
}

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn built<T: ObjectStore>(store: object_store::Result<T>) -> Result<Arc<dyn ObjectStore>> {
    match store {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => Err(invalid("the store cannot be set up from the environment")
            .remedy("set the variables of the cloud's own tools; docs/spool.md lists them")
            .because(error)),
    }
}
