//! The servers that a conninfo names.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use pghaul_stage::{Error, Result};

use super::parameters::Parameters;

/// The folders where servers put their Unix sockets by default: Debian's, and upstream's.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
const DEFAULT_PORT: u16 = 5432;

/// One server to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where it listens.
    pub address: Address,
    /// Its port, which is also part of a Unix socket's file name.
    pub port: u16,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A network host.
    Tcp {
        /// The name that is looked up and that a certificate must carry; empty if only
        /// `hostaddr` is given.
        host: String,
        /// The address, which saves the lookup.
        hostaddr: Option<IpAddr>,
    },
    /// The folder of a Unix socket.
    Unix(PathBuf),
}

impl Host {
    /// What `PGHOST` calls it.
    pub(super) fn name(&self) -> String {
        match &self.address {
            Address::Tcp { host, .. } => host.clone(),
            Address::Unix(folder) => folder.display().to_string(),
        }
    }

    pub(super) fn hostaddr(&self) -> Option<IpAddr> {
        match &self.address {
            Address::Tcp { hostaddr, .. } => *hostaddr,
            Address::Unix(_) => None,
        }
    }

    /// What the password file calls it.
    pub(super) fn passfile_name(&self) -> String {
        match &self.address {
            Address::Unix(folder)
                if SOCKET_FOLDERS
                    .iter()
                    .any(|known| folder == Path::new(known)) =>
            {
                "localhost".to_owned()
            }
            Address::Tcp {
                host,
                hostaddr: Some(address),
            } if host.is_empty() => address.to_string(),
            _ => self.name(),
        }
    }

    /// The socket file in a folder.
    pub(crate) fn socket_file(&self, folder: &Path) -> PathBuf {
        folder.join(format!(".s.PGSQL.{}", self.port))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.address {
            Address::Tcp { host, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp {
                host,
                hostaddr: Some(address),
            } if host.is_empty() => {
                write!(f, "{}", std::net::SocketAddr::new(*address, port))
            }
            Address::Tcp { host, .. } => write!(f, "{host}:{port}"),
            Address::Unix(folder) => write!(f, "{}:{port}", folder.display()),
        }
    }
}

/// The servers of `host`, `hostaddr` and `port`, each a list.
pub(super) fn list(parameters: &Parameters) -> Result<Vec<Host>> {
    let split = |key| {
        parameters
            .get(key)
            .map(|list| list.split(',').collect::<Vec<_>>())
    };
    let names = split("host");
    let addresses = split("hostaddr");
    let count = names.as_ref().or(addresses.as_ref()).map_or(1, Vec::len);
    if let (Some(names), Some(addresses)) = (&names, &addresses)
        && names.len() != addresses.len()
    {
        return Err(Error::input(
            "host and hostaddr list different numbers of servers",
        ));
    }
    let ports = split("port").unwrap_or_else(|| vec![""]);
    if ports.len() != 1 && ports.len() != count {
        return Err(Error::input(
            "port lists another number of servers than host",
        ));
    }
    (0..count)
        .map(|index| {
            let port = port(
                ports
                    .get(index)
                    .or(ports.first())
                    .copied()
                    .unwrap_or_default(),
            )?;
            let host = item(names.as_deref(), index);
            Ok(Host {
                address: address(host, item(addresses.as_deref(), index), port)?,
                port,
            })
        })
        .collect()
}

fn item<'a>(list: Option<&[&'a str]>, index: usize) -> &'a str {
    list.and_then(|list| list.get(index))
        .map_or("", |item| item.trim())
}

fn address(host: &str, hostaddr: &str, port: u16) -> Result<Address> {
    if !hostaddr.is_empty() {
        let parsed = hostaddr.parse().map_err(|_| {
            Error::input(format!("\"{hostaddr}\" is not an IP address")).on("hostaddr")
        })?;
        return Ok(Address::Tcp {
            host: host.to_owned(),
            hostaddr: Some(parsed),
        });
    }
    if host.starts_with('/') {
        return Ok(Address::Unix(host.into()));
    }
    if host.starts_with('@') {
        return Err(Error::input("sockets in the abstract namespace are not supported").on(host));
    }
    if !host.is_empty() {
        return Ok(Address::Tcp {
            host: host.to_owned(),
            hostaddr: None,
        });
    }
    let listening = SOCKET_FOLDERS
        .iter()
        .find(|folder| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists());
    Ok(match listening {
        Some(folder) => Address::Unix(folder.into()),
        None => Address::Tcp {
            host: "localhost".to_owned(),
            hostaddr: None,
        },
    })
}

fn port(text: &str) -> Result<u16> {
    match text.trim() {
        "" => Ok(DEFAULT_PORT),
        text => text
            .parse()
            .ok()
            .filter(|port| *port != 0)
            // Not shown: in a URI whose password is not escaped, a piece of that stands here.
            .ok_or_else(|| {
                Error::input("not a port number")
                    .on("port")
                    .remedy("escape special characters of user and password in a URI, such as / as %2F")
            }),
    }
}
