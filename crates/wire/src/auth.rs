//! The startup message and the authentication of a session.
//!
//! Source: PostgreSQL's manual, sections 55.2.1 and 55.3.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use pghaul_stage::{Error, Kind, Result};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use secrecy::{ExposeSecret, SecretString};

use crate::Conninfo;
use crate::conninfo::{ChannelBinding, Host};
use crate::server_error::from_fields;
use crate::session::{Session, unexpected};
use crate::tls::server_end_point;

/// More rounds than any server asks for: a hostile one could keep us busy for hours.
const MAX_SCRAM_ROUNDS: u32 = 1_000_000;

/// Introduces us and proves who we are; the server is then ready for statements.
pub(crate) async fn authenticate(
    session: &mut Session,
    info: &Conninfo,
    host: &Host,
) -> Result<()> {
    let parameters = [
        ("user", info.user()),
        ("database", info.dbname()),
        ("application_name", info.application_name()),
        ("client_encoding", "UTF8"),
        ("options", info.options()),
    ];
    let mut message = BytesMut::new();
    frontend::startup_message(
        parameters
            .into_iter()
            .filter(|(_, value)| !value.is_empty()),
        &mut message,
    )
    .map_err(|error| Error::input("a connection option cannot be sent").because(error))?;
    session.send(&message).await?;

    let mut login = Login {
        info,
        password: info.password(host),
        bound: false,
    };
    loop {
        match reply(session).await? {
            Message::AuthenticationOk => break login.check_binding()?,
            Message::AuthenticationCleartextPassword => login.cleartext(session).await?,
            Message::AuthenticationMd5Password(body) => login.md5(session, body.salt()).await?,
            Message::AuthenticationSasl(body) => login.scram(session, &body).await?,
            Message::AuthenticationGss
            | Message::AuthenticationSspi
            | Message::AuthenticationKerberosV5
            | Message::AuthenticationScmCredential => {
                return Err(Error::new(
                    Kind::Permanent,
                    "the server wants GSSAPI, SSPI or Kerberos, which are not supported",
                )
                .remedy(
                    "allow scram-sha-256 or a client certificate in the server's pg_hba.conf",
                ));
            }
            _ => return Err(unexpected(session.side)),
        }
    }
    match reply(session).await? {
        Message::ReadyForQuery(_) => Ok(()),
        _ => Err(unexpected(session.side)),
    }
}

struct Login<'a> {
    info: &'a Conninfo,
    password: Option<&'a SecretString>,
    /// Whether the server has proved that it is the TLS session's other end.
    bound: bool,
}

impl Login<'_> {
    fn password(&self) -> Result<&str> {
        self.password
            .map(ExposeSecret::expose_secret)
            .ok_or_else(|| {
                Error::new(
                    Kind::Permanent,
                    "the server asks for a password, and none is given",
                )
                .remedy("set PGPASSWORD, or add the server to ~/.pgpass")
            })
    }

    fn check_binding(&self) -> Result<()> {
        if self.bound || self.info.policy().channel_binding != ChannelBinding::Require {
            return Ok(());
        }
        Err(Error::new(
            Kind::Permanent,
            "channel_binding=require, but the server authenticates without it",
        )
        .remedy("use scram-sha-256 with TLS on the server, or another channel_binding"))
    }

    async fn cleartext(&self, session: &mut Session) -> Result<()> {
        self.check_binding()?;
        if !session.stream.is_private() {
            return Err(Error::new(
                Kind::Permanent,
                "the server asks for the password in clear text over a plain network connection",
            )
            .remedy("use sslmode=require or stronger, or scram-sha-256 on the server"));
        }
        send_password(session, self.password()?.as_bytes()).await
    }

    async fn md5(&self, session: &mut Session, salt: [u8; 4]) -> Result<()> {
        self.check_binding()?;
        let hash = md5_hash(
            self.info.user().as_bytes(),
            self.password()?.as_bytes(),
            salt,
        );
        send_password(session, hash.as_bytes()).await
    }

    async fn scram(&mut self, session: &mut Session, body: &AuthenticationSaslBody) -> Result<()> {
        let offered: Vec<&str> = body.mechanisms().collect().map_err(unreadable)?;
        let wanted = self.info.policy().channel_binding;
        let binding = session
            .stream
            .certificate()
            .filter(|_| wanted != ChannelBinding::Disable)
            .and_then(server_end_point);
        let plus = offered.contains(&sasl::SCRAM_SHA_256_PLUS);
        let (mechanism, binding) = match binding {
            Some(hash) if plus => {
                self.bound = true;
                (
                    sasl::SCRAM_SHA_256_PLUS,
                    sasl::ChannelBinding::tls_server_end_point(hash),
                )
            }
            Some(_) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
            None => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
        };
        self.check_binding()?;
        if !offered.contains(&mechanism) {
            return Err(Error::new(
                Kind::Permanent,
                format!(
                    "the server offers only {}, which are not supported",
                    offered.join(", ")
                ),
            ));
        }

        let mut exchange = ScramSha256::new(self.password()?.as_bytes(), binding);
        let mut message = BytesMut::new();
        frontend::sasl_initial_response(mechanism, exchange.message(), &mut message)
            .map_err(unreadable)?;
        session.send(&message).await?;

        let Message::AuthenticationSaslContinue(body) = reply(session).await? else {
            return Err(unexpected(session.side));
        };
        check_rounds(body.data())?;
        // Thousands of hash rounds do not belong on the executor.
        let data = body.data().to_vec();
        let exchange =
            tokio::task::spawn_blocking(move || exchange.update(&data).map(|()| exchange));
        let mut exchange = exchange
            .await
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(unreadable)?;
        message.clear();
        frontend::sasl_response(exchange.message(), &mut message).map_err(unreadable)?;
        session.send(&message).await?;

        let Message::AuthenticationSaslFinal(body) = reply(session).await? else {
            return Err(unexpected(session.side));
        };
        exchange.finish(body.data()).map_err(|error| {
            Error::new(
                Kind::Permanent,
                "the server does not know the password it asked for",
            )
            .remedy("somebody may be in between: check the host, and use sslmode=verify-full")
            .because(error)
        })
    }
}

async fn send_password(session: &mut Session, password: &[u8]) -> Result<()> {
    let mut message = BytesMut::new();
    frontend::password_message(password, &mut message)
        .map_err(|error| Error::input("the password cannot be sent").because(error))?;
    session.send(&message).await
}

async fn reply(session: &mut Session) -> Result<Message> {
    match session.receive(None).await? {
        Message::ErrorResponse(body) => Err(from_fields(session.side, body.fields())),
        message => Ok(message),
    }
}

/// The number of rounds in the server's first message, `r=…,s=…,i=rounds`.
fn check_rounds(message: &[u8]) -> Result<()> {
    let too_many = std::str::from_utf8(message)
        .unwrap_or_default()
        .split(',')
        .filter_map(|part| part.strip_prefix("i="))
        .any(|rounds| {
            rounds
                .parse::<u32>()
                .is_ok_and(|rounds| rounds > MAX_SCRAM_ROUNDS)
        });
    if too_many {
        return Err(
            Error::new(Kind::Protocol, "the server asks for too many SCRAM rounds").remedy(
                format!("set scram_iterations on the server to {MAX_SCRAM_ROUNDS} or less"),
            ),
        );
    }
    Ok(())
}

fn unreadable(error: std::io::Error) -> Error {
    Error::new(Kind::Protocol, "the SCRAM exchange with the server failed").because(error)
}
