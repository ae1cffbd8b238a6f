//! The token of the administrator: without it, nothing of the API can be reached.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::{constant_time, rand};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use pghaul_stage::{Error, Result};

use crate::api::User;
use crate::problem::Problem;

/// Random bytes of a token.
const BYTES: usize = 32;

/// A token. It cannot be printed.
pub(crate) struct Token(String);

impl Token {
    /// Reads the token from its file, which is made if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::input("the token cannot be read or made")
                .on(path.display().to_string())
                .because(error)
        };
        let token = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
            read => read,
        };
        let token = token.map_err(failed)?.trim().to_owned();
        if token.len() < BYTES {
            let short = io::Error::other("it is too short");
            return Err(failed(short).remedy("remove the file, and start the server again"));
        }
        Ok(Self(token))
    }

    fn is(&self, given: &str) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_bytes(), given.as_bytes()).is_ok()
    }
}

fn make(path: &Path) -> io::Result<String> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("there are no random bytes"))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    Ok(token)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Lets requests with the token pass, and notes whose they are.
pub(crate) async fn require(
    State(token): State<Arc<Token>>,
    mut request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    if !given.is_some_and(|given| token.is(given)) {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "a token is needed")
            .remedy("send the header Authorization: Bearer with the token of the server");
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (challenge, problem).into_response();
    }
    request.extensions_mut().insert(User("admin".to_owned()));
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        let token = Token::open(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let text = fs::read_to_string(&path).unwrap();
        assert!(token.is(text.trim()) && !token.is("") && !token.is(&text));
        assert!(Token::open(&path).unwrap().is(text.trim()));
        assert!(!format!("{token:?}").contains(text.trim()));
        fs::write(&path, "\n").unwrap();
        assert!(Token::open(&path).is_err());
    }
}
