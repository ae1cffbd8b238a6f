//! Random secrets that let their holder in: of sessions and of tokens. Only a hash of them is kept,
//! which is enough to know them again and useless to whoever reads the state. As they are random, a
//! plain hash will do; passwords need a slow one.

use std::fmt::Write;

use aws_lc_rs::{constant_time, digest, hmac, rand};
use pghaul_stage::{Error, Kind, Result};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use uuid::Uuid;

/// What every text of a secret begins with, so that scanners of leaked secrets can tell it.
const PREFIX: &str = "pghaul_";

/// Bytes of a secret.
const LENGTH: usize = 32;

/// A secret, and the name under which its hash is kept.
#[derive(Debug)]
pub(crate) struct Credential {
    pub(crate) id: Uuid,
    secret: SecretBox<[u8; LENGTH]>,
}

impl Credential {
    /// A new one.
    pub(crate) fn random() -> Result<Self> {
        let mut secret = SecretBox::new(Box::new([0; LENGTH]));
        let room = secrecy::ExposeSecretMut::expose_secret_mut(&mut secret);
        rand::fill(room).map_err(|_| Error::new(Kind::Permanent, "there are no random bytes"))?;
        let id = Uuid::now_v7();
        Ok(Self { id, secret })
    }

    /// What its holder shows: prefix, name and secret.
    pub(crate) fn text(&self) -> SecretString {
        let secret = hex(self.secret.expose_secret());
        format!("{PREFIX}{}_{secret}", self.id.simple()).into()
    }

    /// Reads what somebody shows; `None` if it is no such text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let wrong = |text: &str, length: usize| {
            text.len() != length || !text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if wrong(id, 32) || wrong(secret, 2 * LENGTH) {
            return None;
        }
        let mut bytes = [0; LENGTH];
        for (byte, digits) in bytes.iter_mut().zip(secret.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        let id = Uuid::try_parse(id).ok()?;
        let secret = SecretBox::new(Box::new(bytes));
        Some(Self { id, secret })
    }

    /// What is kept of it.
    pub(crate) fn hash(&self) -> Vec<u8> {
        let hash = digest::digest(&digest::SHA256, self.secret.expose_secret());
        hash.as_ref().to_vec()
    }

    /// Whether this is what is kept of it. The time it takes does not tell how much is right.
    pub(crate) fn fits(&self, hash: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.hash(), hash).is_ok()
    }

    /// What a page must send along with each write, to show that it could read an answer of this
    /// server. It follows from the secret, and the secret does not follow from it.
    pub(crate) fn csrf(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose_secret());
        hex(hmac::sign(&key, b"csrf").as_ref())
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_known_by_its_text_and_no_other() {
        let one = Credential::random().unwrap();
        let text = one.text();
        let text = text.expose_secret();
        let same = Credential::parse(text).unwrap();
        assert!(same.id == one.id && same.fits(&one.hash()) && same.csrf() == one.csrf());
        let other = Credential::random().unwrap();
        assert!(!other.fits(&one.hash()) && other.csrf() != one.csrf());
        assert!(!one.fits(&one.hash()[1..]) && !one.fits(&[]));
        assert!(!format!("{one:?}").contains(&text[text.len() - 64..]));
        for wrong in [
            "",
            "pghaul_",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}0"),
        ] {
            assert!(Credential::parse(wrong).is_none(), "{wrong}");
        }
        let signed = text.replace('_', "_+");
        assert!(Credential::parse(&signed).is_none());
    }
}
