//! The URI form of a connection string.
//!
//! Source: PostgreSQL's manual, section 32.1.1.2.

use pghaul_stage::{Error, Result};

use super::parameters::Parameters;

/// Whether the text is a URI; everything else is key=value.
pub(super) fn is_uri(text: &str) -> bool {
    rest(text).is_some()
}

fn rest(text: &str) -> Option<&str> {
    text.strip_prefix("postgresql://")
        .or_else(|| text.strip_prefix("postgres://"))
}

/// Reads the text, which must be a URI.
pub(super) fn parse(text: &str) -> Result<Parameters> {
    let mut parameters = Parameters::default();
    let mut rest = rest(text).ok_or_else(|| Error::input("not a PostgreSQL URI"))?;

    // As libpq: whatever comes before the first "@", if no "/" comes first, names the user.
    if let Some(at) = rest.find(['@', '/'])
        && rest[at..].starts_with('@')
    {
        let (user, password) = match rest[..at].split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (&rest[..at], None),
        };
        store(&mut parameters, "user", user)?;
        store(&mut parameters, "password", password.unwrap_or_default())?;
        rest = &rest[at + 1..];
    }

    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    loop {
        let (host, after) = take_host(rest)?;
        hosts.push(host);
        rest = after;
        if let Some(after) = rest.strip_prefix(':') {
            let end = after.find(['/', '?', ',']).unwrap_or(after.len());
            ports.push(&after[..end]);
            rest = &after[end..];
        } else {
            ports.push("");
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => break,
        }
    }
    if hosts.iter().any(|host| !host.is_empty()) {
        store(&mut parameters, "host", &hosts.join(","))?;
    }
    if ports.iter().any(|port| !port.is_empty()) {
        store(&mut parameters, "port", &ports.join(","))?;
    }

    if let Some(after) = rest.strip_prefix('/') {
        let end = after.find('?').unwrap_or(after.len());
        store(&mut parameters, "dbname", &after[..end])?;
        rest = &after[end..];
    }
    if let Some(query) = rest.strip_prefix('?').filter(|query| !query.is_empty()) {
        for pair in query.split('&') {
            store_pair(&mut parameters, pair)?;
        }
    }
    Ok(parameters)
}

/// One host, with the brackets of an IPv6 address removed, and the text after it.
fn take_host(text: &str) -> Result<(&str, &str)> {
    let Some(inside) = text.strip_prefix('[') else {
        let end = text.find([':', '/', '?', ',']).unwrap_or(text.len());
        return Ok((&text[..end], &text[end..]));
    };
    let (host, after) = inside
        .split_once(']')
        .filter(|(host, _)| !host.is_empty())
        .ok_or_else(|| Error::input("an IPv6 address in the URI needs \"[\" and \"]\""))?;
    if after.is_empty() || after.starts_with([':', '/', '?', ',']) {
        Ok((host, after))
    } else {
        Err(Error::input("unexpected text after \"]\" in the URI"))
    }
}

fn store_pair(parameters: &mut Parameters, pair: &str) -> Result<()> {
    let (key, value) = pair
        .split_once('=')
        .filter(|(_, value)| !value.contains('='))
        .ok_or_else(|| Error::input("an option in the URI is not of the form key=value"))?;
    match (decode(key)?.as_str(), decode(value)?) {
        // The spelling of the JDBC driver.
        ("ssl", value) if value == "true" => parameters.set("sslmode", "require"),
        (key, value) => parameters.set(key, value),
    }
}

fn store(parameters: &mut Parameters, key: &str, encoded: &str) -> Result<()> {
    if encoded.is_empty() {
        Ok(())
    } else {
        parameters.set(key, decode(encoded)?)
    }
}

fn decode(text: &str) -> Result<String> {
    let wrong = || {
        Error::input("a \"%\" in the URI is not followed by two hexadecimal digits")
            .remedy("write a literal percent sign as %25")
    };
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || {
            bytes
                .next()
                .and_then(|byte| char::from(byte).to_digit(16))
                .ok_or_else(wrong)
        };
        let value = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(value).map_err(|_| wrong())?);
    }
    String::from_utf8(decoded).map_err(|_| Error::input("the URI does not decode to UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str) -> impl Fn(&str) -> Option<String> {
        let parameters = parse(text).unwrap();
        move |key| parameters.get(key).map(str::to_owned)
    }

    #[test]
    fn all_parts() {
        let got = get("postgresql://us%40er:p%3Aw%2F@h1:5433,h2/my%20db?sslmode=require&ssl=true");
        assert_eq!(got("user").unwrap(), "us@er");
        assert_eq!(got("password").unwrap(), "p:w/");
        assert_eq!(got("host").unwrap(), "h1,h2");
        assert_eq!(got("port").unwrap(), "5433,");
        assert_eq!(got("dbname").unwrap(), "my db");
        assert_eq!(got("sslmode").unwrap(), "require");
    }

    #[test]
    fn addresses_and_sockets() {
        let got = get("postgres://[::1]:5432,[fe80::1%25eth0]/db");
        assert_eq!(got("host").unwrap(), "::1,fe80::1%eth0");
        assert_eq!(
            get("postgres://%2Fvar%2Frun:6000/db")("host").unwrap(),
            "/var/run"
        );
        let got = get("postgres:///db?host=/tmp&port=7");
        assert_eq!(got("host").unwrap(), "/tmp");
        assert_eq!(got("port").unwrap(), "7");
        assert_eq!(got("user"), None);
        assert_eq!(get("postgresql://")("host"), None);
    }

    #[test]
    fn mistakes() {
        for text in [
            "postgres://[::1",
            "postgres://[]/x",
            "postgres://[::1]x/y",
            "postgres://h/d?x",
            "postgres://h/d?user=a=b",
            "postgres://h/d?colour=red",
            "postgres://h/%4",
            "postgres://h/%zz",
            "postgres://h/%00",
            "postgres://h/%ff",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
