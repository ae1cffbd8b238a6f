//! Certificates and keys in files.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pghaul_stage::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificates of a file, at least one.
///
/// # Errors
///
/// Kind input if the file cannot be read or holds none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Error::input("the file holds no PEM certificate").on(name(file))),
        Err(error) => Err(Error::input("the certificate file cannot be read")
            .on(name(file))
            .because(error)),
    }
}

/// The private key of a file, in PEM or DER.
///
/// # Errors
///
/// Kind input if the file cannot be read, holds none, or can be read by others than its owner.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>> {
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
