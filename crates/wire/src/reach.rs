//! Which servers may be connected to, by what people who are not trusted with the network may
//! choose: a name is looked up once, every address it has must be allowed, and those addresses are
//! the ones that are used.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pghaul_stage::{Error, Kind, Result};

use crate::conninfo::{Address, Conninfo, Host};

/// How long a name may take to look up.
const LOOKUP: Duration = Duration::from_secs(10);

/// Networks in which no database is: this host and this network, a host's own link, groups, and
/// what is not assigned.
const UNUSABLE: [(IpAddr, u8); 7] = [
    (v4(0, 0, 0, 0), 8),
    (v4(169, 254, 0, 0), 16),
    (v4(224, 0, 0, 0), 4),
    (v4(240, 0, 0, 0), 4),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 128),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0]), 10),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0]), 8),
];

/// Where clouds tell a machine its credentials, outside of those networks: Azure, Alibaba, Oracle,
/// Amazon, Google.
const METADATA: [IpAddr; 5] = [
    v4(168, 63, 129, 16),
    v4(100, 100, 100, 200),
    v4(192, 0, 0, 192),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(words: [u16; 8]) -> IpAddr {
    let [a, b, c, d, e, f, g, h] = words;
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

/// The servers that may be connected to.
///
/// Without patterns these are all but the machine's own link, groups of machines and the addresses
/// where clouds tell credentials; with patterns, those that one of them names. Sockets are reached
/// by a pattern of their folder only.
///
/// ```
/// use pghaul_wire::Reach;
///
/// let reach = Reach::new(["10.1.0.0/16", "db.example", "*.internal.example", "/run/postgresql"])?;
/// assert!(Reach::new(["10.1.0.0/40"]).is_err());
/// # Ok::<(), pghaul_stage::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Reach(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Network(IpNet),
    Name(String),
    /// With its first dot.
    Suffix(String),
    Folder(PathBuf),
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.starts_with('/') {
            return Ok(Pattern::Folder(text.into()));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Pattern::Network(network.trunc()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Pattern::Network(address.to_canonical().into()));
        }
        let name = text.to_ascii_lowercase();
        let (bare, is_suffix) = match name.strip_prefix('*') {
            Some(suffix) => (suffix.strip_prefix('.').unwrap_or_default(), true),
            None => (name.as_str(), false),
        };
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if bare.is_empty() || !bare.bytes().all(is_good) {
            return Err(
                Error::input("is no network, name, *.suffix or folder of a socket")
                    .on(format!("pattern {text:?}")),
            );
        }
        Ok(match is_suffix {
            true => Pattern::Suffix(format!(".{bare}")),
            false => Pattern::Name(bare.to_owned()),
        })
    }
}

