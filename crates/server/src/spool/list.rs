//! Lists of objects, page by page, in the order of their names.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore};
use quick_xml::escape::escape;

use super::answer::xml;
use super::get::quoted;
use super::{Guest, Refusal, of_migration};

/// Objects in a page at most. Stores that are directories list in no order, so each page means
/// going through all objects: more than S3's thousand keep that rare.
const PAGE: usize = 10_000;

pub(super) async fn list(
    objects: &dyn ObjectStore,
    guest: &Guest,
    query: &str,
) -> Result<Response, Refusal> {
    let asked = Asked::parse(query)?;
    let root = of_migration(guest.migration);
    let below = match asked.prefix.as_str() {
        "" => root.clone(),
        prefix => joined(&root, prefix)?,
    };
    let after = match &asked.after {
        Some(after) => Some(joined(&root, after)?),
        None => None,
    };
    let mut page: BTreeMap<ObjectPath, ObjectMeta> = BTreeMap::new();
    let mut more = false;
    let mut found = match &after {
        Some(after) => objects.list_with_offset(Some(&below), after),
        None => objects.list(Some(&below)),
    };
    while let Some(meta) = found.try_next().await? {
        page.insert(meta.location.clone(), meta);
        if page.len() > asked.limit {
            page.pop_last();
            more = true;
        }
    }
    let mut answer =
        String::from("<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    let mut last = String::new();
    let (count, prefix) = (page.len(), format!("{root}/"));
    for (path, meta) in page {
        let key = path.as_ref().strip_prefix(&prefix).unwrap_or_default();
        answer.push_str(&format!(
            "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>{}</ETag>\
             <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            escape(key),
            meta.last_modified.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
            escape(quoted(meta.e_tag.as_deref())),
            meta.size,
        ));
        key.clone_into(&mut last);
    }
    answer.push_str(&format!(
        "<Prefix>{}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{}</MaxKeys>\
         <IsTruncated>{more}</IsTruncated>",
        escape(&asked.prefix),
        asked.limit,
    ));
    if more {
        let token = escape(&last);
        answer.push_str(&format!(
            "<NextContinuationToken>{token}</NextContinuationToken>"
        ));
    }
    answer.push_str("</ListBucketResult>");
    Ok(xml(&answer).into_response())
}

/// A name of the migration's objects, or the beginning of some.
fn joined(root: &ObjectPath, key: &str) -> Result<ObjectPath, Refusal> {
    ObjectPath::parse(format!("{root}/{key}")).map_err(|_| Refusal::NoSuchName)
}

/// What a list is asked for.
struct Asked {
    /// Empty, or whole steps of a name with a slash behind them.
    prefix: String,
    /// The key that was listed last.
    after: Option<String>,
    limit: usize,
}

impl Asked {
    fn parse(query: &str) -> Result<Self, Refusal> {
        let mut asked = Self {
            prefix: String::new(),
            after: None,
            limit: PAGE,
        };
        let mut version = false;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "list-type" => version = value == "2",
                "prefix" => asked.prefix = value.into_owned(),
                // What was listed last is the token, so nothing has to be remembered for it.
                "continuation-token" | "start-after" => asked.after = Some(value.into_owned()),
                "max-keys" => {
                    let limit: usize = value
                        .parse()
                        .map_err(|_| Refusal::Malformed("the number of keys is none"))?;
                    asked.limit = limit.clamp(1, PAGE);
                }
                _ => return Err(Refusal::NotImplemented),
            }
        }
        let steps = asked.prefix.is_empty() || asked.prefix.ends_with('/');
        if !version || !steps {
            return Err(Refusal::NotImplemented);
        }
        Ok(asked)
    }
}
