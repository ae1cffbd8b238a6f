//! TLS by rustls with what libpq's `ssl*` parameters ask for.
//!
//! Source: PostgreSQL's manual, sections 32.19 and 55.2.10.

mod binding;
mod files;
mod verify;

use std::net::IpAddr;
use std::sync::Arc;

use pghaul_stage::{Error, Kind, Result};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use crate::conninfo::{Negotiation, Policy, SslMode};
use crate::stream::Stream;
pub(crate) use binding::server_end_point;
use verify::Verifier;

/// The name of PostgreSQL's protocol in the TLS handshake.
const ALPN: &[u8] = b"postgresql";

/// The TLS configuration of one conninfo, made at its first use and shared by its clones.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsContext(Arc<OnceCell<Arc<ClientConfig>>>);

impl TlsContext {
    async fn config(&self, policy: &Policy) -> Result<Arc<ClientConfig>> {
        let make = || async {
            let policy = policy.clone();
            // It reads files.
            let made = tokio::task::spawn_blocking(move || config(&policy)).await;
            made.map(|config| config.map(Arc::new)).map_err(|error| {
                Error::new(Kind::Permanent, "the TLS configuration cannot be made").because(error)
            })?
        };
        self.0.get_or_try_init(make).await.map(Arc::clone)
    }

    /// Asks the server for TLS. The answer is the same socket, inside TLS; or, if the server has
    /// none and the mode allows it, plain.
    pub(crate) async fn negotiate(
        &self,
        mut socket: TcpStream,
        host: &str,
        policy: &Policy,
    ) -> Result<Stream> {
        // Broken files are an error before the server sees anything.
        let config = self.config(policy).await?;
        if policy.negotiation == Negotiation::Postgres {
            let mut request = bytes::BytesMut::new();
            postgres_protocol::message::frontend::ssl_request(&mut request);
            socket.write_all(&request).await.map_err(broken)?;
            // Exactly one byte is read, so nothing sent before TLS can pass for its content.
            match socket.read_u8().await.map_err(broken)? {
                b'S' => {}
                b'N' if policy.sslmode < SslMode::Require => return Ok(Stream::Tcp(socket)),
                b'N' => {
                    return Err(
                        Error::new(Kind::Permanent, "the server does not support TLS")
                            .remedy("turn ssl on at the server, or use a weaker sslmode"),
                    );
                }
                _ => {
                    return Err(Error::new(
                        Kind::Protocol,
                        "the answer to the request for TLS is not one of PostgreSQL's",
                    )
                    .remedy("check that the address is that of a PostgreSQL server"));
                }
            }
        }
        let name = server_name(host, &socket, policy)?;
        let stream = TlsConnector::from(config)
            .connect(name, socket)
            .await
            .map_err(handshake_failed)?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if policy.negotiation == Negotiation::Direct && agreed != Some(ALPN) {
            return Err(
                Error::new(Kind::Permanent, "the server did not agree to direct TLS")
                    .remedy("use sslnegotiation=postgres; direct TLS needs PostgreSQL 17"),
            );
        }
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// The name that the certificate must carry.
fn server_name(host: &str, socket: &TcpStream, policy: &Policy) -> Result<ServerName<'static>> {
    // A link-local address may carry a zone, which no certificate does.
    let address = host.split('%').next().unwrap_or_default().parse::<IpAddr>();
    if let Ok(address) = address {
        return Ok(ServerName::IpAddress(address.into()));
    }
    match ServerName::try_from(host.to_owned()) {
        Ok(name) => Ok(name),
        Err(_) if policy.sslmode < SslMode::VerifyFull => {
            let peer = socket.peer_addr().map_err(broken)?;
            Ok(ServerName::IpAddress(peer.ip().into()))
        }
        Err(_) => Err(
            Error::input("sslmode=verify-full needs a host name to verify")
                .remedy("give host as well as hostaddr"),
        ),
    }
}

fn config(policy: &Policy) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = verifier(policy, &provider)?;
    let versions: Vec<_> = [
        policy.tls13.then_some(&rustls::version::TLS13),
        policy.tls12.then_some(&rustls::version::TLS12),
    ]
    .into_iter()
    .flatten()
    .collect();
    let unusable =
        |error: rustls::Error| Error::new(Kind::Permanent, "TLS cannot be set up").because(error);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match files::identity(policy.identity.as_ref())? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
            Error::input("the client certificate does not fit its key").because(error)
        })?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = policy.sni;
    // PostgreSQL does not resume sessions.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn verifier(policy: &Policy, provider: &Arc<CryptoProvider>) -> Result<Verifier> {
    match files::roots(policy)? {
        Some(roots) => Verifier::new(provider, &roots, policy.sslmode == SslMode::VerifyFull),
        None => Ok(Verifier::trusting(provider)),
    }
}

fn broken(error: std::io::Error) -> Error {
    Error::new(
        Kind::Transient,
        "the server closed the connection before TLS was set up",
    )
    .because(error)
}

fn handshake_failed(error: std::io::Error) -> Error {
    match refusal(&error) {
        Some(refusal) => refusal.because(error),
        None => broken(error),
    }
}

/// What one side found wrong with the other, if TLS and not the network is the reason.
pub(crate) fn refusal(error: &std::io::Error) -> Option<Error> {
    told(
        error,
        "check sslrootcert, and that host is a name in the certificate",
        "check the client certificate (sslcert, sslkey)",
    )
}

/// As that of a connection to a database, of a request by HTTPS that did not come about.
pub fn https_refusal(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    told(
        error,
        "check --ca-file, and that the address is a name in the certificate",
        "check the client certificate (--client-cert)",
    )
}

fn told(
    error: &(dyn std::error::Error + 'static),
    of_server: &'static str,
    of_client: &'static str,
) -> Option<Error> {
    use rustls::Error::{AlertReceived, InvalidCertificate};
    Some(match cause(error)? {
        InvalidCertificate(reason) => {
            let message = format!("the server's certificate is not accepted: {reason}");
            Error::new(Kind::Permanent, message).remedy(of_server)
        }
        AlertReceived(alert) => Error::new(
            Kind::Permanent,
            format!("the server refused TLS: {alert:?}"),
        )
        .remedy(of_client),
        _ => Error::new(Kind::Permanent, "TLS with the server failed"),
    })
}

/// What TLS says of an error. One of the system's holds it without naming it as its source.
fn cause<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    let held = || error.downcast_ref::<std::io::Error>()?.get_ref();
    let inner = held().map(|held| held as &(dyn std::error::Error + 'static));
    error
        .downcast_ref()
        .or_else(|| cause(inner.or_else(|| error.source())?))
}
