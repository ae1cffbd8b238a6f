//! Spools that a runtime server keeps: S3's protocol, with a token in place of a signature.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore};
use pghaul_stage::{Error, Kind, Result, Side};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Identity, Url};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::location::invalid;
use crate::{Store, cloud};

/// The header that names the agent who asks.
pub const AGENT_HEADER: &str = "x-pghaul-agent";

/// The header with the epoch of that agent's seat.
pub const EPOCH_HEADER: &str = "x-pghaul-epoch";

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// Statuses of a runtime server that mean more than S3's.
const CONFLICT: u16 = 409;
const INSUFFICIENT_STORAGE: u16 = 507;

/// How one is let in to a runtime server, and how one knows that it is the right one.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The token; without one, that of the environment counts, `PGHAUL_TOKEN`.
    pub token: Option<SecretString>,
    /// A file of certificates in PEM that vouch for the server; without one, those of the system.
    pub authority: Option<PathBuf>,
    /// A file in PEM with a certificate of one's own, and its private key.
    pub certificate: Option<PathBuf>,
    /// Whether `http` will do where others may listen.
    pub plain: bool,
}

/// Where spools of one migration are: `relay+https://HOST[:PORT]/NAME`, with `/DATABASE` behind it
/// for that database's.
#[derive(Debug, Clone)]
pub struct Relay {
    server: Url,
    migration: String,
    segment: Option<String>,
}

/// The seat of an agent: writes of an older epoch are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Who took it.
    pub agent: Uuid,
    /// How often it was taken.
    pub epoch: u64,
}

/// A runtime server that lets one in.
#[derive(Debug, Clone)]
pub struct Connection {
    relay: Relay,
    access: Access,
    client: reqwest::Client,
}

impl Relay {
    /// What a URL names; `None` if it is another kind of place.
    ///
    /// # Errors
    ///
    /// Kind input for a URL of a runtime server that does not name a migration, or has a user or a
    /// password in it.
    pub fn parse(url: &str) -> Result<Option<Relay>> {
        let Some(address) = url.strip_prefix("relay+") else {
            return Ok(None);
        };
        let shape = || invalid("a runtime server's spool is relay+https://HOST[:PORT]/MIGRATION");
        let mut server = Url::parse(address).map_err(|error| shape().because(error))?;
        if !server.username().is_empty() || server.password().is_some() {
            return Err(invalid("it has a user in it")
                .remedy("give the token as PGHAUL_TOKEN or --token-file"));
        }
        let steps = server.path().trim_matches('/').to_owned();
        let (migration, segment) = match steps.split_once('/') {
            Some((migration, segment)) => (migration.to_owned(), Some(segment.to_owned())),
            None => (steps, None),
        };
        let fits = matches!(server.scheme(), "http" | "https")
            && server.has_host()
            && server.query().is_none()
            && server.fragment().is_none()
            && is_plain(&migration)
            && segment.as_deref().is_none_or(is_segment);
        if !fits {
            return Err(shape());
        }
        server.set_path("");
        Ok(Some(Relay {
            server,
            migration,
            segment,
        }))
    }

    /// The name of the migration.
    pub fn migration(&self) -> &str {
        &self.migration
    }

    /// Whether it names the spool of one database.
    pub fn is_of_database(&self) -> bool {
        self.segment.is_some()
    }

    /// The same server and migration, and the spool of this database.
    #[must_use]
    pub fn database(&self, database: &str) -> Relay {
        Relay {
            segment: Some(segment(database)),
            ..self.clone()
        }
    }

    /// Prepares to talk to the server; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// Kind input without a token, for files that are no certificates, and for `http` to another
    /// host.
    pub fn connect(&self, access: &Access) -> Result<Connection> {
        if self.server.scheme() == "http" && !access.plain && !self.is_loopback() {
            return Err(
                invalid("rows and the token would cross the network unencrypted")
                    .remedy("use relay+https://, or say --plain-http where nobody else can listen"),
            );
        }
        let client = access.client(None)?;
        Ok(Connection {
            relay: self.clone(),
            access: access.clone(),
            client,
        })
    }

