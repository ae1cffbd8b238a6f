//! COPY into a server, with an ear for its errors while sending.
//!
//! Source: PostgreSQL's manual, section 55.2.6.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use pghaul_stage::{Error, Kind, Result};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Lane;
use crate::server_error::{from_fields, from_io, lost};
use crate::session::{Session, rows, silent, unexpected};

/// Smaller pieces are joined to messages of this size: the server handles each on its own.
pub const JOIN_BYTES: usize = 64 * 1024;
/// Larger pieces are cut: the server buffers a whole message.
const MAX_BYTES: usize = 256 * 1024;
/// How long to look for the server's last words after it has closed the connection.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Running `COPY … FROM STDIN` statements.
///
/// All is pipelined: nothing but [`CopyIn::finish`] and [`CopyIn::fail`] waits for an answer,
/// yet an error of the server ends the next call at once, even one that waits for room to
/// write. After an error, or when a call was dropped halfway, the session is not used again.
/// Dropping it unfinished closes the socket, which makes the server roll back.
#[derive(Debug)]
pub struct CopyIn {
    session: Session,
    silence: Option<Duration>,
    /// Bytes of the current statement that wait to be joined by more.
    pending: BytesMut,
    replies: Replies,
    /// How many streams were ended.
    ended: usize,
    /// Half a message may have been written.
    broken: bool,
}

/// What the server has said so far.
#[derive(Debug, Default)]
struct Replies {
    /// How many COPY statements have begun.
    started: usize,
    /// Whether the last of them waits for its command tag.
    copying: bool,
    rows: Vec<u64>,
    error: Option<Error>,
    ready: bool,
}

impl CopyIn {
    pub(crate) fn new(session: Session, silence: Option<Duration>) -> CopyIn {
        CopyIn {
            session,
            silence,
            pending: BytesMut::new(),
            replies: Replies::default(),
            ended: 0,
            broken: false,
        }
    }

