//! Reads certificates and keys from files.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pghaul_stage::{Error, Kind, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::conninfo::{Identity, Policy, RootCert, SslMode};

/// The certificates to trust; `None` if the server's certificate is not to be verified.
///
/// As libpq, a root file that exists is used in every mode.
pub(super) fn roots(policy: &Policy) -> Result<Option<Vec<CertificateDer<'static>>>> {
    let (file, needed) = match &policy.rootcert {
        RootCert::System => return system_roots().map(Some),
        RootCert::File(file) => (Some(file), true),
        RootCert::Default(file) => (file.as_ref(), policy.sslmode >= SslMode::VerifyCa),
    };
    match file {
        Some(file) if needed || file.exists() => certificates(file).map(Some).map_err(|error| {
            error.remedy("give the server's CA by sslrootcert, or use another sslmode")
        }),
        None if needed => Err(Error::input(
            "sslmode asks to verify, but no sslrootcert is given",
        )),
        _ => Ok(None),
    }
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>> {
    let mut found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let error = Error::new(Kind::Permanent, "the system has no root certificates")
            .on("sslrootcert=system")
            .remedy("install the system's CA certificates (package ca-certificates)");
        return Err(match found.errors.pop() {
            Some(cause) => error.because(cause),
            None => error,
        });
    }
    Ok(found.certs)
}

/// The client's certificate chain and key, if it has any.
pub(super) fn identity(
    identity: Option<&Identity>,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
    match identity {
        Some(identity) if identity.explicit || identity.certificate.exists() => {
            let chain = certificates(&identity.certificate)?;
            Ok(Some((chain, key(&identity.key)?)))
        }
        _ => Ok(None),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Error::input("the file holds no PEM certificate").on(name(file))),
        Err(error) => Err(Error::input("the certificate file cannot be read")
            .on(name(file))
            .because(error)),
    }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>> {
    let metadata = std::fs::metadata(file).map_err(|error| unreadable(file, error))?;
    // One that root owns may be readable by a group, so that system-wide keys can be used.
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(
            Error::input("the private key file has group or world access")
                .on(name(file))
                .remedy("set its permissions to u=rw (0600), or u=rw,g=r (0640) if root owns it"),
        );
    }
    let bytes = read(file)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(error) => PrivateKeyDer::try_from(bytes).map_err(|_| {
            Error::input("the private key cannot be read")
                .on(name(file))
                .remedy("use a PEM key without a passphrase")
                .because(error)
        }),
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| unreadable(file, error))
}

fn unreadable(file: &Path, error: std::io::Error) -> Error {
    let message = match error.kind() {
        ErrorKind::NotFound => "the file does not exist",
        _ => "the file cannot be read",
    };
    Error::input(message).on(name(file)).because(error)
}

fn name(file: &Path) -> String {
    format!("file {}", file.display())
}