    fn is_loopback(&self) -> bool {
        match self.server.host_str() {
            Some("localhost") => true,
            Some(host) => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let address: Result<std::net::IpAddr, _> = host.parse();
                address.is_ok_and(|address| address.is_loopback())
            }
            None => false,
        }
    }
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "relay+{}{}", self.server, self.migration)?;
        match &self.segment {
            Some(segment) => write!(f, "/{segment}"),
            None => Ok(()),
        }
    }
}

impl Access {
    /// An HTTP client that shows the token with every request, and the seat if there is one.
    ///
    /// # Errors
    ///
    /// Kind input without a token, and for files that are no certificates.
    pub fn client(&self, seat: Option<Seat>) -> Result<reqwest::Client> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, self.bearer()?);
        if let Some(Seat { agent, epoch }) = seat {
            let agent = HeaderValue::try_from(agent.to_string());
            let agent = agent.map_err(|error| client_failed().because(error))?;
            headers.insert(AGENT_HEADER, agent);
            headers.insert(EPOCH_HEADER, HeaderValue::from(epoch));
        }
        let timeout = Duration::from_secs(cloud::TIMEOUT_SECONDS);
        let mut client = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT)
            .timeout(timeout)
            .user_agent(concat!("pghaul/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &self.authority {
            let pem = pem(path)?;
            let roots = Certificate::from_pem_bundle(pem.expose_secret().as_bytes());
            let roots = roots.map_err(|error| no_certificate(path).because(error))?;
            if roots.is_empty() {
                return Err(no_certificate(path));
            }
            client = client.tls_certs_only(roots);
        }
        if let Some(path) = &self.certificate {
            let pem = pem(path)?;
            // Its error is not told: nobody knows what it says of the key.
            let identity = Identity::from_pem(pem.expose_secret().as_bytes());
            client = client.identity(identity.map_err(|_| no_certificate(path))?);
        }
        client
            .build()
            .map_err(|error| client_failed().because(error))
    }

    fn bearer(&self) -> Result<HeaderValue> {
        let token = match &self.token {
            Some(token) => token.clone(),
            None => std::env::var("PGHAUL_TOKEN").unwrap_or_default().into(),
        };
        let token = token.expose_secret().trim();
        if token.is_empty() {
            return Err(invalid("no token is given").remedy(
                "set PGHAUL_TOKEN, or give --token-file; the runtime server issues tokens for each side of a migration",
            ));
        }
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| invalid("the token has characters that none has"))?;
        bearer.set_sensitive(true);
        Ok(bearer)
    }
}

impl Connection {
    /// The migration and its server.
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// The client, for other requests to this server.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// A URL of this server.
    pub fn url(&self, path: &str) -> String {
        let server = self.relay.server.as_str();
        format!(
            "{}/{}",
            server.trim_end_matches('/'),
            path.trim_start_matches('/')
        )
    }

    /// The spool: that of the database in the URL, or all of the migration's.
    ///
    /// # Errors
    ///
    /// As [`Access::client`].
    pub fn store(&self, seat: Option<Seat>) -> Result<Store> {
        Ok(Store::new(self.objects(seat)?, &self.relay.to_string()))
    }

    /// The objects of that spool.
    ///
    /// # Errors
    ///
    /// As [`Access::client`].
    pub fn objects(&self, seat: Option<Seat>) -> Result<Arc<dyn ObjectStore>> {
        let client = self.access.client(seat)?;
        let objects = AmazonS3Builder::new()
            .with_endpoint(self.url("spool"))
            .with_bucket_name(&self.relay.migration)
            .with_skip_signature(true)
            .with_disable_bulk_delete(true)
            .with_disable_tagging(true)
            .with_retry(cloud::retry())
            .with_http_connector(Service(client))
            .build()
            .map_err(|error| client_failed().because(error))?;
        Ok(match &self.relay.segment {
            Some(segment) => Arc::new(PrefixStore::new(objects, segment.as_str())),
            None => Arc::new(objects),
        })
    }
}

