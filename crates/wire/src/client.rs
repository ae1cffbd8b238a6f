//! Sessions for catalogs and DDL: tokio-postgres over our own startup.

use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, BytesMut};
use pghaul_stage::{Check, Error, Kind, Result, Side};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};

use crate::session::Session;
use crate::startup::{self, Unconnected};
use crate::stream::Stream;
use crate::{Canceller, Conninfo};

/// A session for everything but bulk bytes; derefs to [`tokio_postgres::Client`].
///
/// Turn the errors of that client into ours with [`server_error`](crate::server_error).
/// Dropping it ends the session.
pub struct Client {
    inner: tokio_postgres::Client,
    side: Side,
    pid: i32,
    canceller: Canceller,
}

impl Client {
    /// Connects as [`Lane::connect`](crate::Lane::connect) does, and drives the session in a
    /// task on the current runtime.
    pub async fn connect(info: &Conninfo, side: Side) -> Result<Client> {
        let connected = Client::try_connect(info, side).await;
        connected.map_err(|unconnected| unconnected.error)
    }

    /// As [`Client::connect`]; a failure says which step on the way to the session it was.
    pub async fn try_connect(info: &Conninfo, side: Side) -> Result<Client, Unconnected> {
        let session = startup::connect(info, side).await?;
        let (pid, canceller) = (session.pid, session.canceller());
        let mut config = Config::new();
        config.user(info.user()).ssl_mode(SslMode::Disable);
        let (inner, connection) = config
            .connect_raw(Started::new(session), NoTls)
            .await
            .map_err(|error| Unconnected {
                error: Error::new(Kind::Protocol, "the session cannot be taken over")
                    .at(side)
                    .because(error),
                step: Check::Login,
            })?;
        tokio::spawn(async move {
            // Whoever waits on the client gets the error as well.
            if let Err(error) = connection.await {
                tracing::debug!(%side, pid, "session ended: {error}");
            }
        });
        Ok(Client {
            inner,
            side,
            pid,
            canceller,
        })
    }

    /// Which end this session belongs to.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The server process behind this session.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Asks the server to stop the statement that runs in this session, with TLS if the session
    /// has it.
    pub async fn cancel(&self) -> Result<()> {
        self.canceller.cancel().await
    }

    /// What cancels this session's statement from elsewhere.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }
}

impl Deref for Client {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("side", &self.side)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// A session that is past its startup, presented as a fresh socket.
///
/// tokio-postgres wants to start the session itself, with a part of libpq's rules. Here it
/// sends its startup message into the void and reads what our own startup has learnt, so both
/// kinds of session share one set of rules for hosts, TLS and authentication.
struct Started {
    stream: Stream,
    /// What the server is to have said so far.
    said: BytesMut,
    /// Whether the startup message has been swallowed.
    swallowed: bool,
}

impl Started {
    fn new(session: Session) -> Started {
        let mut said = BytesMut::new();
        message(&mut said, b'R', |body| body.put_i32(0));
        for (name, value) in &session.parameters {
            message(&mut said, b'S', |body| {
                for text in [name, value] {
                    body.put_slice(text.as_bytes());
                    body.put_u8(0);
                }
            });
        }
        message(&mut said, b'K', |body| {
            body.put_i32(session.pid);
            body.put_i32(session.key);
        });
        message(&mut said, b'Z', |body| body.put_u8(b'I'));
        said.extend_from_slice(&session.frames.into_rest());
        Started {
            stream: session.stream,
            said,
            swallowed: false,
        }
    }
}

fn message(said: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    let mut content = BytesMut::new();
    body(&mut content);
    said.put_u8(tag);
    // Built of a few settings that came in messages themselves, so it fits.
    said.put_u32(u32::try_from(content.len() + 4).unwrap_or(u32::MAX));
    said.put_slice(&content);
}

impl AsyncRead for Started {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.said.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let piece = this.said.len().min(buffer.remaining());
        buffer.put_slice(this.said.get(..piece).unwrap_or_default());
        this.said.advance(piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Started {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.swallowed {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        }
        // The startup message is all that is sent before the server's first answer is read.
        let length = bytes
            .first_chunk()
            .map(|length| u32::from_be_bytes(*length));
        if length.map(u64::from) != u64::try_from(bytes.len()).ok() {
            return Poll::Ready(Err(io::Error::other("not one startup message")));
        }
        this.swallowed = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
