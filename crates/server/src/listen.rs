//! Accepts connections: plain or TLS, no more than there is room for, and none that says nothing.

mod tls;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::{Extension, Router};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use pghaul_stage::{Error, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

use crate::access::Peer;
pub use tls::{Tls, TlsFiles};

/// Connections at the same time.
const CONNECTIONS: usize = 1024;

/// Connections of one address at the same time.
const OF_ONE: usize = 256;

/// How long the TLS handshake may take, and the head of a request after it began.
const GREETING: Duration = Duration::from_secs(15);

/// How often a silent client of HTTP/2 is asked whether it is still there, and how long it may take
/// to say so.
const ALIVE: Duration = Duration::from_secs(30);

/// Requests of one connection at the same time.
const REQUESTS: u32 = 64;

/// Bytes of the head of a request.
const HEAD: usize = 32 * 1024;

/// How long to wait when the system has no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(100);

/// Where the server listens.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
    places: Places,
}

impl Listener {
    /// Listens. An address that others can reach needs TLS, unless it is `insecure` on purpose.
    ///
    /// # Errors
    ///
    /// Kind input if the address is taken, or has no TLS and needs it.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<Tls>>, insecure: bool) -> Result<Self> {
        if !address.ip().to_canonical().is_loopback() && tls.is_none() && !insecure {
            return Err(Error::input("only this host may connect without TLS")
                .on(address.to_string())
                .remedy(
                    "give --tls-cert and --tls-key, listen on 127.0.0.1, or allow passwords and \
                     tokens to be read on the network with --insecure",
                ));
        }
        let socket = TcpListener::bind(address).await.map_err(|error| {
            Error::input("cannot listen")
                .on(address.to_string())
                .because(error)
                .remedy("name another address with --listen")
        })?;
        Ok(Self {
            socket,
            tls,
            places: Places::default(),
        })
    }

    /// Where it listens, with the port that the system chose if none was named.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` is ready, and then until the requests that are under way are answered.
    pub async fn serve(self, routes: Router, stop: impl Future<Output = ()> + Send) {
        let closing = GracefulShutdown::new();
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = &mut stop => break,
            };
            let (socket, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(NO_ROOM).await;
                    continue;
                }
            };
            // Who is one too many is hung up on.
            let Some(place) = self.places.take(remote.ip()) else {
                continue;
            };
            let (routes, tls, watcher) = (routes.clone(), self.tls.clone(), closing.watcher());
            tokio::spawn(async move {
                if let Err(error) = connection(socket, remote, tls, routes, watcher).await {
                    tracing::debug!(%remote, error, "a connection broke");
                }
                drop(place);
            });
        }
        drop(self.socket);
        closing.shutdown().await;
    }
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    socket: TcpStream,
    remote: SocketAddr,
    tls: Option<Arc<Tls>>,
    routes: Router,
    watcher: Watcher,
) -> Result<(), Broken> {
    socket.set_nodelay(true)?;
    let local = socket.local_addr()?;
    let mut peer = Peer {
        remote,
        local,
        certified: false,
    };
    match tls {
        Some(tls) => {
            let greeted = tokio::time::timeout(GREETING, tls.acceptor().accept(socket));
            let stream = greeted.await??;
            peer.certified = stream.get_ref().1.peer_certificates().is_some();
            requests(stream, peer, routes, watcher).await
        }
        None => requests(socket, peer, routes, watcher).await,
    }
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    routes: Router,
    watcher: Watcher,
) -> Result<(), Broken> {
    let routes = routes.layer(Extension(peer));
    let service = service_fn(move |request: Request<Incoming>| {
        // A router is always ready.
        routes.clone().call(request.map(Body::new))
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(GREETING)
        .max_buf_size(HEAD)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(ALIVE)
        .keep_alive_timeout(ALIVE)
        .max_concurrent_streams(REQUESTS)
        .max_header_list_size(32 * 1024);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    watcher.watch(connection.into_owned()).await
}

/// Who has how many connections. Clones are the same.
#[derive(Debug, Clone, Default)]
struct Places(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Places {
    /// A place for one more connection of this address, if there is one.
    fn take(&self, address: IpAddr) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.get(&address).copied().unwrap_or_default();
        if all >= CONNECTIONS || own >= OF_ONE {
            return None;
        }
        taken.insert(address, own + 1);
        Some(Place {
            places: self.clone(),
            address,
        })
    }
}

/// The place of one connection. It is free once this is dropped.
#[derive(Debug)]
struct Place {
    places: Places,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_all_places_and_gives_them_back() {
        let places = Places::default();
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let held: Vec<_> = (0..OF_ONE).map(|_| places.take(one).unwrap()).collect();
        assert!(places.take(one).is_none());
        assert!(places.take("10.0.0.2".parse().unwrap()).is_some());
        drop(held);
        assert!(places.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn only_this_host_may_do_without_tls() {
        for address in ["0.0.0.0:0", "[::]:0", "[::ffff:10.0.0.1]:0", "192.0.2.1:0"] {
            let refused = Listener::bind(address.parse().unwrap(), None, false).await;
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), pghaul_stage::Kind::Input);
            assert!(error.message().contains("TLS"), "{address}: {error}");
        }
        for (address, insecure) in [
            ("127.0.0.1:0", false),
            ("127.0.0.2:0", false),
            ("0.0.0.0:0", true),
        ] {
            let listener = Listener::bind(address.parse().unwrap(), None, insecure).await;
            assert_ne!(listener.unwrap().address().unwrap().port(), 0);
        }
    }
}
