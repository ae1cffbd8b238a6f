//! Hashes and encryption: what makes an object that was changed, cut off or exchanged known.

use std::fmt;
use std::path::Path;

use aws_lc_rs::{aead, hkdf, rand};
use bytes::{BufMut, Bytes, BytesMut};
use pghaul_stage::{Error, Kind, Result, Side};
use secrecy::{ExposeSecret, SecretBox};
use twox_hash::XxHash3_128;
use uuid::Uuid;

/// The version of the format.
pub(crate) const FORMAT: u32 = 1;

/// What an encrypted object begins with.
const SEALED: &[u8] = b"pghaul-sealed 1\n";

/// Bytes of a key.
const KEY: usize = 32;

/// Bytes of the salt of an object.
const SALT: usize = 32;

/// The key of a spool's encryption. It cannot be printed.
pub struct Key(SecretBox<[u8; KEY]>);

impl Key {
    /// Reads a key file: 32 bytes, or 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// Kind input if it cannot be read, or is neither.
    pub fn read(path: &Path) -> Result<Key> {
        let wrong = |what: &'static str| {
            Error::input(what)
                .on(format!("key file {}", path.display()))
                .remedy("make one that only you can read: umask 077; openssl rand -hex 32 > FILE")
        };
        let content =
            std::fs::read(path).map_err(|error| wrong("cannot be read").because(error))?;
        let content = SecretBox::new(Box::new(content));
        let raw = content.expose_secret().as_slice();
        let mut key = SecretBox::new(Box::new([0; KEY]));
        {
            use secrecy::ExposeSecretMut;
            let key = key.expose_secret_mut();
            if let Ok(bytes) = <[u8; KEY]>::try_from(raw) {
                *key = bytes;
            } else {
                let digits = raw.trim_ascii();
                if digits.len() != 2 * KEY {
                    return Err(wrong("is neither 32 bytes nor 64 hexadecimal digits"));
                }
                for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
                    let pair = std::str::from_utf8(pair).ok();
                    *byte = pair
                        .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                        .ok_or_else(|| wrong("has a character that is no hexadecimal digit"))?;
                }
            }
        }
        Ok(Key(key))
    }

    /// A value that only this key gives, by which a wrong one is noticed.
    pub(crate) fn check(&self, migration: Uuid) -> Result<String> {
        let mut check = [0; 16];
        self.derive(
            &[],
            &[b"pghaul spool check", migration.as_bytes()],
            &mut check,
        )?;
        Ok(format!("{:032x}", u128::from_be_bytes(check)))
    }

    fn derive(&self, salt: &[u8], info: &[&[u8]], out: &mut [u8]) -> Result<()> {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let key = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.0.expose_secret());
        let derived = key.expand(info, Length(out.len()));
        let derived = derived.and_then(|derived| derived.fill(out));
        derived.map_err(|_| Error::new(Kind::Permanent, "the key cannot be derived").at(Side::Link))
    }

    /// The cipher of one object, used once: its salt is random.
    fn cipher(&self, salt: &[u8], migration: Uuid, name: &str) -> Result<aead::LessSafeKey> {
        let mut key = [0; KEY];
        self.derive(
            salt,
            &[b"pghaul spool", migration.as_bytes(), name.as_bytes()],
            &mut key,
        )?;
        let unbound = aead::UnboundKey::new(&aead::AES_256_GCM, &key);
        key.fill(0);
        unbound
            .map(aead::LessSafeKey::new)
            .map_err(|_| Error::new(Kind::Permanent, "the key cannot be used").at(Side::Link))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// The hash of some bytes, as names and manifests write it.
pub(crate) fn hash(bytes: &[u8]) -> String {
    format!("{:032x}", XxHash3_128::oneshot(bytes))
}

/// Seals and opens the objects of one migration.
#[derive(Debug)]
pub(crate) struct Seal {
    migration: Uuid,
    key: Option<Key>,
}

impl Seal {
    pub(crate) fn new(migration: Uuid, key: Option<Key>) -> Self {
        Self { migration, key }
    }

    /// An object that is not Parquet, with its line in front.
    pub(crate) fn seal(&self, name: &str, content: &[u8]) -> Result<Bytes> {
        self.encrypt(name, with_line(self.migration, name, content))
    }

    /// The content of such an object; `None` if it is not what was sealed.
    ///
    /// # Errors
    ///
    /// Kind identity for a version that is not known.
    pub(crate) fn unseal(&self, name: &str, object: Bytes) -> Result<Option<Bytes>> {
        match self.decrypt(name, object)? {
            Some(object) => without_line(self.migration, name, &object),
            None => Ok(None),
        }
    }

    /// A file of rows as it is stored.
    pub(crate) fn encrypt(&self, name: &str, content: Bytes) -> Result<Bytes> {
        let Some(key) = &self.key else {
            return Ok(content);
        };
        let mut salt = [0; SALT];
        rand::fill(&mut salt)
            .map_err(|_| Error::new(Kind::Permanent, "there is no random salt").at(Side::Link))?;
        let cipher = key.cipher(&salt, self.migration, name)?;
        // The nonce need not differ: no two objects have the same key.
        let nonce = aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN]);
        let mut text = content.to_vec();
        cipher
            .seal_in_place_append_tag(nonce, aead::Aad::from(name.as_bytes()), &mut text)
            .map_err(|_| Error::new(Kind::Permanent, "it cannot be encrypted").at(Side::Link))?;
        let mut sealed = BytesMut::with_capacity(SEALED.len() + SALT + text.len());
        sealed.put_slice(SEALED);
        sealed.put_slice(&salt);
        sealed.put_slice(&text);
        Ok(sealed.freeze())
    }

    /// A file of rows; `None` if it is not what was encrypted.
    pub(crate) fn decrypt(&self, name: &str, object: Bytes) -> Result<Option<Bytes>> {
        let Some(key) = &self.key else {
            return Ok(Some(object));
        };
        let Some(rest) = object.strip_prefix(SEALED) else {
            return Ok(None);
        };
        let Some((salt, text)) = rest.split_at_checked(SALT) else {
            return Ok(None);
        };
        let cipher = key.cipher(salt, self.migration, name)?;
        let nonce = aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN]);
        let mut text = text.to_vec();
        let aad = aead::Aad::from(name.as_bytes());
        let Ok(length) = cipher
            .open_in_place(nonce, aad, &mut text)
            .map(|open| open.len())
        else {
            return Ok(None);
        };
        text.truncate(length);
        Ok(Some(text.into()))
    }
}

