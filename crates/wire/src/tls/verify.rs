//! Checks a server's certificate as far as sslmode asks.

use std::sync::Arc;

use pghaul_stage::{Error, Result};
use rustls::CertificateError::{NotValidForName, NotValidForNameContext, Other, UnknownIssuer};
use rustls::DigitallySignedStruct;
use rustls::Error::InvalidCertificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;

/// The check of a server's certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None` accepts every certificate whose key the server has.
    trust: Option<Trust>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Trust {
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// The root file's certificates as they are: a server's own may be among them.
    roots: Vec<CertificateDer<'static>>,
    check_name: bool,
}

impl Verifier {
    /// Accepts every certificate whose key the server has.
    pub(super) fn trusting(provider: &CryptoProvider) -> Verifier {
        Verifier {
            trust: None,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Accepts what the roots vouch for, and with `check_name` only under the host's name.
    pub(super) fn new(
        provider: &Arc<CryptoProvider>,
        roots: &[CertificateDer<'static>],
        check_name: bool,
    ) -> Result<Verifier> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let chain = if store.is_empty() {
            None
        } else {
            let builder =
                WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
            Some(builder.build().map_err(|error| {
                Error::input("the root certificates cannot be used").because(error)
            })?)
        };
        Ok(Verifier {
            trust: Some(Trust {
                chain,
                roots: roots.to_vec(),
                check_name,
            }),
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl Trust {
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let verdict = match &self.chain {
            Some(chain) => chain
                .verify_server_cert(certificate, intermediates, name, stapled, now)
                .map(drop),
            None => Err(InvalidCertificate(UnknownIssuer)),
        };
        match verdict {
            // The chain is checked before the name is.
            Err(InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                self.verify_name(certificate, name)
            }
            // A self-signed certificate that is itself trusted: OpenSSL accepts it.
            Err(InvalidCertificate(UnknownIssuer | Other(_)))
                if self.roots.iter().any(|root| root == certificate) =>
            {
                verify_validity(certificate, now)?;
                self.verify_name(certificate, name)
            }
            verdict => verdict,
        }
    }

    fn verify_name(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Result<(), rustls::Error> {
        if !self.check_name {
            return Ok(());
        }
        let verdict = verify_server_name(&ParsedCertificate::try_from(certificate)?, name);
        match (verdict, name) {
            (Err(_), ServerName::DnsName(name)) if common_name_fits(certificate, name.as_ref()) => {
                Ok(())
            }
            (verdict, _) => verdict,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(trust) = &self.trust {
            trust.verify(certificate, intermediates, name, stapled, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // By the bare key, because webpki does not read version 1 certificates, which many
        // home-made servers have.
        let key = parse(certificate)?
            .tbs_certificate
            .subject_public_key_info
            .to_der()
            .map_err(|_| InvalidCertificate(CertificateError::BadEncoding))?;
        let key = SubjectPublicKeyInfoDer::from(key);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, rustls::Error> {
    Certificate::from_der(certificate)
        .map_err(|_| InvalidCertificate(CertificateError::BadEncoding))
}

fn verify_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let validity = parse(certificate)?.tbs_certificate.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        Err(InvalidCertificate(CertificateError::NotValidYet))
    } else if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        Err(InvalidCertificate(CertificateError::Expired))
    } else {
        Ok(())
    }
}

/// Whether a certificate without alternative names carries the host as its common name.
///
/// Source: PostgreSQL's manual, section 32.19.1.
fn common_name_fits(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let Ok(certificate) = parse(certificate) else {
        return false;
    };
    let certificate = certificate.tbs_certificate;
    if !matches!(certificate.get::<SubjectAltName>(), Ok(None)) {
        return false;
    }
    let attributes = certificate
        .subject
        .0
        .iter()
        .flat_map(|names| names.0.iter());
    let mut names = attributes
        .filter(|attribute| attribute.oid == COMMON_NAME)
        .filter_map(|name| {
            let value = &name.value;
            Utf8StringRef::try_from(value)
                .map(|text| text.as_str())
                .or_else(|_| PrintableStringRef::try_from(value).map(|text| text.as_str()))
                .or_else(|_| Ia5StringRef::try_from(value).map(|text| text.as_str()))
                .ok()
        });
    names.any(|name| match name.strip_prefix('*') {
        // A star stands for one whole label.
        Some(suffix) if suffix.starts_with('.') => host
            .split_once('.')
            .is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(&suffix[1..])),
        _ => name.eq_ignore_ascii_case(host),
    })
}
