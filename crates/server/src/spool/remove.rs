//! DELETE, and POST ?delete for several.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use quick_xml::escape::escape;
use serde::Deserialize;

use super::answer::xml;
use super::body::Content;
use super::{Guest, Refusal, Spools, Target};

/// Names in one request at most, and bytes of it: as in S3.
const SEVERAL: usize = 1000;
const LIST: u64 = 1 << 20;

/// Removes an object, if it is there.
pub(super) async fn one(
    spools: &Spools,
    guest: &Guest,
    target: &Target,
) -> Result<Response, Refusal> {
    remove(spools, guest, target).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn remove(spools: &Spools, guest: &Guest, target: &Target) -> Result<(), Refusal> {
    guest.may_remove(target.object)?;
    let _seat = guest.hold().await?;
    let usage = spools.quotas.of(guest.migration).await?;
    // Signs of life do not count.
    let size = match target.object.is_replaced() {
        true => 0,
        false => match spools.objects.head(&target.path).await {
            Ok(meta) => meta.size,
            Err(object_store::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        },
    };
    match spools.objects.delete(&target.path).await {
        Ok(()) => {
            usage.release(size);
            Ok(())
        }
        Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[derive(Deserialize)]
struct Delete {
    #[serde(rename = "Object", default)]
    objects: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "Key")]
    key: String,
}

/// Removes several objects, and says of each how that went.
pub(super) async fn several(
    spools: &Spools,
    guest: &Guest,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let list = Content::of(headers, body, LIST)?.all().await?;
    let list: Delete =
        quick_xml::de::from_reader(&list[..]).map_err(|_| Refusal::Malformed("no list"))?;
    if list.objects.len() > SEVERAL {
        return Err(Refusal::TooLarge);
    }
    let mut answer = String::from("<DeleteResult>");
    for Named { key } in list.objects {
        let removed = match Target::of(guest.migration, &key) {
            Ok(target) => remove(spools, guest, &target).await,
            Err(refusal) => Err(refusal),
        };
        let key = escape(&key);
        match removed {
            Ok(()) => answer.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>")),
            Err(Refusal::Fenced) => return Err(Refusal::Fenced),
            Err(refusal) => {
                let (code, message) = refusal.said();
                answer.push_str(&format!(
                    "<Error><Key>{key}</Key><Code>{}</Code><Message>{}</Message></Error>",
                    escape(code),
                    escape(message)
                ));
            }
        }
    }
    answer.push_str("</DeleteResult>");
    Ok(xml(&answer).into_response())
}

/// Removes everything below a name.
pub(super) async fn all(objects: &dyn ObjectStore, below: &ObjectPath) -> object_store::Result<()> {
    let found = objects.list(Some(below)).map_ok(|meta| meta.location);
    let mut removed = objects.delete_stream(found.boxed());
    while let Some(outcome) = removed.next().await {
        match outcome {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