/// The step of a database in the names of a migration's objects: letters, digits, `_` and `-` stand
/// for themselves, every other byte is `=` and two hexadecimal digits.
pub fn segment(database: &str) -> String {
    let mut segment = String::with_capacity(database.len());
    for byte in database.bytes() {
        if is_plain_byte(byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("={byte:02x}"));
        }
    }
    segment
}

/// Whether [`segment`] can have made it.
pub fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 3 * 63
        && text.bytes().all(|byte| is_plain_byte(byte) || byte == b'=')
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_plain_byte)
}

fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn pem(path: &Path) -> Result<SecretString> {
    let content = std::fs::read_to_string(path).map_err(|error| {
        Error::input("the file cannot be read")
            .on(path.display().to_string())
            .because(error)
    })?;
    Ok(content.into())
}

fn no_certificate(path: &Path) -> Error {
    Error::input("it does not hold what it should, in PEM").on(path.display().to_string())
}

fn client_failed() -> Error {
    Error::new(Kind::Permanent, "no client for the runtime server").at(Side::Link)
}

/// Says that another agent has the seat. What an agent does after that is lost.
#[derive(Debug)]
pub(crate) struct Fenced;

impl fmt::Display for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime server gave the work of this agent to another one")
    }
}

impl std::error::Error for Fenced {}

/// Sends what the client of S3 asks, and reads what only a runtime server answers.
#[derive(Debug, Clone)]
struct Service(reqwest::Client);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = HttpService::call(&self.0, request).await?;
        // Neither passes by repeating the request, which another kind would bring about.
        let failed = |why: Box<dyn std::error::Error + Send + Sync>| {
            Err(HttpError::new_boxed(HttpErrorKind::Unknown, why))
        };
        match response.status().as_u16() {
            CONFLICT => failed(Box::new(Fenced)),
            INSUFFICIENT_STORAGE => failed(Box::new(std::io::Error::from(
                std::io::ErrorKind::QuotaExceeded,
            ))),
            _ => Ok(response),
        }
    }
}

impl HttpConnector for Service {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Relay {
        Relay::parse(url).expect(url).expect(url)
    }

    #[test]
    fn urls_name_a_server_and_a_migration() {
        let relay = parsed("relay+https://haul.example:8432/m-1");
        assert_eq!(relay.migration(), "m-1");
        assert!(!relay.is_of_database());
        assert_eq!(relay.to_string(), "relay+https://haul.example:8432/m-1");
        let of = relay.database("a/ü.");
        assert_eq!(
            of.to_string(),
            "relay+https://haul.example:8432/m-1/a=2f=c3=bc=2e"
        );
        assert_eq!(parsed(&of.to_string()).to_string(), of.to_string());
        assert!(Relay::parse("s3://bucket/x").unwrap().is_none());
        for wrong in [
            "relay+https://",
            "relay+https://h",
            "relay+https://h/",
            "relay+https://h/a/b/c",
            "relay+https://h/a/b.c",
            "relay+https://h/m?x=1",
            "relay+https://h/m#x",
            "relay+https://user:hunter2@h/m",
            "relay+ftp://h/m",
        ] {
            let error = Relay::parse(wrong).expect_err(wrong);
            assert_eq!(error.kind(), Kind::Input, "{wrong}");
            assert!(!format!("{error:?}").contains("hunter2"), "{wrong}");
        }
    }

    #[test]
    fn plain_http_is_for_this_host_alone() {
        let access = Access {
            token: Some("t".to_owned().into()),
            ..Access::default()
        };
        for near in ["http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"] {
            parsed(&format!("relay+{near}/m"))
                .connect(&access)
                .expect(near);
        }
        let far = parsed("relay+http://10.0.0.1/m");
        assert_eq!(far.connect(&access).unwrap_err().kind(), Kind::Input);
        let allowed = Access {
            plain: true,
            ..access
        };
        far.connect(&allowed).unwrap();
    }

    #[test]
    fn a_token_is_never_printed() {
        let access = Access {
            token: Some("hunter2".to_owned().into()),
            ..Access::default()
        };
        let connection = parsed("relay+https://h/m").connect(&access).unwrap();
        let store = connection.store(None).unwrap();
        let said = format!("{access:?} {connection:?} {store:?}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
