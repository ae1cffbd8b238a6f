//! Ties SCRAM to the TLS session by the server's certificate.

use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::{rfc5912, rfc8410};
use x509_cert::der::{Decode, Encode};

/// The `tls-server-end-point` binding of a certificate; `None` where it has no definition.
///
/// Source: RFC 5929, section 4.1: the hash of the certificate's signature, but SHA-256 where
/// that is MD5 or SHA-1.
pub(crate) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = Certificate::from_der(certificate).ok()?.signature_algorithm;
    let hash = if algorithm.oid == rfc5912::ID_RSASSA_PSS {
        // The hash is one of the parameters; each identifier appears whole in their encoding.
        let parameters = algorithm.parameters?.to_der().ok()?;
        [
            rfc5912::ID_SHA_512,
            rfc5912::ID_SHA_384,
            rfc5912::ID_SHA_256,
        ]
        .into_iter()
        .find(|hash| contains(&parameters, hash.as_bytes()))
        .unwrap_or(rfc5912::ID_SHA_256)
    } else {
        signature_hash(algorithm.oid)?
    };
    Some(match hash {
        rfc5912::ID_SHA_512 => Sha512::digest(certificate).to_vec(),
        rfc5912::ID_SHA_384 => Sha384::digest(certificate).to_vec(),
        _ => Sha256::digest(certificate).to_vec(),
    })
}

fn signature_hash(signature: ObjectIdentifier) -> Option<ObjectIdentifier> {
    match signature {
        rfc5912::SHA_384_WITH_RSA_ENCRYPTION | rfc5912::ECDSA_WITH_SHA_384 => {
            Some(rfc5912::ID_SHA_384)
        }
        rfc5912::SHA_512_WITH_RSA_ENCRYPTION | rfc5912::ECDSA_WITH_SHA_512 => {
            Some(rfc5912::ID_SHA_512)
        }
        // These sign without a separate hash.
        rfc8410::ID_ED_25519 | rfc8410::ID_ED_448 => None,
        _ => Some(rfc5912::ID_SHA_256),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
