//! A socket to a server: TCP or Unix, plain or inside TLS.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use pghaul_stage::{Error, Kind, Result};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::conninfo::{Policy, user_name};

/// The bytes' way to a server.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One concrete address of a host.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Stream {
    /// Connects, with the keepalive settings of the conninfo.
    pub(crate) async fn dial(peer: &Peer, policy: &Policy) -> Result<Stream> {
        let stream = match peer {
            Peer::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(refused)?;
                tune(&stream, policy).map_err(refused)?;
                Stream::Tcp(stream)
            }
            Peer::Unix(file) => {
                let stream = UnixStream::connect(file).await.map_err(refused)?;
                check_owner(&stream, policy)?;
                Stream::Unix(stream)
            }
        };
        Ok(stream)
    }

    /// Whether nobody else on a network can read what is sent.
    pub(crate) fn is_private(&self) -> bool {
        match self {
            Stream::Tls(_) | Stream::Unix(_) => true,
            Stream::Tcp(stream) => stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()),
        }
    }

    /// The certificate that the server showed.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        match self {
            Stream::Tls(stream) => {
                let (_, session) = stream.get_ref();
                session.peer_certificates()?.first().map(AsRef::as_ref)
            }
            _ => None,
        }
    }
}

fn tune(stream: &TcpStream, policy: &Policy) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if let Some(keepalive) = &policy.keepalive {
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(keepalive.idle)
                .with_interval(keepalive.interval)
                .with_retries(keepalive.count),
        )?;
    }
    socket.set_tcp_user_timeout(policy.tcp_user_timeout)
}

fn check_owner(stream: &UnixStream, policy: &Policy) -> Result<()> {
    let Some(wanted) = &policy.requirepeer else {
        return Ok(());
    };
    let owner = stream
        .peer_cred()
        .ok()
        .and_then(|credentials| user_name(credentials.uid()));
    if owner.as_ref() == Some(wanted) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Permanent,
        format!("requirepeer wants a server run by \"{wanted}\", and another user runs this one"),
    )
    .remedy("check the socket's folder, or change requirepeer"))
}

fn refused(error: io::Error) -> Error {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, NotFound,
        PermissionDenied, TimedOut,
    };
    let (kind, message, remedy) = match error.kind() {
        ConnectionRefused => (
            Kind::Transient,
            "no server accepts connections there",
            "check that the server runs and listens on this host and port",
        ),
        ConnectionReset | TimedOut => (
            Kind::Transient,
            "the server does not answer",
            "check the host, the port and the firewall between",
        ),
        NotFound => (
            Kind::Permanent,
            "there is no such socket",
            "check that the server runs, and the socket's folder and port",
        ),
        HostUnreachable | NetworkUnreachable => (
            Kind::Permanent,
            "there is no route to the server",
            "check the host and this machine's network",
        ),
        PermissionDenied => (
            Kind::Permanent,
            "this user may not open the socket",
            "check the permissions of the socket and its folder",
        ),
        _ => (
            Kind::Permanent,
            "the connection cannot be opened",
            "check the host and the port",
        ),
    };
    Error::new(kind, message).remedy(remedy).because(error)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
