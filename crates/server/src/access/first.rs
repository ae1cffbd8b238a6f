//! The first admin, which a server without users makes when it starts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pghaul_stage::{Error, Result};
use secrecy::{ExposeSecret, SecretString};

use super::credential::Credential;
use super::user::User;
use super::{Role, password, token};
use crate::private_file;
use crate::store::Store;

/// The first admin's name.
const NAME: &str = "admin";

/// The variable with the first admin's password.
const VARIABLE: &str = "PGHAUL_ADMIN_PASSWORD";

/// How the first admin gets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstAdmin {
    /// There were users before.
    Known,
    /// By the password that the environment gave.
    ByPassword,
    /// By the text in this file, which is admin's password, and a token for programs as well.
    ByFile(PathBuf),
}

impl FirstAdmin {
    /// Makes an admin unless there are users. With `password`, that is the admin's; without it, a
    /// random one is written to a file that only this user can read. May block.
    ///
    /// # Errors
    ///
    /// Kind input if the password is too weak or the file cannot be written.
    pub fn make(store: &Store, password: Option<&SecretString>, file: &Path) -> Result<Self> {
        if store.wait(|file| User::exists(file))? {
            return Ok(Self::Known);
        }
        let token = match password {
            Some(password) => {
                if let Some(fault) = password::fault(password.expose_secret()) {
                    return Err(Error::input(fault).on(VARIABLE));
                }
                None
            }
            None => Some(Credential::random()?),
        };
        let text = token.as_ref().map(Credential::text);
        // Written before it is valid: if this is interrupted, the next start makes another one.
        if let Some(text) = &text {
            write(file, text).map_err(|error| {
                Error::input("the first admin's token cannot be written")
                    .on(file.display().to_string())
                    .because(error)
                    .remedy(format!("or give a password in {VARIABLE}"))
            })?;
        }
        let secret = text.as_ref().or(password).map(ExposeSecret::expose_secret);
        let hash = password::hash(secret.unwrap_or_default())?;
        let known = token.map(|token| (token.id, token.hash()));
        let by_file = known.is_some();
        store.wait(move |file| {
            let transaction = file.transaction()?;
            User::add(&transaction, NAME, Role::Admin, &hash)?;
            if let Some((id, hash)) = &known {
                token::add(&transaction, (*id, hash), NAME, Role::Admin, NAME, None)?;
            }
            transaction.commit()
        })?;
        Ok(if by_file {
            Self::ByFile(file.to_owned())
        } else {
            Self::ByPassword
        })
    }
}

fn write(path: &Path, text: &SecretString) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    private_file::create(path, format!("{}\n", text.expose_secret()).as_bytes())
}
