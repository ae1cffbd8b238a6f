//! What a request carries: in pieces, never longer than it announced, and what it announced.

use std::time::Duration;

use aws_lc_rs::digest;
use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use md5::{Digest, Md5};

use super::Refusal;

/// For how long nothing may arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// S3's header with a checksum of the content.
const SHA256: &str = "x-amz-checksum-sha256";

/// The content of a request.
pub(super) struct Content {
    pieces: BodyDataStream,
    length: u64,
    arrived: u64,
    md5: Option<(Md5, Vec<u8>)>,
    sha256: Option<(digest::Context, Vec<u8>)>,
}

impl Content {
    /// The content of a request with these headers, of at most `limit` bytes.
    pub(super) fn of(headers: &HeaderMap, body: Body, limit: u64) -> Result<Self, Refusal> {
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.ok_or(Refusal::NoLength)?;
        let length: Option<u64> = length.to_str().ok().and_then(|text| text.parse().ok());
        let length = length.ok_or(Refusal::Malformed("the length is no number"))?;
        if length > limit {
            return Err(Refusal::TooLarge);
        }
        Ok(Self {
            pieces: body.into_data_stream(),
            length,
            arrived: 0,
            md5: announced(headers, "content-md5")?.map(|hash| (Md5::new(), hash)),
            sha256: announced(headers, SHA256)?
                .map(|hash| (digest::Context::new(&digest::SHA256), hash)),
        })
    }

    /// How long it says it is.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The next piece; `None` at the end, when all of it was what it announced.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let piece = tokio::time::timeout(PATIENCE, self.pieces.next()).await;
        match piece.map_err(|_| Refusal::Slow)? {
            Some(Ok(piece)) => {
                self.arrived += piece.len() as u64;
                if self.arrived > self.length {
                    return Err(Refusal::Damaged("It is longer than it said."));
                }
                if let Some((hasher, _)) = &mut self.md5 {
                    hasher.update(&piece);
                }
                if let Some((hasher, _)) = &mut self.sha256 {
                    hasher.update(&piece);
                }
                Ok(Some(piece))
            }
            Some(Err(_)) => Err(Refusal::Damaged("The connection broke before its end.")),
            None => self.whole().map(|()| None),
        }
    }

    fn whole(&mut self) -> Result<(), Refusal> {
        if self.arrived < self.length {
            return Err(Refusal::Damaged("It is shorter than it said."));
        }
        let md5 = self.md5.take();
        let sha256 = self.sha256.take();
        if md5.is_some_and(|(hasher, hash)| hasher.finalize()[..] != hash[..])
            || sha256.is_some_and(|(hasher, hash)| hasher.finish().as_ref() != hash)
        {
            return Err(Refusal::Damaged("Its checksum is another one."));
        }
        Ok(())
    }

    /// All of it, which is short.
    pub(super) async fn all(mut self) -> Result<Vec<u8>, Refusal> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

fn announced(headers: &HeaderMap, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let hash = BASE64_STANDARD.decode(value.as_bytes());
    hash.map(Some)
        .map_err(|_| Refusal::Malformed("The checksum is not in base64."))
}