    /// Sends bytes of the current statement's stream, cut anywhere.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<()> {
        if self.pending.len() + bytes.len() < JOIN_BYTES {
            self.check()?;
            self.pending.extend_from_slice(&bytes);
            return Ok(());
        }
        self.send_pending().await?;
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(MAX_BYTES));
            self.send_frame(piece).await?;
        }
        Ok(())
    }

    /// Ends the current statement's stream without waiting for the server; what is sent next
    /// belongs to the next COPY statement of the query.
    pub async fn done(&mut self) -> Result<()> {
        self.send_pending().await?;
        let mut message = BytesMut::new();
        frontend::copy_done(&mut message);
        self.write(message, true).await?;
        self.ended += 1;
        Ok(())
    }

    /// Waits, after the last [`CopyIn::done`], until the server has taken everything; returns
    /// the session and the rows of each COPY statement.
    pub async fn finish(mut self) -> Result<(Lane, Vec<u64>)> {
        self.check()?;
        if !self.pending.is_empty() {
            return Err(self.misuse("bytes were sent after the last stream was ended"));
        }
        loop {
            if self.replies.started > self.ended {
                return Err(self.misuse("the query has more COPY statements than were sent"));
            }
            if self.wait().await? {
                break;
            }
        }
        if let Some(error) = self.replies.error {
            return Err(error);
        }
        if self.replies.rows.len() != self.ended {
            return Err(self.misuse("the query has fewer COPY statements than were sent"));
        }
        Ok((Lane::new(self.session, self.silence), self.replies.rows))
    }

    /// Makes the server fail the COPY and waits until it has; the whole query is rolled back.
    ///
    /// An error if all statements had been ended and have taken effect. The server's own failure,
    /// should that have come first, is no error.
    pub async fn fail(mut self, reason: &str) -> Result<Lane> {
        self.check_whole()?;
        let mut message = BytesMut::new();
        frontend::copy_fail(&reason.replace('\0', ""), &mut message)
            .map_err(|error| from_io(self.session.side, error))?;
        self.broken = true;
        self.session.send(&message).await?;
        while !self.wait().await? {}
        match self.replies.error {
            Some(_) => Ok(Lane::new(self.session, self.silence)),
            None => Err(self.misuse("the COPY was complete before it could be made to fail")),
        }
    }

    fn misuse(&self, message: &'static str) -> Error {
        Error::new(Kind::Protocol, message).at(self.session.side)
    }

    fn check_whole(&self) -> Result<()> {
        if self.broken {
            Err(self.misuse("this COPY has failed already"))
        } else {
            Ok(())
        }
    }

    fn check(&mut self) -> Result<()> {
        self.check_whole()?;
        match self.replies.error.take() {
            Some(error) => {
                self.broken = true;
                Err(error)
            }
            None => Ok(()),
        }
    }

    async fn send_pending(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return self.check();
        }
        let joined = self.pending.split().freeze();
        let sent = self.send_frame(joined).await;
        self.pending.reserve(JOIN_BYTES);
        sent
    }

    async fn send_frame(&mut self, payload: Bytes) -> Result<()> {
        let length = u32::try_from(payload.len() + 4)
            .map_err(|_| self.misuse("a COPY message would be too long"))?
            .to_be_bytes();
        let header = [b'd', length[0], length[1], length[2], length[3]];
        self.write(Buf::chain(&header[..], payload), false).await
    }

    /// Writes, and reads what the server says meanwhile.
    async fn write(&mut self, mut bytes: impl Buf, flush: bool) -> Result<()> {
        self.check()?;
        self.broken = true;
        let (side, limit) = (self.session.side, self.silence);
        let write = poll_fn(|cx| self.poll_write(cx, &mut bytes, flush));
        let written = match limit {
            None => write.await,
            Some(limit) => tokio::time::timeout(limit, write)
                .await
                .map_err(|_| silent(side, limit))?,
        };
        match (written, self.replies.error.take()) {
            (_, Some(error)) => Err(error),
            (Err(error), None) => Err(self.last_words().await.unwrap_or(error)),
            (Ok(()), None) => {
                self.broken = false;
                Ok(())
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut impl Buf,
        flush: bool,
    ) -> Poll<Result<()>> {
        self.poll_replies(cx)?;
        if self.replies.error.is_some() {
            return Poll::Ready(Ok(()));
        }
        let side = self.session.side;
        let mut stream = Pin::new(&mut self.session.stream);
        while bytes.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 2];
            let count = bytes.chunks_vectored(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            match stream.as_mut().poll_write_vectored(cx, slices) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(lost(side))),
                Poll::Ready(Ok(written)) => bytes.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(from_io(side, error))),
            }
        }
        if flush {
            return stream.poll_flush(cx).map_err(|error| from_io(side, error));
        }
        Poll::Ready(Ok(()))
    }

    /// Reads until nothing more is there.
    fn poll_replies(&mut self, cx: &mut Context<'_>) -> Result<()> {
        let side = self.session.side;
        loop {
            let mut room = [0; 4096];
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut self.session.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(from_io(side, error)),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Err(lost(side)),
                Poll::Ready(Ok(())) => {
                    self.session.frames.push(buffer.filled());
                }
            }
            self.replies.take(&mut self.session)?;
            if self.replies.error.is_some() {
                return Ok(());
            }
        }
    }

    /// Waits for one more answer; true when the server is ready for another query.
    async fn wait(&mut self) -> Result<bool> {
        self.replies.take(&mut self.session)?;
        if !self.replies.ready {
            self.session.fill(false, self.silence).await?;
            self.replies.take(&mut self.session)?;
        }
        Ok(self.replies.ready)
    }

    /// What the server said before it closed the connection.
    async fn last_words(&mut self) -> Option<Error> {
        let listen = async {
            while self.replies.error.is_none() && self.wait().await.is_ok_and(|ready| !ready) {}
        };
        // No answer in time is an answer: there are none.
        drop(tokio::time::timeout(LAST_WORDS, listen).await);
        self.replies.error.take()
    }
}

impl Replies {
    /// Takes note of every whole message that has arrived.
    fn take(&mut self, session: &mut Session) -> Result<()> {
        while let Some(message) = session.arrived()? {
            match message {
                Message::CopyInResponse(_) => {
                    self.started += 1;
                    self.copying = true;
                }
                Message::CommandComplete(body) => {
                    if std::mem::take(&mut self.copying) {
                        self.rows.push(rows(body.tag().unwrap_or_default()));
                    }
                }
                Message::ErrorResponse(body) => {
                    self.error
                        .get_or_insert(from_fields(session.side, body.fields()));
                }
                Message::ReadyForQuery(_) => self.ready = true,
                Message::CopyOutResponse(_) => {
                    return Err(
                        Error::input("COPY … TO STDOUT was sent to be written to").at(session.side)
                    );
                }
                Message::RowDescription(_) | Message::DataRow(_) | Message::EmptyQueryResponse => {}
                _ => return Err(unexpected(session.side)),
            }
        }
        Ok(())
    }
}