impl Reach {
    /// What these patterns allow: networks as `10.0.0.0/8`, addresses, names, `*.suffix`, and
    /// folders of Unix sockets.
    ///
    /// # Errors
    ///
    /// Kind input if one is none of these.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self> {
        let patterns = patterns.into_iter().map(|pattern| pattern.as_ref().parse());
        patterns.collect::<Result<_>>().map(Self)
    }

    /// Looks the servers up and gives the same parameters with the addresses that were found.
    ///
    /// # Errors
    ///
    /// Kind input if one of the addresses is not allowed; transient if a name cannot be looked up.
    pub async fn pin(&self, info: &Conninfo) -> Result<Conninfo> {
        let mut hosts = Vec::new();
        for host in info.hosts() {
            match &host.address {
                Address::Unix(folder) => {
                    self.check_folder(folder)?;
                    hosts.push(host.clone());
                }
                Address::Tcp {
                    host: name,
                    hostaddr,
                } => {
                    let found = match hostaddr {
                        // The name is for the certificate, and says nothing about the address.
                        Some(address) => self.check(None, *address).map(|()| vec![*address]),
                        None => self.look_up(name, host.port).await,
                    };
                    let found = found.map_err(|error| error.on(host.to_string()))?;
                    hosts.extend(found.into_iter().map(|address| Host {
                        address: Address::Tcp {
                            host: name.clone(),
                            hostaddr: Some(address),
                        },
                        port: host.port,
                    }));
                }
            }
        }
        Ok(info.with_hosts(hosts))
    }

    async fn look_up(&self, name: &str, port: u16) -> Result<Vec<IpAddr>> {
        // What is refused by its name alone is not asked about.
        if !self.has_networks() && !self.names(name) && name.parse::<IpAddr>().is_err() {
            return Err(refused());
        }
        let unknown = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(Kind::Transient, "the host's name cannot be looked up").because(cause)
        };
        let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((name, port))).await;
        let found = found.map_err(|late| unknown(late.into()))?;
        let found: Vec<_> = found
            .map_err(|error| unknown(error.into()))?
            .map(|address| address.ip())
            .collect();
        if found.is_empty() {
            return Err(unknown("it has no address".into()));
        }
        let mut seen = BTreeSet::new();
        let mut addresses = Vec::new();
        for address in found {
            self.check(Some(name), address)?;
            if seen.insert(address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    fn has_networks(&self) -> bool {
        let mut patterns = self.0.iter();
        self.0.is_empty() || patterns.any(|pattern| matches!(pattern, Pattern::Network(_)))
    }

    fn names(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        self.0.iter().any(|pattern| match pattern {
            Pattern::Name(allowed) => name == allowed,
            Pattern::Suffix(suffix) => name.len() > suffix.len() && name.ends_with(suffix.as_str()),
            Pattern::Network(_) | Pattern::Folder(_) => false,
        })
    }

    /// Whether an address may be connected to that was found under this name.
    fn check(&self, name: Option<&str>, address: IpAddr) -> Result<()> {
        let address = inner(address);
        let networks = || {
            self.0.iter().filter_map(|pattern| match pattern {
                Pattern::Network(network) => Some(network),
                _ => None,
            })
        };
        let allowed = match unusable(address) {
            // Only who names it, or a part of it, means it.
            Some(unusable) => {
                networks().any(|network| unusable.contains(network) && network.contains(&address))
            }
            None => {
                self.0.is_empty()
                    || name.is_some_and(|name| self.names(name))
                    || networks().any(|network| network.contains(&address))
            }
        };
        allowed.then_some(()).ok_or_else(refused)
    }

    fn check_folder(&self, folder: &Path) -> Result<()> {
        let is_plain = folder.components().all(|part| part != Component::ParentDir);
        let mut patterns = self.0.iter();
        let named =
            patterns.any(|pattern| matches!(pattern, Pattern::Folder(own) if own == folder));
        let refusal = || refused().on(format!("socket in {}", folder.display()));
        (is_plain && named).then_some(()).ok_or_else(refusal)
    }
}

/// The address that a packet to this one goes to in the end.
fn inner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)).into()
            }
            _ => IpAddr::V6(v6),
        },
        v4 => v4,
    }
}

/// The network of those that are not used as a rule, in which this address is.
fn unusable(address: IpAddr) -> Option<IpNet> {
    let networks = UNUSABLE.iter().filter_map(|&(network, length)| {
        let network = match network {
            IpAddr::V4(network) => Ipv4Net::new(network, length).map(IpNet::V4),
            IpAddr::V6(network) => Ipv6Net::new(network, length).map(IpNet::V6),
        };
        network.ok()
    });
    let all = networks.chain(METADATA.map(IpNet::from));
    all.into_iter().find(|network| network.contains(&address))
}

