//! Opens sessions: which host, which address, with or without TLS, and whether it will do.
//!
//! Source: PostgreSQL's manual, sections 32.1.1.3 and 32.1.2.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use pghaul_stage::{Check, Error, Kind, Result, Side};

use crate::Conninfo;
use crate::auth::authenticate;
use crate::cancel::Route;
use crate::conninfo::{Address, ChannelBinding, Host, SessionAttrs, SslMode};
use crate::session::Session;
use crate::session_attrs;
use crate::stream::{Peer, Stream};

/// Why there is no session, and which step on the way to one failed.
#[derive(Debug)]
pub struct Unconnected {
    /// Why.
    pub error: Error,
    /// The step: reachable, encryption, login, database, or a free connection.
    pub step: Check,
}

/// A failed attempt, and what may be tried after it.
struct Failure {
    error: Error,
    step: Check,
    next: Next,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The same server with TLS instead of without, or the other way round.
    Encryption,
    /// Another server.
    Host,
    /// Nothing: another server would not help, as libpq sees it.
    Stop,
}

impl Failure {
    fn new(step: Check, next: Next) -> impl FnOnce(Error) -> Failure {
        move |error| Failure { error, step, next }
    }
}

/// Opens a session with the first server that is reachable and will do.
pub(crate) async fn connect(info: &Conninfo, side: Side) -> Result<Session, Unconnected> {
    let mut hosts: Vec<&Host> = info.hosts().iter().collect();
    if info.policy().shuffle_hosts {
        // A new state hashes with new random keys, so the order is a random one.
        let random = RandomState::new();
        hosts.sort_by_cached_key(|host| random.hash_one(host.to_string()));
    }
    let passes: &[SessionAttrs] = match info.policy().session_attrs {
        SessionAttrs::PreferStandby => &[SessionAttrs::Standby, SessionAttrs::Any],
        SessionAttrs::Any => &[SessionAttrs::Any],
        SessionAttrs::ReadWrite => &[SessionAttrs::ReadWrite],
        SessionAttrs::ReadOnly => &[SessionAttrs::ReadOnly],
        SessionAttrs::Primary => &[SessionAttrs::Primary],
        SessionAttrs::Standby => &[SessionAttrs::Standby],
    };
    let (mut errors, mut step) = (Vec::new(), Check::Reachable);
    for attrs in passes {
        for host in &hosts {
            let attempt = Attempt {
                info,
                host,
                attrs: *attrs,
                side,
            };
            match attempt.host().await {
                Ok(session) => return Ok(session),
                Err(failure) => {
                    let error = failure.error.at(side).on(host.to_string());
                    step = failure.step;
                    if failure.next == Next::Stop {
                        return Err(Unconnected { error, step });
                    }
                    errors.push(error);
                }
            }
        }
    }
    let error = combine(errors, side);
    Err(Unconnected { error, step })
}

/// One error for all hosts.
fn combine(mut errors: Vec<Error>, side: Side) -> Error {
    let Some(last) = errors.pop() else {
        return Error::input("the connection string names no host").at(side);
    };
    if errors.is_empty() {
        return last;
    }
    let transient = last.is_transient() || errors.iter().any(Error::is_transient);
    let list: Vec<String> = errors
        .iter()
        .chain([&last])
        .map(|error| {
            format!(
                "{}: {}",
                error.subject().unwrap_or_default(),
                error.message()
            )
        })
        .collect();
    Error::new(
        if transient {
            Kind::Transient
        } else {
            last.kind()
        },
        format!("no host will do: {}", list.join("; ")),
    )
    .at(side)
    .remedy("check the hosts and ports of the connection string, and target_session_attrs")
    .because(last)
}

/// One host under one demand.
struct Attempt<'a> {
    info: &'a Conninfo,
    host: &'a Host,
    attrs: SessionAttrs,
    side: Side,
}

