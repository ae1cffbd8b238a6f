//! The names by which this server may be called, and which pages may write to it. A browser can be
//! made to believe that a name of somebody else's belongs to this server's address; then it calls
//! the server by that name, and is refused.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, header};
use pghaul_stage::{Error, Result};

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names by which a server may be called: those of the loopback interface, the address that a
/// connection arrives at, and what else is allowed.
#[derive(Debug, Clone)]
pub struct Hosts(BTreeSet<String>);

impl Default for Hosts {
    /// Nothing else.
    fn default() -> Self {
        Self(LOOPBACK.map(str::to_owned).into())
    }
}

impl Hosts {
    /// These names and addresses besides.
    ///
    /// # Errors
    ///
    /// Kind input if one is no name and no address, or has a port.
    pub fn new(allowed: &[String]) -> Result<Self> {
        let Self(mut names) = Self::default();
        for name in allowed {
            names.insert(read(name).ok_or_else(|| {
                Error::input("is no name or address, without a port")
                    .on(format!("--allowed-host {name:?}"))
            })?);
        }
        Ok(Self(names))
    }

    /// Whether a request calls the server by a name it has: each place that can name one does, and
    /// there is one.
    pub(super) fn are_right(&self, request: &Parts, local: IpAddr) -> bool {
        let mut headers = request.headers.get_all(header::HOST).iter();
        let header = headers.next().map(|value| value.to_str().ok());
        if headers.next().is_some() {
            return false;
        }
        let header = header.map(|text| text.and_then(|text| text.parse::<Authority>().ok()));
        let target = request.uri.authority().cloned().map(Some);
        let mut named = header.into_iter().chain(target).peekable();
        named.peek().is_some() && named.all(|name| name.is_some_and(|name| self.has(&name, local)))
    }

    fn has(&self, name: &Authority, local: IpAddr) -> bool {
        if name.as_str().contains('@') {
            return false;
        }
        let host = name.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        self.0.contains(host) || address(host) == Some(local.to_canonical())
    }
}

/// An allowed name as it is compared.
fn read(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    if let Ok(address) = name.parse::<IpAddr>() {
        return Some(match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
    }
    let authority = name.parse::<Authority>().ok()?;
    (authority.host() == name && !name.contains('@')).then_some(name)
}

fn address(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let address = bare.unwrap_or(host).parse::<IpAddr>().ok()?;
    Some(address.to_canonical())
}

/// Whether a browser says that another site's page makes this request.
pub(super) fn is_foreign(headers: &HeaderMap, authority: Option<&str>) -> bool {
    let site = headers.get(FETCH_SITE);
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let own = authority.or(host);
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    // The scheme is not compared: whoever ends TLS in front of this server changes it, and never
    // are both at one port.
    match (origin, own) {
        (Some((_, origin)), Some(own)) => !origin.eq_ignore_ascii_case(own),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn right(hosts: &Hosts, uri: &str, headers: &[&str]) -> bool {
        let mut request = Request::builder().uri(uri);
        for host in headers {
            request = request.header(header::HOST, *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        hosts.are_right(&parts, "10.1.2.3".parse().unwrap())
    }

    #[test]
    fn only_its_own_names_are_right() {
        let hosts = Hosts::new(&["Haul.Example".to_owned(), "fd00::1".to_owned()]).unwrap();
        for good in [
            "localhost",
            "LOCALHOST:8432",
            "127.0.0.1:1",
            "[::1]:8432",
            "haul.example",
            "haul.example.:80",
            "10.1.2.3:8432",
            "[fd00::1]",
        ] {
            assert!(right(&hosts, "/", &[good]), "{good}");
            assert!(right(&hosts, &format!("http://{good}/"), &[]), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil.example:localhost",
            "localhost@evil.example",
            "user@localhost",
            "10.1.2.4",
            "0.0.0.0",
            "127.0.0.1.evil.example",
            "haul.example/",
            "a b",
        ] {
            assert!(!right(&hosts, "/", &[bad]), "{bad}");
        }
        assert!(!right(&hosts, "/", &[]), "no name at all");
        assert!(
            !right(&hosts, "/", &["localhost", "localhost"]),
            "two names"
        );
        assert!(!right(&hosts, "http://evil.example/", &["localhost"]));
        assert!(!right(&hosts, "http://localhost/", &["evil.example"]));
        for wrong in ["a:1", "http://a", "a/b", "", "a@b"] {
            assert!(Hosts::new(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_foreign() {
        let foreign = |pairs: &[(HeaderName, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (name.clone(), value.parse().unwrap()));
            is_foreign(&pairs.collect(), None)
        };
        let host = (header::HOST, "localhost:8432");
        let origin = |origin| (header::ORIGIN, origin);
        assert!(!foreign(std::slice::from_ref(&host)));
        assert!(!foreign(&[
            host.clone(),
            origin("http://localhost:8432"),
            (FETCH_SITE, "same-origin")
        ]));
        for wrong in [
            "null",
            "http://localhost",
            "http://localhost:84320",
            "https://evil.example",
            "http://localhost:8432.evil.example",
            "",
        ] {
            assert!(foreign(&[host.clone(), origin(wrong)]), "{wrong}");
        }
        for wrong in ["cross-site", "same-site", "", "SAME-ORIGIN"] {
            assert!(foreign(&[host.clone(), (FETCH_SITE, wrong)]), "{wrong}");
        }
    }
}
