//! Talks to a runtime server: where it is, how to be admitted, and what its refusals mean.

use std::env;
use std::fs;
use std::time::Duration;

use futures_util::StreamExt;
use pghaul_stage::{Error, Kind, Result};
use pghaul_wire::https_refusal;
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::Remote;

/// How long the server may take to be reached, and to answer.
const REACH: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(60);

/// How long a stream of events may be silent; the server says something every few seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// How much of an answer is read.
const LONGEST: usize = 64 << 20;

/// A runtime server.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<SecretString>,
}

impl Remote {
    /// The server that the flags, a file or the environment name, in this order.
    pub(crate) fn address(&self, of_file: Option<String>) -> Option<String> {
        let given = self.server.clone().or(of_file);
        given
            .or_else(|| env::var("PGHAUL_SERVER").ok())
            .filter(|address| !address.is_empty())
    }

    /// A client of the server that must be named.
    pub(crate) fn client(&self) -> Result<Client> {
        let address = self.address(None).ok_or_else(|| {
            Error::input("no runtime server is given")
                .remedy("set PGHAUL_SERVER or --server to its address, such as https://runtime.example:8432")
        })?;
        Client::new(self, &address)
    }

    fn token(&self) -> Result<Option<SecretString>> {
        let text = match &self.token_file {
            Some(path) => fs::read_to_string(path).map_err(|error| {
                Error::input("cannot read the token's file")
                    .on(path.display().to_string())
                    .because(error)
            })?,
            None => env::var("PGHAUL_TOKEN").unwrap_or_default(),
        };
        let token = text.trim();
        if !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(Error::input("the token holds what no token holds")
                .remedy("a token is one line of letters, digits and signs"));
        }
        Ok((!token.is_empty()).then(|| token.into()))
    }
}

impl Client {
    /// A client of the server at this address.
    pub(super) fn new(remote: &Remote, address: &str) -> Result<Client> {
        let base = Url::parse(address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                Error::input("is no address of a runtime server")
                    .on(address.split('@').next_back().unwrap_or_default())
                    .remedy("write it as https://runtime.example:8432")
            })?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(
                Error::input("an address must not hold a user or a password")
                    .remedy("give the token in PGHAUL_TOKEN or with --token-file"),
            );
        }
        let local = is_this_host(&base);
        if base.scheme() == "http" && !local && !remote.insecure {
            return Err(
                Error::input("token and passwords would travel without encryption")
                    .on(base.as_str())
                    .remedy("use https, or say --insecure"),
            );
        }
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("pghaul/", env!("CARGO_PKG_VERSION")))
            // Another address is for the user to give: it would get the token, too.
            .redirect(redirect::Policy::none())
            .connect_timeout(REACH)
            .read_timeout(SILENCE);
        if local {
            http = http.no_proxy();
        }
        if let Some(path) = &remote.ca_file {
            let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
                Error::input("cannot read certificates")
                    .on(path.display().to_string())
                    .because(error)
            };
            let pem = fs::read(path).map_err(|error| wrong(error.into()))?;
            let certificates =
                Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.into()))?;
            if certificates.is_empty() {
                return Err(wrong("there are none in it".into()));
            }
            http = http.tls_certs_only(certificates);
        }
        let http = http.build().map_err(|error| {
            Error::new(Kind::Permanent, "cannot speak to servers").because(error)
        })?;
        Ok(Client {
            http,
            base,
            token: remote.token()?,
        })
    }

    /// Where the server is, for messages.
    pub(crate) fn address(&self) -> &str {
        self.base.as_str()
    }

    /// Reads something.
    pub(crate) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value> {
        self.ask(Method::GET, path, query, None).await
    }

    /// Asks for something; an answer without content is null.
    ///
    /// # Errors
    ///
    /// Kind input if the server refuses it, transient if there is no server or none that can
    /// answer now, permanent if it fails.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value> {
        let mut request = self.request(method, path, query).timeout(ANSWER);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.send(request).await?;
        let content = self.content(answer).await?;
        if content.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&content).map_err(|error| self.strange().because(error))
    }

    /// Opens a stream of events, after the one with this identifier.
    pub(super) async fn events(&self, path: &[&str], after: Option<&str>) -> Result<Response> {
        let mut request = self
            .request(Method::GET, path, &[])
            .header("accept", "text/event-stream");
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        self.send(request).await
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let answer = request.send().await.map_err(|error| {
            // The address is said already, and may hold names.
            let error = error.without_url();
            if let Some(refusal) = https_refusal(&error) {
                return refusal.on(self.address()).because(error);
            }
            let message = if error.is_timeout() {
                "the runtime server does not answer"
            } else {
                "the runtime server cannot be reached"
            };
            Error::new(Kind::Transient, message)
                .on(self.address())
                .because(error)
                .remedy("see whether `pghaul serve` runs there, and whether this host may reach it")
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let content = self.content(answer).await.unwrap_or_default();
        Err(self.refusal(status, &content))
    }

    async fn content(&self, answer: Response) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| {
                Error::new(Kind::Transient, "the runtime server's answer broke off")
                    .on(self.address())
                    .because(error.without_url())
            })?;
            if content.len() + piece.len() > LONGEST {
                return Err(self.strange());
            }
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }

    /// The error that problem details tell.
    fn refusal(&self, status: StatusCode, content: &[u8]) -> Error {
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Kind::Transient,
            status if status.is_client_error() => Kind::Input,
            _ => Kind::Permanent,
        };
        let problem: Value = serde_json::from_slice(content).unwrap_or_default();
        let text = |key: &str| {
            problem
                .get(key)
                .and_then(Value::as_str)
                .map(super::table::plain)
        };
        let message = text("detail")
            .or_else(|| text("title"))
            .unwrap_or_else(|| format!("the server answers {status}, and does not say why"));
        let mut error = Error::new(kind, message).on(format!("runtime server {}", self.address()));
        if let Some(faults) = problem.get("errors").and_then(Value::as_array) {
            let faults: Vec<_> = faults.iter().map(fault).collect();
            if !faults.is_empty() {
                error = error.because(faults.join("; "));
            }
        }
        if let Some(remedy) = text("remedy") {
            error = error.remedy(remedy);
        }
        match status {
            StatusCode::UNAUTHORIZED => {
                error.remedy("give a token in PGHAUL_TOKEN or with --token-file")
            }
            status if status.is_redirection() => {
                error.remedy("give the address that is meant; redirections are not followed")
            }
            _ => error,
        }
    }

    fn strange(&self) -> Error {
        Error::new(Kind::Protocol, "what answers is no runtime server")
            .on(self.address())
            .remedy("look at the address")
    }
}

/// One of several things that are wrong, as in `source.host: is empty`.
fn fault(fault: &Value) -> String {
    let part = |key: &str| {
        fault
            .get(key)
            .and_then(Value::as_str)
            .map(super::table::plain)
    };
    let (key, message) = (part("key"), part("message"));
    match (
        key.or_else(|| part("pointer")),
        message.or_else(|| part("detail")),
    ) {
        (Some(key), Some(message)) => format!("{key}: {message}"),
        (None, Some(message)) => message,
        _ => super::table::plain(&fault.to_string()),
    }
}

/// Whether an address is of this host itself, so that what is sent there does not travel.
fn is_this_host(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
