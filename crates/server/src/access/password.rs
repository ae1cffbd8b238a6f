//! Passwords: their hashes by Argon2id, made and compared on threads that may block, few at a time,
//! so that a flood of logins takes neither the memory nor the processors of the migrations.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use pghaul_stage::{Error, Kind, Result};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// Hashes computed at the same time, of 19 MiB each.
const AT_ONCE: usize = 2;

/// Characters that a password has at least.
pub(super) const SHORTEST: usize = 12;

/// Bytes that a password has at most.
pub(super) const LONGEST: usize = 1024;

/// Makes and compares hashes of passwords.
pub(super) struct Passwords {
    turns: Arc<Semaphore>,
    /// Of no password. It is compared for names that nobody has, so that the time of an answer
    /// does not tell whether there is such a user.
    of_nobody: Arc<str>,
}

impl Passwords {
    pub(super) fn new() -> Result<Self> {
        let nobody = super::credential::Credential::random()?;
        Ok(Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            of_nobody: hash(nobody.text().expose_secret())?.into(),
        })
    }

    /// The hash to keep of a password.
    pub(super) async fn hash(&self, password: SecretString) -> Result<String> {
        self.work(move || hash(password.expose_secret())).await
    }

    /// Whether this is the password of which the hash is kept; never if none is.
    pub(super) async fn fits(&self, password: SecretString, kept: Option<String>) -> Result<bool> {
        let nobody = Arc::clone(&self.of_nobody);
        self.work(move || {
            let known = kept.is_some();
            let hash = PasswordHash::new(kept.as_deref().unwrap_or(&nobody)).map_err(broken)?;
            let verified =
                Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash);
            Ok(verified.is_ok() && known)
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(broken)?;
        let worked = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        worked.await.map_err(broken)?
    }
}

/// The Argon2id hash of a password, with its salt and costs.
pub(super) fn hash(password: &str) -> Result<String> {
    let hash: PasswordHash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(broken)?;
    Ok(hash.to_string())
}

/// What is wrong with a password that somebody chose.
pub(super) fn fault(password: &str) -> Option<String> {
    if password.chars().count() < SHORTEST {
        Some(format!("must have {SHORTEST} characters or more"))
    } else if password.len() > LONGEST {
        Some(format!("has more than {LONGEST} bytes"))
    } else if password.contains('\0') {
        Some("holds a zero byte".to_owned())
    } else {
        None
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::new(Kind::Permanent, "a password cannot be compared").because(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_fits_and_what_is_kept_is_argon2id() {
        let passwords = Passwords::new().unwrap();
        let kept = passwords.hash("correct horse".into()).await.unwrap();
        assert!(
            kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{kept}"
        );
        assert_ne!(kept, passwords.hash("correct horse".into()).await.unwrap());
        let fits = async |password: &str, kept: Option<&str>| {
            let kept = kept.map(str::to_owned);
            passwords.fits(password.into(), kept).await.unwrap()
        };
        assert!(fits("correct horse", Some(&kept)).await);
        assert!(!fits("correct horsf", Some(&kept)).await);
        assert!(!fits("correct horse", None).await);
        let known = Argon2::default();
        let hash = PasswordHash::new(&kept).unwrap();
        assert!(known.verify_password(b"correct horse", &hash).is_ok());
    }
}
