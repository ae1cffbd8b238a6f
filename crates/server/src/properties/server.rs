//! A server as the service's files name it: `host:port@user`.

use std::str::FromStr;

use pghaul_stage::{Error, Result};

use crate::job::{Endpoint, SslMode};

/// Where a server is, and who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Role.
    pub user: String,
}

impl Server {
    /// A server at the usual port.
    pub(super) fn new(host: &str, user: &str) -> Server {
        Server {
            host: host.to_owned(),
            port: 5432,
            user: user.to_owned(),
        }
    }

    /// The end of a migration there, with nothing else said about it.
    pub fn endpoint(self) -> Endpoint {
        Endpoint {
            host: self.host,
            port: self.port,
            user: self.user,
            ssl_mode: SslMode::Prefer,
            password: None,
            ca_certificate: None,
            database: "postgres".to_owned(),
            source_type: None,
        }
    }
}

/// Whether a text is the ID of a resource in Azure, which names no host.
pub(super) fn is_resource(text: &str) -> bool {
    let id = "/subscriptions/";
    let start = text.trim_start().get(..id.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(id))
}

/// Reads `host:port@user`. The port may be left out, an IPv6 address stands in brackets, and all
/// that follows the first `@` is the user, which may hold another one.
impl FromStr for Server {
    type Err = Error;

    fn from_str(text: &str) -> Result<Server> {
        let wrong = |message: &'static str| {
            Error::input(message).remedy("write host:port@user, such as db.example:5432@admin")
        };
        if is_resource(text) {
            return Err(wrong("a resource ID says neither host nor user"));
        }
        if text.contains("://") {
            return Err(wrong("is an address, and must be host:port@user"));
        }
        let (place, user) = text.split_once('@').ok_or_else(|| wrong("names no user"))?;
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong("a bracket is not closed"))?;
                let port = match rest.strip_prefix(':') {
                    None if rest.is_empty() => None,
                    None => return Err(wrong("something follows the bracket")),
                    port => port,
                };
                (host, port)
            }
            None => match place.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => {
                    return Err(wrong("an IPv6 address must stand in brackets"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = match port {
            None => 5432,
            Some(port) => port
                .parse()
                .ok()
                .filter(|&port| port > 0)
                .ok_or_else(|| wrong("the port is no number from 1 to 65535"))?,
        };
        if host.trim().is_empty() {
            return Err(wrong("names no host"));
        }
        if user.trim().is_empty() {
            return Err(wrong("names no user"));
        }
        Ok(Server {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
        })
    }
}
