//! Secrets at rest: encrypted under a key that only this server can read.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::Path;

use aws_lc_rs::{aead, rand};
use pghaul_stage::{Error, Kind, Result};
use uuid::Uuid;

use crate::private_file;

/// Bytes of a key.
const KEY: usize = 32;

/// Encrypts and decrypts under one key.
pub(crate) struct Vault(aead::LessSafeKey);

impl Vault {
    /// Reads the key from a file of 32 bytes; makes one if `make` and there is none.
    ///
    /// # Errors
    ///
    /// Kind input if it cannot be read or is not of 32 bytes.
    pub(crate) fn open(path: &Path, make: bool) -> Result<Self> {
        let wrong = |what: &'static str| {
            Error::input(what)
                .on(format!("key file {}", path.display()))
                .remedy(
                    "it holds 32 random bytes; without it, the passwords of this server's \
                         migrations cannot be read",
                )
        };
        let mut key = [0; KEY + 1];
        let mut file = match OpenOptions::new().read(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
                create(path).map_err(|error| wrong("cannot be made").because(error))?
            }
            Err(error) => return Err(wrong("cannot be read").because(error)),
        };
        let mut length = 0;
        while let Some(room) = key.get_mut(length..).filter(|room| !room.is_empty()) {
            match file.read(room) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) => return Err(wrong("cannot be read").because(error)),
            }
        }
        let bytes = key.get(..length).filter(|bytes| bytes.len() == KEY);
        let bytes = bytes.ok_or_else(|| wrong("is not of 32 bytes"))?;
        let cipher = aead::UnboundKey::new(&aead::AES_256_GCM, bytes)
            .map_err(|_| wrong("cannot be used"))?;
        key.fill(0);
        Ok(Self(aead::LessSafeKey::new(cipher)))
    }

    /// Encrypts what belongs to a migration.
    pub(crate) fn seal(&self, migration: Uuid, secret: &[u8]) -> Result<Vec<u8>> {
        let failed = |_| Error::new(Kind::Permanent, "a secret cannot be encrypted");
        let mut nonce = [0; aead::NONCE_LEN];
        rand::fill(&mut nonce).map_err(failed)?;
        let mut sealed = secret.to_vec();
        let (once, bound) = (
            aead::Nonce::assume_unique_for_key(nonce),
            aead::Aad::from(migration.into_bytes()),
        );
        self.0
            .seal_in_place_append_tag(once, bound, &mut sealed)
            .map_err(failed)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts it.
    ///
    /// # Errors
    ///
    /// Kind identity if it was changed, or encrypted under another key or for another migration.
    pub(crate) fn open_sealed(&self, migration: Uuid, sealed: &[u8]) -> Result<Vec<u8>> {
        let failed = || {
            Error::new(Kind::Identity, "a secret cannot be decrypted")
                .on(format!("migration {migration}"))
                .remedy("start the server with the key file it had when the migration was created")
        };
        let (nonce, sealed) = sealed
            .split_first_chunk::<{ aead::NONCE_LEN }>()
            .ok_or_else(failed)?;
        let mut text = sealed.to_vec();
        let bound = aead::Aad::from(migration.into_bytes());
        let once = aead::Nonce::assume_unique_for_key(*nonce);
        let secret = self.0.open_in_place(once, bound, &mut text);
        secret.map(|secret| secret.to_vec()).map_err(|_| failed())
    }
}

/// Makes a key file with a new key, and gives it opened at its beginning.
fn create(path: &Path) -> io::Result<std::fs::File> {
    let mut key = [0; KEY];
    rand::fill(&mut key).map_err(|_| io::Error::other("there are no random bytes"))?;
    let created = private_file::create(path, &key);
    key.fill(0);
    created?;
    std::fs::File::open(path)
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_opens_for_the_same_migration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(Vault::open(&path, false).is_err());
        let vault = Vault::open(&path, true).unwrap();
        let migration = Uuid::now_v7();
        let sealed = vault.seal(migration, b"hunter2").unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        assert_ne!(sealed, vault.seal(migration, b"hunter2").unwrap());
        let again = Vault::open(&path, true).unwrap();
        assert_eq!(again.open_sealed(migration, &sealed).unwrap(), b"hunter2");
        assert!(again.open_sealed(Uuid::now_v7(), &sealed).is_err());
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(again.open_sealed(migration, &changed).is_err());
        let other = Vault::open(&folder.path().join("other"), true).unwrap();
        assert!(other.open_sealed(migration, &sealed).is_err());
        for wrong in [31, 33, 0] {
            std::fs::write(&path, vec![7; wrong]).unwrap();
            assert!(Vault::open(&path, true).is_err(), "{wrong} bytes");
        }
    }
}
