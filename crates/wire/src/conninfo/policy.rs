//! The parameters that say how to connect, rather than where to and as whom.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pghaul_stage::{Error, Result};

use super::parameters::Parameters;

/// libpq waits for ever unless told otherwise; we do not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The kernel's own default, two hours, is longer than anybody waits for a copy to fail.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 6;

/// Keys that change what a connection may do and that this client cannot honour.
const REFUSED: [(&str, &str); 8] = [
    (
        "replication",
        "replication sessions are opened by pghaul itself",
    ),
    (
        "require_auth",
        "use channel_binding=require with sslmode=verify-full instead",
    ),
    (
        "sslcertmode",
        "leave it out; a client certificate is sent when the server asks for one",
    ),
    ("sslcrl", "certificate revocation lists are not supported"),
    (
        "sslcrldir",
        "certificate revocation lists are not supported",
    ),
    (
        "sslpassword",
        "use a client key without a passphrase, readable by its owner only",
    ),
    ("gssdelegation", "GSSAPI is not supported"),
    ("gsslib", "GSSAPI is not supported"),
];

/// How to connect.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) sslmode: SslMode,
    pub(crate) negotiation: Negotiation,
    pub(crate) rootcert: RootCert,
    /// The client's certificate and key.
    pub(crate) identity: Option<Identity>,
    pub(crate) sni: bool,
    pub(crate) tls12: bool,
    pub(crate) tls13: bool,
    pub(crate) channel_binding: ChannelBinding,
    pub(crate) session_attrs: SessionAttrs,
    pub(crate) shuffle_hosts: bool,
    pub(crate) requirepeer: Option<String>,
    /// For one server, login included.
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) tcp_user_timeout: Option<Duration>,
}

/// Whether to use TLS, and what to check of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// How TLS starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Negotiation {
    Postgres,
    Direct,
}

/// The certificates that vouch for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RootCert {
    /// The operating system's.
    System,
    /// A file that must exist.
    File(PathBuf),
    /// A file that counts if it exists, unless the mode is to verify.
    Default(Option<PathBuf>),
}

/// The files of a client certificate.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Whether it was asked for, and not merely found in its default place.
    pub(crate) explicit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

/// Which servers of a list will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionAttrs {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

#[derive(Clone, Debug)]
pub(crate) struct Keepalive {
    pub(crate) idle: Duration,
    pub(crate) interval: Duration,
    pub(crate) count: u32,
}