impl Attempt<'_> {
    /// Tries the host's addresses in turn; the timeout is for each one, as in libpq.
    async fn host(&self) -> Result<Session, Failure> {
        let limit = self.info.policy().connect_timeout;
        let mut failure = None;
        for peer in within(limit, self.resolve()).await? {
            match Box::pin(within(limit, self.peer(&peer))).await {
                Err(next) if next.next == Next::Host => failure = Some(next),
                done => return done,
            }
        }
        Err(failure.unwrap_or_else(|| Failure {
            error: unknown_host(),
            step: Check::Reachable,
            next: Next::Host,
        }))
    }

    async fn resolve(&self) -> Result<Vec<Peer>, Failure> {
        let port = self.host.port;
        match &self.host.address {
            Address::Unix(folder) => Ok(vec![Peer::Unix(self.host.socket_file(folder))]),
            Address::Tcp {
                hostaddr: Some(address),
                ..
            } => Ok(vec![Peer::Tcp(SocketAddr::new(*address, port))]),
            Address::Tcp {
                host,
                hostaddr: None,
            } => match tokio::net::lookup_host((host.as_str(), port)).await {
                Ok(found) => Ok(found.map(Peer::Tcp).collect()),
                Err(error) => Err(Failure {
                    error: unknown_host().because(error),
                    step: Check::Reachable,
                    next: Next::Host,
                }),
            },
        }
    }

    /// Tries one address, with and without TLS as sslmode allows.
    async fn peer(&self, peer: &Peer) -> Result<Session, Failure> {
        let orders: &[bool] = match (peer, self.info.policy().sslmode) {
            (Peer::Unix(_), _) | (_, SslMode::Disable) => &[false],
            (_, SslMode::Allow) => &[false, true],
            (_, SslMode::Prefer) => &[true, false],
            (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[true],
        };
        let mut before: Option<Error> = None;
        let mut step = Check::Reachable;
        for tls in orders {
            let mut failure = match self.once(peer, *tls).await {
                Err(failure) if failure.next == Next::Encryption => failure,
                done => return done,
            };
            if let Some(before) = before.take() {
                failure.error = failure.error.because(before);
            }
            before = Some(failure.error);
            step = failure.step;
        }
        let error = before.unwrap_or_else(unknown_host);
        let next = if error.is_transient() {
            Next::Host
        } else {
            Next::Stop
        };
        Err(Failure { error, step, next })
    }

    async fn once(&self, peer: &Peer, tls: bool) -> Result<Session, Failure> {
        let policy = self.info.policy();
        let name = match &self.host.address {
            Address::Tcp { host, .. } => host.as_str(),
            Address::Unix(_) => "",
        };
        let stream = match Stream::dial(peer, policy)
            .await
            .map_err(Failure::new(Check::Reachable, Next::Host))?
        {
            Stream::Tcp(socket) if tls => {
                let negotiated = self.info.tls().negotiate(socket, name, policy).await;
                negotiated.map_err(|error| {
                    // Broken files are not a reason to go on in the clear.
                    let input = error.kind() == Kind::Input;
                    Failure {
                        error,
                        step: Check::Encryption,
                        next: if input { Next::Stop } else { Next::Encryption },
                    }
                })?
            }
            stream => stream,
        };
        let encrypted = matches!(stream, Stream::Tls(_));
        if policy.channel_binding == ChannelBinding::Require && !encrypted {
            let error = Error::new(Kind::Permanent, "channel_binding=require needs TLS")
                .remedy("use sslmode=require or stronger over TCP, or another channel_binding");
            return Err(Failure {
                error,
                step: Check::Encryption,
                next: Next::Encryption,
            });
        }
        let route = Route {
            peer: peer.clone(),
            tls_host: encrypted.then(|| name.to_owned()),
            policy: policy.clone(),
            tls: self.info.tls().clone(),
        };
        let mut session = Session::new(stream, self.side, route);
        authenticate(&mut session, self.info, self.host)
            .await
            .map_err(|error| {
                let next = match error.code() {
                    // Most often pg_hba.conf, which may tell TLS from plain.
                    Some("28000") if encrypted == tls => Next::Encryption,
                    Some("57P03") => Next::Host,
                    None if error.is_transient() => Next::Host,
                    _ => Next::Stop,
                };
                let step = login_step(&error);
                Failure { error, step, next }
            })?;
        session_attrs::check(&mut session, self.attrs)
            .await
            .map_err(Failure::new(Check::Reachable, Next::Host))?;
        Ok(session)
    }
}

async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(limit) = limit else {
        return work.await;
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let message = format!("the server did not answer within {} s", limit.as_secs_f32());
        let error = Error::new(Kind::Transient, message)
            .remedy("check the host, the port and the firewall between, or raise connect_timeout");
        Err(Failure {
            error,
            step: Check::Reachable,
            next: Next::Host,
        })
    })
}

/// What the server, or we, objected to while logging in.
fn login_step(error: &Error) -> Check {
    match error.code() {
        Some("3D000") => Check::DatabaseExists,
        Some("53300") => Check::Connections,
        Some(code) if code.starts_with("57P") => Check::Reachable,
        None if error.is_transient() => Check::Reachable,
        _ => Check::Login,
    }
}

fn unknown_host() -> Error {
    Error::new(Kind::Permanent, "the host name has no address")
        .remedy("check the spelling of the host, and this machine's DNS")
}
