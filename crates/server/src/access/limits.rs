//! How much and how often: requests and logins of one address, bodies, streams of events, and how
//! long a request may take.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// Bytes of a request's body; what agents send to a spool is limited there.
const BODY: usize = 1 << 20;

/// How long a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);

/// Streams of events at the same time.
const STREAMS: usize = 256;

/// How long a stream lasts. Its reader comes back, and is asked again who it is.
const STREAM: Duration = Duration::from_secs(15 * 60);

/// Requests after which addresses are forgotten that have been silent.
const FORGET: u32 = 4096;

/// How often something may happen: so often at once, and then once in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Times at once.
    pub burst: NonZeroU32,
    /// How long it takes until once more is possible. Not zero.
    pub period: Duration,
}

impl Rate {
    const fn new(burst: u32, period: Duration) -> Self {
        // None of the rates below is of zero.
        let burst = match NonZeroU32::new(burst) {
            Some(burst) => burst,
            None => NonZeroU32::MIN,
        };
        Self { burst, period }
    }

    fn quota(self) -> Quota {
        let slow = Quota::per_second(NonZeroU32::MIN);
        Quota::with_period(self.period)
            .unwrap_or(slow)
            .allow_burst(self.burst)
    }
}

/// How often a client may do what; a client is an IPv4 address, or a network of 2^64 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Requests to the API and for the dashboard.
    pub requests: Rate,
    /// Requests of agents, which move rows.
    pub agents: Rate,
    /// Attempts to log in.
    pub logins: Rate,
    /// Rows of the audit log about requests of nobody who is known, all clients together.
    pub unknown: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            requests: Rate::new(500, Duration::from_millis(10)),
            agents: Rate::new(10_000, Duration::from_micros(500)),
            logins: Rate::new(10, Duration::from_secs(6)),
            unknown: Rate::new(100, Duration::from_secs(1)),
        }
    }
}

/// The limits, and how much of them is used.
pub(super) struct Limits {
    requests: DefaultKeyedRateLimiter<IpAddr>,
    agents: DefaultKeyedRateLimiter<IpAddr>,
    logins: DefaultKeyedRateLimiter<IpAddr>,
    unknown: DefaultDirectRateLimiter,
    streams: Arc<Semaphore>,
    asked: AtomicU32,
}

impl Limits {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            requests: RateLimiter::keyed(rates.requests.quota()),
            agents: RateLimiter::keyed(rates.agents.quota()),
            logins: RateLimiter::keyed(rates.logins.quota()),
            unknown: RateLimiter::direct(rates.unknown.quota()),
            streams: Arc::new(Semaphore::new(STREAMS)),
            asked: AtomicU32::new(0),
        }
    }

    /// Takes note of a request, of an agent or anybody else; how long to wait if it is one too many.
    pub(super) fn request(&self, client: IpAddr, agent: bool) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET == FORGET - 1 {
            for limiter in [&self.requests, &self.agents, &self.logins] {
                limiter.retain_recent();
                limiter.shrink_to_fit();
            }
        }
        let limiter = if agent { &self.agents } else { &self.requests };
        take(limiter, client)
    }

    /// Takes note of an attempt to log in; how long to wait if it is one too many.
    pub(super) fn login(&self, client: IpAddr) -> Result<(), Duration> {
        take(&self.logins, client)
    }

    /// Whether there is room in the audit log for what somebody unknown did.
    pub(super) fn notes_unknown(&self) -> bool {
        self.unknown.check().is_ok()
    }

    /// A place for a stream of events, if there is one.
    pub(super) fn stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).try_acquire_owned().ok()
    }
}

fn take(limiter: &DefaultKeyedRateLimiter<IpAddr>, client: IpAddr) -> Result<(), Duration> {
    let until = limiter.check_key(&network(client));
    until.map_err(|until| until.wait_time_from(DefaultClock::default().now()))
}

/// Who counts as the same client: whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
        address => address,
    }
}

/// The answer to one request too many.
pub(super) fn too_often(wait: Duration) -> Response {
    let problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too many requests of this client",
    )
    .remedy("try again later; the header Retry-After says when");
    let seconds = HeaderValue::from(wait.as_secs() + 1);
    ([(header::RETRY_AFTER, seconds)], problem).into_response()
}

/// Reads a whole body.
pub(super) async fn read(body: Body) -> Result<Bytes, Problem> {
    let problem = |status, detail: &'static str| Problem::new(status, detail);
    let too_large = || {
        problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body has more than 1 MiB",
        )
    };
    if body.size_hint().lower() > BODY as u64 {
        return Err(too_large());
    }
    let read = tokio::time::timeout(ARRIVAL, Limited::new(body, BODY).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(problem(
            StatusCode::BAD_REQUEST,
            "the body ended before it was whole",
        )),
        Err(_) => Err(problem(
            StatusCode::REQUEST_TIMEOUT,
            "the body took too long to arrive",
        )),
    }
}

/// Lets a stream of events last no longer than it may, and keeps its place for as long.
pub(super) fn stream(answer: Response, place: OwnedSemaphorePermit) -> Response {
    lasting(answer, place, STREAM)
}

fn lasting(answer: Response, place: OwnedSemaphorePermit, longest: Duration) -> Response {
    answer.map(|body| {
        let end = Box::pin(tokio::time::sleep(longest));
        let events = body.into_data_stream().take_until(end);
        Body::from_stream(events.inspect(move |_| {
            // The place is free once this is dropped.
            let _held = &place;
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_does_not_use_up_what_another_one_has() {
        let once = Rate::new(2, Duration::from_secs(3600));
        let limits = Limits::new(Rates {
            logins: once,
            ..Rates::default()
        });
        let login = |address: &str| limits.login(address.parse().unwrap());
        assert!(login("10.0.0.1").is_ok() && login("::ffff:10.0.0.1").is_ok());
        let wait = login("10.0.0.1").unwrap_err();
        assert!(
            wait > Duration::from_secs(3000) && wait <= Duration::from_secs(3600),
            "{wait:?}"
        );
        assert!(login("10.0.0.2").is_ok());
        assert!(login("fd00::1").is_ok() && login("fd00::ffff:2").is_ok());
        assert!(login("fd00::3").is_err() && login("fd00:0:0:1::3").is_ok());
    }

    #[tokio::test]
    async fn a_stream_ends_in_time_and_gives_its_place_back() {
        let limits = Limits::new(Rates::default());
        let mut places: Vec<_> = (0..STREAMS).map(|_| limits.stream().unwrap()).collect();
        assert!(limits.stream().is_none());
        // One event, and then nothing for ever.
        let silence = futures_util::stream::pending();
        let events =
            futures_util::stream::iter([Ok::<_, axum::Error>("data: 1\n\n")]).chain(silence);
        let answer = Body::from_stream(events).into_response();
        let longest = Duration::from_millis(50);
        let answer = lasting(answer, places.pop().unwrap(), longest);
        assert!(limits.stream().is_none(), "it is being read");
        let told = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(told, "data: 1\n\n");
        assert!(limits.stream().is_some(), "it has ended");
    }
}
