//! GET and HEAD: an object, or a range of it, as a stream.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{Refusal, Target};

/// How much of a file is read at once: each time costs a hop to a thread that may block.
const PIECE: usize = 256 << 10;

pub(super) async fn head(objects: &dyn ObjectStore, target: &Target) -> Result<Response, Refusal> {
    let meta = objects.head(&target.path).await?;
    let mut response = StatusCode::OK.into_response();
    describe(response.headers_mut(), &meta, meta.size);
    Ok(response)
}

pub(super) async fn get(
    objects: &dyn ObjectStore,
    target: &Target,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let range = match headers.get(header::RANGE) {
        None => None,
        Some(range) => Some(parse(range).ok_or(Refusal::Malformed("the range is none"))?),
    };
    let options = GetOptions {
        range: range.clone(),
        ..GetOptions::default()
    };
    let found = match objects.get_opts(&target.path, options).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Err(Refusal::NoSuchKey),
        // Stores tell a range that is not there from a failure in words alone.
        Err(error) => {
            let size = objects.head(&target.path).await?.size;
            let beyond = match range {
                Some(GetRange::Bounded(range)) => range.start >= size,
                Some(GetRange::Offset(offset)) => offset >= size,
                Some(GetRange::Suffix(length)) => length == 0 || size == 0,
                None => false,
            };
            return Err(if beyond {
                Refusal::Range(size)
            } else {
                error.into()
            });
        }
    };
    if let Some(expected) = headers.get(header::IF_MATCH)
        && expected.as_bytes() != quoted(found.meta.e_tag.as_deref()).as_bytes()
    {
        return Err(Refusal::NotThatOne);
    }
    let (start, end, size) = (found.range.start, found.range.end, found.meta.size);
    let meta = found.meta.clone();
    let mut response = Body::from_stream(pieces(found).await?).into_response();
    describe(response.headers_mut(), &meta, end - start);
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = end.saturating_sub(1);
        if let Ok(range) = HeaderValue::try_from(format!("bytes {start}-{last}/{size}")) {
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
    }
    Ok(response)
}

/// `bytes=A-B`, `bytes=A-` or `bytes=-N`; several ranges are none.
fn parse(range: &HeaderValue) -> Option<GetRange> {
    let range = range.to_str().ok()?.strip_prefix("bytes=")?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| text.parse::<u64>().ok();
    Some(match (first, last) {
        ("", length) => GetRange::Suffix(number(length)?),
        (offset, "") => GetRange::Offset(number(offset)?),
        (first, last) => {
            let (first, end) = (number(first)?, number(last)?.checked_add(1)?);
            if end <= first {
                return None;
            }
            GetRange::Bounded(first..end)
        }
    })
}

async fn pieces(
    found: GetResult,
) -> Result<BoxStream<'static, object_store::Result<Bytes>>, Refusal> {
    let length = found.range.end - found.range.start;
    let (file, path) = match found.payload {
        GetResultPayload::Stream(stream) => return Ok(stream),
        GetResultPayload::File(file, path) => (file, path),
    };
    let failed = move |error: std::io::Error| object_store::Error::Generic {
        store: "LocalFileSystem",
        source: format!("{}: {error}", path.display()).into(),
    };
    let mut file = tokio::fs::File::from_std(file);
    file.set_max_buf_size(PIECE);
    let sought = file.seek(std::io::SeekFrom::Start(found.range.start)).await;
    sought.map_err(&failed)?;
    let begin = (file.take(length), failed);
    let pieces = stream::try_unfold(begin, async |(mut file, failed)| {
        let mut piece = BytesMut::with_capacity(PIECE);
        match file.read_buf(&mut piece).await {
            Ok(0) if file.limit() > 0 => Err(failed(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some((piece.freeze(), (file, failed)))),
            Err(error) => Err(failed(error)),
        }
    });
    Ok(pieces.boxed())
}

fn describe(headers: &mut HeaderMap, meta: &ObjectMeta, length: u64) {
    // As HTTP has it; the format of mails, which `to_rfc2822` gives, has another time zone.
    let modified = meta.last_modified.format("%a, %d %b %Y %H:%M:%S GMT");
    for (name, value) in [
        (header::ETAG, quoted(meta.e_tag.as_deref())),
        (header::LAST_MODIFIED, modified.to_string()),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
}

/// A tag as HTTP has it; directories give theirs without quotes.
pub(super) fn quoted(tag: Option<&str>) -> String {
    match tag {
        Some(tag) if tag.starts_with('"') || tag.starts_with("W/") => tag.to_owned(),
        tag => format!("\"{}\"", tag.unwrap_or_default()),
    }
}
