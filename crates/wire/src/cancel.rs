//! Asks a server to stop what another session is doing.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pghaul_stage::{Error, Kind, Result, Side};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::conninfo::Policy;
use crate::server_error::from_io;
use crate::stream::{Peer, Stream};
use crate::tls::TlsContext;

/// For a request that carries no limit of its own.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// How a session reached its server, so that a second connection reaches the same one.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) peer: Peer,
    /// The name for the certificate, if the session is inside TLS.
    pub(crate) tls_host: Option<String>,
    pub(crate) policy: Policy,
    pub(crate) tls: TlsContext,
}

/// Cancels the running statement of one session, over a connection of its own.
///
/// Source: PostgreSQL's manual, section 55.2.8.
#[derive(Clone)]
pub struct Canceller {
    route: Arc<Route>,
    side: Side,
    pid: i32,
    key: i32,
}

impl Canceller {
    pub(crate) fn new(route: Arc<Route>, side: Side, pid: i32, key: i32) -> Canceller {
        Canceller {
            route,
            side,
            pid,
            key,
        }
    }

    /// Sends the request and waits until the server has taken it. The session itself then fails
    /// with SQLSTATE 57014, if it was busy at all.
    pub async fn cancel(&self) -> Result<()> {
        let limit = self.route.policy.connect_timeout.unwrap_or(CANCEL_TIMEOUT);
        match tokio::time::timeout(limit, self.request()).await {
            Ok(done) => done.map_err(|error| error.at(self.side)),
            Err(_) => Err(
                Error::new(Kind::Transient, "the request to cancel took too long").at(self.side),
            ),
        }
    }

    async fn request(&self) -> Result<()> {
        let mut stream = self.route.open().await?;
        let mut message = BytesMut::new();
        frontend::cancel_request(self.pid, self.key, &mut message);
        let failed = |error| from_io(self.side, error);
        stream.write_all(&message).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        // The server answers by closing, often without TLS's farewell.
        while stream.read_u8().await.is_ok() {}
        Ok(())
    }
}

impl Route {
    async fn open(&self) -> Result<Stream> {
        match (
            Stream::dial(&self.peer, &self.policy).await?,
            &self.tls_host,
        ) {
            (Stream::Tcp(socket), Some(host)) => {
                match self.tls.negotiate(socket, host, &self.policy).await? {
                    stream @ Stream::Tls(_) => Ok(stream),
                    _ => Err(Error::new(
                        Kind::Permanent,
                        "the server has stopped offering TLS",
                    )),
                }
            }
            (stream, _) => Ok(stream),
        }
    }
}

impl std::fmt::Debug for Canceller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key is a secret: who has it can cancel.
        f.debug_struct("Canceller")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// Cancels when it is dropped inside a runtime, unless it was disarmed.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(Option<Canceller>);

impl CancelOnDrop {
    pub(crate) fn new(canceller: Canceller) -> CancelOnDrop {
        CancelOnDrop(Some(canceller))
    }

    pub(crate) fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let Some(canceller) = self.0.take() else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = canceller.cancel().await {
                    tracing::debug!("a dropped COPY could not be cancelled: {error}");
                }
            });
        }
    }
}