fn refused() -> Error {
    Error::input("this server may not connect to that host")
        .remedy("allow it with --allow-host when the server is started")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;

    async fn pin(patterns: &[&str], text: &str) -> Result<String> {
        let info = Conninfo::parse_with(text, &Environment::default())?;
        let pinned = Reach::new(patterns)?.pin(&info).await?;
        let addresses = pinned.hosts().iter().map(|host| match &host.address {
            Address::Tcp { host, hostaddr } => format!("{host}={}", hostaddr.unwrap()),
            Address::Unix(folder) => folder.display().to_string(),
        });
        Ok(addresses.collect::<Vec<_>>().join(" "))
    }

    #[tokio::test]
    async fn without_patterns_only_what_is_no_database_is_refused() {
        for good in [
            "127.0.0.1",
            "10.0.0.1",
            "192.0.2.1",
            "::1",
            "2001:db8::1",
            "fd00::1",
        ] {
            let pinned = pin(&[], &format!("host={good} user=u")).await;
            assert_eq!(pinned.unwrap(), format!("{good}={good}"));
        }
        for bad in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "ff02::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "fd00:ec2::254",
            "2852039166",
            "0xa9fea9fe",
            "169.254.43518",
            "/tmp",
            "10.0.0.1,169.254.169.254",
        ] {
            let refused = pin(&[], &format!("host={bad} user=u")).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::Input, "{bad}: {refused}");
        }
        let smuggled = pin(&[], "host=10.0.0.1 hostaddr=169.254.169.254 user=u").await;
        assert_eq!(smuggled.unwrap_err().kind(), Kind::Input);
    }

    #[tokio::test]
    async fn with_patterns_only_what_they_name_is_allowed() {
        let patterns = ["10.0.0.0/8", "2001:db8::/32", "localhost", "/run/pg"];
        for good in [
            "10.255.0.1",
            "2001:db8::5",
            "localhost",
            "LOCALHOST",
            "/run/pg",
            "::ffff:10.0.0.1",
        ] {
            let pinned = pin(&patterns, &format!("host={good} user=u"))
                .await
                .unwrap();
            assert!(pinned.starts_with(good), "{pinned}");
        }
        for bad in [
            "11.0.0.1",
            "127.0.0.1",
            "2001:db9::1",
            "/run/pg2",
            "/run/pg/../x",
            "/tmp",
            "10.0.0.1,11.0.0.1",
        ] {
            let refused = pin(&patterns, &format!("host={bad} user=u"))
                .await
                .unwrap_err();
            assert_eq!(refused.kind(), Kind::Input, "{bad}: {refused}");
        }
        // Without networks, a name that is not allowed is not even looked up.
        for bad in ["evil.example", "localhost.evil.example", "10.0.0.1"] {
            let refused = pin(&["localhost"], &format!("host={bad} user=u"))
                .await
                .unwrap_err();
            assert_eq!(refused.kind(), Kind::Input, "{bad}: {refused}");
        }
        // A name is no leave for another address.
        let smuggled = pin(&patterns, "host=localhost hostaddr=11.0.0.1 user=u").await;
        assert_eq!(smuggled.unwrap_err().kind(), Kind::Input);
    }

    #[tokio::test]
    async fn an_unusable_address_must_be_meant() {
        let link = "host=169.254.1.1 user=u";
        assert!(pin(&["0.0.0.0/0"], link).await.is_err());
        assert!(pin(&["169.254.1.0/24"], link).await.is_ok());
        assert!(pin(&["169.254.1.1"], link).await.is_ok());
        let reach = Reach::new(["*.example", "db"]).unwrap();
        let address = |text: &str| text.parse().unwrap();
        assert!(reach.check(Some("a.example"), address("10.0.0.1")).is_ok());
        assert!(reach.check(Some("db."), address("10.0.0.1")).is_ok());
        assert!(
            reach
                .check(Some("a.example"), address("169.254.169.254"))
                .is_err()
        );
        assert!(reach.check(Some("example"), address("10.0.0.1")).is_err());
        assert!(reach.check(Some("aexample"), address("10.0.0.1")).is_err());
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for wrong in [
            "",
            "*",
            "*.",
            "a b",
            "10.0.0.0/33",
            "a*b",
            "*a.example",
            "http://x",
            "a:1",
            "@x",
        ] {
            assert!(Reach::new([wrong]).is_err(), "{wrong}");
        }
    }
}
