//! The server's certificate, which can be renewed while the server runs, and the authority of
//! agents' certificates.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use pghaul_stage::{Error, Result};
use pghaul_wire::pem;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its key, which only the server's user can read.
    pub key: PathBuf,
    /// The authority of agents' certificates; with it, agents must have one.
    pub client_authority: Option<PathBuf>,
}

/// What TLS needs.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files. May block.
    ///
    /// # Errors
    ///
    /// Kind input if they cannot be read, or do not fit one another.
    pub fn read(files: TlsFiles) -> Result<Self> {
        let config = RwLock::new(config(&files)?);
        Ok(Self { files, config })
    }

    /// Reads the files again, for connections from now on. May block.
    ///
    /// # Errors
    ///
    /// As [`Tls::read`]; then all stays as it was.
    pub fn renew(&self) -> Result<()> {
        let new = config(&self.files)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// Whether agents must show a certificate.
    pub fn certifies_agents(&self) -> bool {
        self.files.client_authority.is_some()
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>> {
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::input("the certificate cannot be used")
            .on(format!("file {}", files.certificate.display()))
            .because(error)
            .remedy("check that the key belongs to it")
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.into()))?;
    let builder = match &files.client_authority {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in pem::certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|error| unusable(error.into()))?;
            }
            // Browsers have none; whether an agent must have one, its routes decide.
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| unusable(error.into()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = pem::certificates(&files.certificate)?;
    let mut config = builder
        .with_single_cert(chain, pem::private_key(&files.key)?)
        .map_err(|error| unusable(error.into()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
