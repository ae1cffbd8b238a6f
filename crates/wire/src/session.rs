//! One session with a server: its socket, what it has told us, and messages both ways.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use pghaul_stage::{Error, Kind, Result, Side};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cancel::{Canceller, Route};
use crate::frames::Frames;
use crate::server_error::{from_fields, from_io, lost};
use crate::stream::Stream;

/// A session; whoever holds it may speak.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) stream: Stream,
    pub(crate) frames: Frames,
    pub(crate) side: Side,
    pub(crate) pid: i32,
    pub(crate) key: i32,
    pub(crate) parameters: BTreeMap<String, String>,
    route: Arc<Route>,
    /// What the last ReadyForQuery said; `None` while the server is at work.
    status: Option<u8>,
}

impl Session {
    pub(crate) fn new(stream: Stream, side: Side, route: Route) -> Session {
        Session {
            stream,
            frames: Frames::default(),
            side,
            pid: 0,
            key: 0,
            parameters: BTreeMap::new(),
            route: Arc::new(route),
            status: None,
        }
    }

    pub(crate) fn canceller(&self) -> Canceller {
        Canceller::new(Arc::clone(&self.route), self.side, self.pid, self.key)
    }

    /// Whether the server waits for us, outside of any transaction.
    pub(crate) fn is_idle(&self) -> bool {
        self.status == Some(b'I')
    }

    pub(crate) fn in_transaction(&self) -> bool {
        matches!(self.status, Some(b'T' | b'E'))
    }

    /// Writes all of it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let side = self.side;
        self.stream
            .write_all(bytes)
            .await
            .map_err(|error| from_io(side, error))?;
        self.stream
            .flush()
            .await
            .map_err(|error| from_io(side, error))
    }

    /// Starts a simple query, which the server must be ready for.
    pub(crate) async fn send_query(&mut self, sql: &str) -> Result<()> {
        if self.status.take().is_none() {
            return Err(Error::new(
                Kind::Protocol,
                "a statement was sent on a session that has not finished the one before",
            )
            .at(self.side));
        }
        let mut message = BytesMut::with_capacity(sql.len() + 6);
        frontend::query(sql, &mut message)
            .map_err(|error| Error::input("the statement cannot be sent").because(error))?;
        self.send(&message).await
    }

    /// Waits for more bytes, at most for the limit.
    pub(crate) async fn fill(&mut self, copying: bool, limit: Option<Duration>) -> Result<()> {
        let side = self.side;
        let mut space = self.frames.space(copying);
        let read = self.stream.read_buf(&mut space);
        let read = match limit {
            None => read.await,
            Some(limit) => match tokio::time::timeout(limit, read).await {
                Ok(read) => read,
                Err(_) => return Err(silent(side, limit)),
            },
        };
        match read {
            Ok(0) => Err(lost(side)),
            Ok(_) => Ok(()),
            Err(error) => Err(from_io(side, error)),
        }
    }

    /// The next message that has arrived and is not just for the record.
    pub(crate) fn arrived(&mut self) -> Result<Option<Message>> {
        loop {
            let Some(message) = self.frames.message().map_err(|error| error.at(self.side))? else {
                return Ok(None);
            };
            match message {
                Message::NoticeResponse(_) | Message::NotificationResponse(_) => {}
                Message::ParameterStatus(body) => {
                    if let (Ok(name), Ok(value)) = (body.name(), body.value()) {
                        self.parameters.insert(name.to_owned(), value.to_owned());
                    }
                }
                Message::BackendKeyData(body) => {
                    self.pid = body.process_id();
                    self.key = body.secret_key();
                }
                Message::ReadyForQuery(_) => {
                    if let Message::ReadyForQuery(body) = &message {
                        self.status = Some(body.status());
                    }
                    return Ok(Some(message));
                }
                message => return Ok(Some(message)),
            }
        }
    }

    /// Waits for the next message.
    pub(crate) async fn receive(&mut self, limit: Option<Duration>) -> Result<Message> {
        loop {
            if let Some(message) = self.arrived()? {
                return Ok(message);
            }
            self.fill(false, limit).await?;
        }
    }

    /// Runs statements to their end; returns the command tags and the rows as text.
    ///
    /// No deadline of its own: an index build may take hours, and a dead peer is found by
    /// keepalive.
    pub(crate) async fn simple_query(&mut self, sql: &str, keep_rows: bool) -> Result<Answer> {
        self.send_query(sql).await?;
        let mut answer = Answer::default();
        let mut failure = None;
        loop {
            match self.receive(None).await? {
                Message::ReadyForQuery(_) => return failure.map_or(Ok(answer), Err),
                Message::ErrorResponse(body) => {
                    failure = Some(from_fields(self.side, body.fields()));
                }
                Message::CommandComplete(body) => {
                    answer.tags.push(body.tag().unwrap_or_default().to_owned());
                }
                Message::DataRow(body) if keep_rows => {
                    let buffer = body.buffer();
                    let row = body.ranges().map(|range| {
                        let Some(range) = range else { return Ok(None) };
                        let bytes = buffer.get(range).unwrap_or_default();
                        let text = std::str::from_utf8(bytes).map_err(std::io::Error::other)?;
                        Ok(Some(text.to_owned()))
                    });
                    answer.rows.push(row.collect().map_err(|error| {
                        Error::new(Kind::Protocol, "the server sent a row that cannot be read")
                            .at(self.side)
                            .because(error)
                    })?);
                }
                Message::CopyInResponse(_) => {
                    let mut message = BytesMut::new();
                    frontend::copy_fail("no data is sent by a plain statement", &mut message)
                        .map_err(|error| from_io(self.side, error))?;
                    self.send(&message).await?;
                }
                Message::RowDescription(_)
                | Message::DataRow(_)
                | Message::EmptyQueryResponse
                | Message::CopyOutResponse(_)
                | Message::CopyData(_)
                | Message::CopyDone => {}
                _ => return Err(unexpected(self.side)),
            }
        }
    }
}

/// What statements returned.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) tags: Vec<String>,
    pub(crate) rows: Vec<Vec<Option<String>>>,
}

/// A message that has no place here.
pub(crate) fn unexpected(side: Side) -> Error {
    Error::new(
        Kind::Protocol,
        "the server sent a message that has no place here",
    )
    .at(side)
}

/// Nothing moved for too long.
pub(crate) fn silent(side: Side, limit: Duration) -> Error {
    Error::new(
        Kind::Transient,
        format!("nothing has moved for {} s", limit.as_secs_f32()),
    )
    .at(side)
    .remedy("look for a lock wait or a stalled network")
}

/// The rows that a command tag counts, such as `COPY 7`.
pub(crate) fn rows(tag: &str) -> u64 {
    tag.rsplit(' ')
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or_default()
}