impl Policy {
    pub(super) fn read(parameters: &Parameters, home: Option<&Path>) -> Result<Policy> {
        for (key, why) in REFUSED {
            if parameters.get(key).is_some() {
                return Err(Error::input("this connection option is not supported")
                    .on(key)
                    .remedy(why));
            }
        }
        parameters
            .choice("gssencmode", &[("disable", ()), ("prefer", ())], ())
            .map_err(|error| {
                error.remedy("GSSAPI encryption is not supported; use disable, and TLS by sslmode")
            })?;
        parameters.choice("min_protocol_version", &[("3.0", ())], ())?;

        let system = parameters.get("sslrootcert") == Some("system");
        let sslmode = parameters.choice(
            "sslmode",
            &[
                ("disable", SslMode::Disable),
                ("allow", SslMode::Allow),
                ("prefer", SslMode::Prefer),
                ("require", SslMode::Require),
                ("verify-ca", SslMode::VerifyCa),
                ("verify-full", SslMode::VerifyFull),
            ],
            if system {
                SslMode::VerifyFull
            } else {
                SslMode::Prefer
            },
        )?;
        if system && sslmode != SslMode::VerifyFull {
            return Err(Error::input("sslrootcert=system needs sslmode=verify-full")
                .on("sslmode")
                .remedy("leave sslmode out, or name a root certificate file"));
        }
        let negotiation = parameters.choice(
            "sslnegotiation",
            &[
                ("postgres", Negotiation::Postgres),
                ("direct", Negotiation::Direct),
            ],
            Negotiation::Postgres,
        )?;
        if negotiation == Negotiation::Direct && sslmode < SslMode::Require {
            return Err(
                Error::input("sslnegotiation=direct needs sslmode=require or stronger")
                    .on("sslnegotiation"),
            );
        }
        let (tls12, tls13) = tls_versions(parameters)?;

        Ok(Policy {
            sslmode,
            negotiation,
            rootcert: match parameters.get("sslrootcert") {
                Some("system") => RootCert::System,
                Some(file) => RootCert::File(file.into()),
                None => RootCert::Default(home.map(|home| home.join(".postgresql/root.crt"))),
            },
            identity: identity(parameters, home),
            sni: parameters.number("sslsni")?.unwrap_or(1) != 0,
            tls12,
            tls13,
            channel_binding: parameters.choice(
                "channel_binding",
                &[
                    ("disable", ChannelBinding::Disable),
                    ("prefer", ChannelBinding::Prefer),
                    ("require", ChannelBinding::Require),
                ],
                ChannelBinding::Prefer,
            )?,
            session_attrs: parameters.choice(
                "target_session_attrs",
                &[
                    ("any", SessionAttrs::Any),
                    ("read-write", SessionAttrs::ReadWrite),
                    ("read-only", SessionAttrs::ReadOnly),
                    ("primary", SessionAttrs::Primary),
                    ("standby", SessionAttrs::Standby),
                    ("prefer-standby", SessionAttrs::PreferStandby),
                ],
                SessionAttrs::Any,
            )?,
            shuffle_hosts: parameters.choice(
                "load_balance_hosts",
                &[("disable", false), ("random", true)],
                false,
            )?,
            requirepeer: parameters.get("requirepeer").map(str::to_owned),
            connect_timeout: match parameters.number("connect_timeout")? {
                None => Some(CONNECT_TIMEOUT),
                Some(seconds) => positive(seconds).map(Duration::from_secs),
            },
            keepalive: keepalive(parameters)?,
            tcp_user_timeout: parameters
                .number("tcp_user_timeout")?
                .and_then(positive)
                .map(Duration::from_millis),
        })
    }
}

fn tls_versions(parameters: &Parameters) -> Result<(bool, bool)> {
    let versions = [
        ("TLSv1", 10),
        ("TLSv1.1", 11),
        ("TLSv1.2", 12),
        ("TLSv1.3", 13),
    ];
    let least = parameters.choice("ssl_min_protocol_version", &versions, 12)?;
    let most = parameters.choice("ssl_max_protocol_version", &versions, 13)?;
    if most < least.max(12) {
        return Err(
            Error::input("only TLS 1.2 and 1.3 are supported, and none is left")
                .on("ssl_max_protocol_version"),
        );
    }
    Ok((least <= 12, most >= 13))
}

fn identity(parameters: &Parameters, home: Option<&Path>) -> Option<Identity> {
    let file = |key, name| {
        parameters
            .get(key)
            .map(PathBuf::from)
            .or_else(|| home.map(|home| home.join(".postgresql").join(name)))
    };
    Some(Identity {
        certificate: file("sslcert", "postgresql.crt")?,
        key: file("sslkey", "postgresql.key")?,
        explicit: parameters.get("sslcert").is_some(),
    })
}

fn keepalive(parameters: &Parameters) -> Result<Option<Keepalive>> {
    let seconds = |key, default| {
        let given = parameters.number(key)?.and_then(positive);
        Ok::<_, Error>(given.map_or(default, Duration::from_secs))
    };
    let keepalive = Keepalive {
        idle: seconds("keepalives_idle", KEEPALIVE_IDLE)?,
        interval: seconds("keepalives_interval", KEEPALIVE_INTERVAL)?,
        count: match parameters.number("keepalives_count")?.and_then(positive) {
            Some(count) => u32::try_from(count).unwrap_or(u32::MAX),
            None => KEEPALIVE_COUNT,
        },
    };
    Ok((parameters.number("keepalives")?.unwrap_or(1) != 0).then_some(keepalive))
}

/// Zero and less mean "not set" throughout libpq.
fn positive(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| *number > 0)
}
