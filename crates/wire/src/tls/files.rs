//! The files with certificates and keys that a conninfo names.

use pghaul_stage::{Error, Kind, Result};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::conninfo::{Identity, Policy, RootCert, SslMode};
use crate::pem::{certificates, private_key};

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
            Ok(Some((chain, private_key(&identity.key)?)))
        }
        _ => Ok(None),
    }
}
