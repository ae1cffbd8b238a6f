//! Sessions for catalogs and DDL: tokio-postgres over our own sockets and TLS.

use pghaul_stage::{Error, Kind, Result, Side};

use crate::Conninfo;

/// A session for everything but bulk bytes; derefs to [`tokio_postgres::Client`].
pub struct Client {
    inner: tokio_postgres::Client,
    side: Side,
    pid: i32,
}

impl std::ops::Deref for Client {
    type Target = tokio_postgres::Client;
    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl std::ops::DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("side", &self.side).field("pid", &self.pid).finish()
    }
}

impl Client {
    /// Connects to the first host that accepts, and drives the session on the current runtime.
    pub async fn connect(_info: &Conninfo, _side: Side) -> Result<Client> {
        Err(Error::new(Kind::Permanent, "not built yet"))
    }

    /// Which end this session belongs to.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The server process behind this session.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Asks the server to stop the statement that runs in this session.
    pub async fn cancel(&self) -> Result<()> {
        Err(Error::new(Kind::Permanent, "not built yet"))
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }
}

/// An error of tokio-postgres in our terms: kind by SQLSTATE, subject by the error's fields.
pub fn server_error(side: Side, error: tokio_postgres::Error) -> Error {
    Error::new(Kind::Permanent, "not built yet").at(side).because(error)
}