/// The hash in the line of an object: of what it belongs to, too, so that an object from elsewhere
/// is not taken for this one.
fn bound(migration: Uuid, name: &str, content: &[u8]) -> String {
    let mut hash = XxHash3_128::new();
    for bytes in [&migration.as_bytes()[..], name.as_bytes(), b"\n", content] {
        hash.write(bytes);
    }
    format!("{:032x}", hash.finish_128())
}

/// An object with its line in front.
pub(crate) fn with_line(migration: Uuid, name: &str, content: &[u8]) -> Bytes {
    let mut object = BytesMut::with_capacity(content.len() + 64);
    object.put_slice(
        format!(
            "pghaul-spool {FORMAT} {}\n",
            bound(migration, name, content)
        )
        .as_bytes(),
    );
    object.put_slice(content);
    object.freeze()
}

/// What is behind the line; `None` if it is not what the line says.
///
/// # Errors
///
/// Kind identity for a version that is not known.
pub(crate) fn without_line(migration: Uuid, name: &str, object: &Bytes) -> Result<Option<Bytes>> {
    let Some(end) = object.iter().take(128).position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let (line, content) = (object.slice(..end), object.slice(end + 1..));
    let line = String::from_utf8_lossy(&line);
    let mut words = line.split(' ');
    let (Some("pghaul-spool"), Some(version), Some(said)) =
        (words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    match version.parse::<u32>() {
        Ok(FORMAT) => Ok((bound(migration, name, &content) == said).then_some(content)),
        Ok(version) => Err(unknown(version)),
        Err(_) => Ok(None),
    }
}

/// The error of a format that this version does not know.
pub(crate) fn unknown(version: u32) -> Error {
    Error::new(
        Kind::Identity,
        format!("the spool has format {version}, and this pghaul knows format {FORMAT} only"),
    )
    .at(Side::Link)
    .remedy("use the pghaul version that wrote it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key(SecretBox::new(Box::new([byte; KEY])))
    }

    #[test]
    fn what_was_changed_is_not_opened() {
        for key_of in [None, Some(7)] {
            let seal = Seal::new(Uuid::from_u128(1), key_of.map(key));
            let sealed = seal.seal("plan", b"content").unwrap();
            let opened = seal.unseal("plan", sealed.clone()).unwrap();
            assert_eq!(opened.as_deref(), Some(&b"content"[..]));
            for at in 0..sealed.len() {
                let mut broken = sealed.to_vec();
                broken[at] ^= 1;
                let opened = seal.unseal("plan", broken.into());
                assert!(
                    !matches!(opened, Ok(Some(_))),
                    "{key_of:?}: bit of byte {at}"
                );
                let cut = seal.unseal("plan", sealed.slice(..at));
                assert!(matches!(cut, Ok(None)), "{key_of:?}: cut at {at}");
            }
        }
    }

    #[test]
    fn encryption_is_bound_to_key_name_and_migration() {
        let seal = Seal::new(Uuid::from_u128(1), Some(key(7)));
        let sealed = seal.seal("plan", b"content").unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"content"));
        assert!(seal.unseal("end", sealed.clone()).unwrap().is_none());
        for other in [
            Seal::new(Uuid::from_u128(2), Some(key(7))),
            Seal::new(Uuid::from_u128(1), Some(key(8))),
        ] {
            assert!(other.unseal("plan", sealed.clone()).unwrap().is_none());
        }
        assert_ne!(
            sealed,
            seal.seal("plan", b"content").unwrap(),
            "each has a salt"
        );
    }

    #[test]
    fn an_object_from_elsewhere_is_none() {
        let seal = |migration| Seal::new(Uuid::from_u128(migration), None);
        let sealed = seal(1).seal("plan", b"content").unwrap();
        assert!(seal(1).unseal("end", sealed.clone()).unwrap().is_none());
        assert!(seal(2).unseal("plan", sealed).unwrap().is_none());
    }

    #[test]
    fn another_version_is_said_to_be_one() {
        let object = Bytes::from_static(b"pghaul-spool 2 00000000000000000000000000000000\n{}");
        let error = without_line(Uuid::nil(), "plan", &object).expect_err("unknown");
        assert!(error.message().contains("format 2"), "{error}");
    }

    #[test]
    fn key_files() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            Key::read(&path).map(|key| *key.0.expose_secret())
        };
        assert_eq!(read(&[b'x'; 32]).unwrap(), [b'x'; 32]);
        assert_eq!(
            read(&[b"0a".repeat(32), b"\n".to_vec()].concat()).unwrap(),
            [10; 32]
        );
        for wrong in [&b""[..], b"short", &[b'g'; 64], &[b'1'; 65]] {
            let error = read(wrong).expect_err("wrong");
            assert_eq!(error.kind(), Kind::Input);
        }
    }
}
