//! Tokens of agents: for one side of one migration, and for a while.
//!
//! A token is an identifier, by which it is found, and a secret, of which only the hash is kept.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, rand};
use pghaul_stage::{Error, Kind, Result};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::spool::Side;

/// What every token of an agent begins with, so that nobody takes it for another kind.
pub const PREFIX: &str = "pghaul-agent.";

/// Bytes of the secret.
const SECRET: usize = 32;

/// What is kept of a token.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// By which it is found; no secret.
    pub(super) id: Uuid,
    /// The migration it is for.
    pub(super) migration: Uuid,
    /// The side it is for.
    pub(super) side: Side,
    /// When it ends, in seconds since 1970.
    pub(super) expires: u64,
    /// The hash of the secret.
    pub(super) hash: Vec<u8>,
}

impl Token {
    /// A new token and what its owner has to show. Nobody sees that again.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub(super) fn issue(
        migration: Uuid,
        side: Side,
        expires: u64,
    ) -> Result<(Token, SecretString)> {
        let mut secret = [0; SECRET];
        rand::fill(&mut secret)
            .map_err(|_| Error::new(Kind::Permanent, "the system gives no random numbers"))?;
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = Uuid::now_v7();
        let token = Token {
            id,
            migration,
            side,
            expires,
            hash: hash(&secret),
        };
        Ok((token, format!("{PREFIX}{}.{secret}", id.simple()).into()))
    }

    /// Whether this secret is the token's, and the token still valid.
    pub(super) fn admits(&self, shown: &Shown, now: u64) -> bool {
        let same = verify_slices_are_equal(&hash(shown.secret.expose_secret()), &self.hash).is_ok();
        same && now < self.expires
    }
}

/// What somebody shows.
#[derive(Debug)]
pub(super) struct Shown {
    /// Which token it claims to be.
    pub(super) id: Uuid,
    secret: SecretString,
}

impl Shown {
    /// Takes a token apart; `None` if it is of another kind.
    pub(super) fn parse(token: &str) -> Option<Shown> {
        let (id, secret) = token.strip_prefix(PREFIX)?.split_once('.')?;
        Some(Shown {
            id: Uuid::try_parse(id).ok()?,
            secret: secret.to_owned().into(),
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .field("migration", &self.migration)
            .field("side", &self.side)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// A random secret of 256 bits needs no slow hash: nobody can try them all.
fn hash(secret: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, secret.as_bytes())
        .as_ref()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(token: &SecretString) -> Shown {
        Shown::parse(token.expose_secret()).unwrap()
    }

    #[test]
    fn a_token_admits_its_owner_for_a_while() {
        let migration = Uuid::now_v7();
        let (token, secret) = Token::issue(migration, Side::Source, 100).unwrap();
        let (other, others) = Token::issue(migration, Side::Source, 100).unwrap();
        assert_eq!(shown(&secret).id, token.id);
        assert!(token.admits(&shown(&secret), 99));
        assert!(!token.admits(&shown(&secret), 100), "it has ended");
        assert!(!token.admits(&shown(&others), 0), "another one's");
        assert!(!other.admits(&shown(&secret), 0), "another one's");
        let forged = format!("{PREFIX}{}.{}", token.id.simple(), "0".repeat(64));
        assert!(!token.admits(&Shown::parse(&forged).unwrap(), 0));
    }

    #[test]
    fn what_is_kept_does_not_tell_the_secret() {
        let (token, secret) = Token::issue(Uuid::nil(), Side::Target, 1).unwrap();
        let (_, secret) = secret.expose_secret().rsplit_once('.').unwrap();
        assert_eq!(secret.len(), 2 * SECRET);
        let bytes: Vec<u8> = (0..secret.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&secret[at..at + 2], 16).unwrap())
            .collect();
        assert_ne!(token.hash, bytes);
        assert_ne!(token.hash, secret.as_bytes());
        assert!(!format!("{token:?}").contains(secret));
    }

    #[test]
    fn other_tokens_are_none() {
        for token in [
            "",
            "pghaul-agent.",
            "pghaul-agent.x.y",
            "other.00",
            "pghaul-agent.00",
        ] {
            assert!(Shown::parse(token).is_none(), "{token}");
        }
    }
}
