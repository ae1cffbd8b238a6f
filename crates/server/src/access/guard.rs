//! The one layer that every request passes before any handler sees it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::audit::{Deed, Entry};
use super::credential::Credential;
use super::rules::{Rule, rule};
use super::{Access, Caller, Need, Peer, Role, Rules, headers, hosts, limits, session, token};
use crate::problem::Problem;

/// Bytes of an error that a library worded.
const WORDS: usize = 4096;

#[derive(Clone)]
struct Guard {
    access: Access,
    rules: Arc<Rules>,
}

/// Puts the layer around all routes. A route of which `rules` say nothing is refused.
pub fn guard(routes: Router, rules: Rules, access: Access) -> Router {
    let guard = Guard {
        access,
        rules: Arc::new(rules),
    };
    routes.layer(middleware::from_fn_with_state(guard, pass))
}

/// One who may do what a request asks for; nobody known, if the route needs nobody.
type Admitted = Option<Caller>;

async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let is_api = path.starts_with("/api/");
    let mut answer = guard.answer(request, next).await;
    if is_api {
        answer = worded(answer).await;
    }
    headers::add(answer.headers_mut(), &path);
    answer
}

impl Guard {
    async fn answer(&self, request: Request, next: Next) -> Response {
        let (mut parts, body) = request.into_parts();
        let Some(peer) = parts.extensions.get::<Peer>().copied() else {
            tracing::error!("a request came by no known connection");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let matched = parts.extensions.get::<MatchedPath>().cloned();
        let route = matched
            .as_ref()
            .map_or(&[][..], |path| self.rules.route(path.as_str()));
        let rule = rule(route, &parts.method).cloned();
        let need = rule.as_ref().map(|rule| rule.need);

        let limits = &self.access.0.limits;
        if let Err(wait) = limits.request(peer.remote.ip(), need == Some(Need::Agent)) {
            return limits::too_often(wait);
        }
        if need != Some(Need::Health) && !self.access.0.hosts.are_right(&parts, peer.local.ip()) {
            return Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "this server has no such name",
            )
            .remedy("call it by its address, or start it with --allowed-host NAME")
            .into_response();
        }
        let Some(rule) = rule else {
            return undeclared(route, matched.is_some());
        };
        // Who it is, is noted even if it may not do what it asks for.
        let mut caller = None;
        let admitted = self.admit(&parts, peer, &rule, &mut caller).await;
        let path = parts.uri.path().to_owned();
        let writes = !matches!(parts.method, Method::GET | Method::HEAD);
        // What a viewer may do changes nothing.
        let changes = !matches!(rule.need, Need::Agent | Need::Role(Role::Viewer));
        let entry = move |status| {
            Entry::new(
                caller.as_ref(),
                peer.remote.ip(),
                &rule.action,
                &path,
                status,
            )
        };
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(problem) => {
                let answer = problem.into_response();
                let status = answer.status();
                let is_known = status == StatusCode::FORBIDDEN;
                if is_known || (writes && changes && limits.notes_unknown()) {
                    entry(status).add(&self.access).await;
                }
                return with_challenge(answer);
            }
        };
        let is_known = admitted.is_some();
        if let Some(caller) = admitted {
            parts.extensions.insert(caller);
        }
        if !writes || need == Some(Need::Agent) {
            return self.handle(parts, body, need, next).await;
        }
        // What was begun is ended and noted, even if the client goes away meanwhile.
        let guard = self.clone();
        let handled = tokio::spawn(async move {
            let answer = guard.handle(parts, body, need, next).await;
            let deed = answer.extensions().get::<Deed>();
            let status = answer.status();
            let is_worth = is_known || guard.access.0.limits.notes_unknown();
            if (deed.is_some() || (changes && is_worth)) && status != StatusCode::TOO_MANY_REQUESTS
            {
                entry(status).told(deed).add(&guard.access).await;
            }
            answer
        });
        handled.await.unwrap_or_else(|_| {
            let detail = "the server failed";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        })
    }

    /// Whether the request may do what it asks for, and who asks.
    async fn admit(
        &self,
        parts: &Parts,
        peer: Peer,
        rule: &Rule,
        known: &mut Option<Caller>,
    ) -> Result<Admitted, Problem> {
        let writes = !matches!(parts.method, Method::GET | Method::HEAD);
        let is_foreign = || {
            hosts::is_foreign(
                &parts.headers,
                parts.uri.authority().map(|own| own.as_str()),
            )
        };
        let needed = match rule.need {
            Need::Agent if self.access.0.certified_agents && !peer.certified => {
                let detail = "agents show a client certificate";
                return Err(Problem::new(StatusCode::UNAUTHORIZED, detail)
                    .remedy("start the agent with a certificate that --tls-client-ca signed"));
            }
            Need::Health | Need::Nothing if writes && is_foreign() => return Err(foreign()),
            Need::Health | Need::Nothing | Need::Agent => return Ok(None),
            Need::Role(role) => role,
        };
        let (caller, session) = self.identify(&parts.headers, peer).await?;
        *known = Some(caller.clone());
        if let Some(session) = session.filter(|_| writes)
            && (is_foreign() || !shows(&parts.headers, &session))
        {
            return Err(foreign());
        }
        if caller.role.may(needed) {
            Ok(Some(caller))
        } else {
            let detail = format!("this needs the role {needed}");
            Err(Problem::new(StatusCode::FORBIDDEN, detail))
        }
    }

    /// Who it is, and the session if it is by one. A token comes before a cookie.
    async fn identify(
        &self,
        headers: &HeaderMap,
        peer: Peer,
    ) -> Result<(Caller, Option<Credential>), Problem> {
        let address = peer.remote.ip();
        let caller = |name: String, role: Role, token| Caller {
            name,
            role,
            token,
            address,
        };
        if let Some(shown) = headers.get(header::AUTHORIZATION) {
            let shown = shown
                .to_str()
                .ok()
                .and_then(bearer)
                .and_then(Credential::parse);
            let shown = shown.ok_or_else(unknown)?;
            let id = shown.id;
            let found = token::find(&self.access, shown).await?;
            let (name, role) = found.ok_or_else(unknown)?;
            return Ok((caller(name, role, Some(id)), None));
        }
        let shown = session::cookie(headers).and_then(Credential::parse);
        let found = session::find(&self.access, shown.ok_or_else(unknown)?).await?;
        let (name, role, session) = found.ok_or_else(unknown)?;
        Ok((caller(name, role, None), Some(session)))
    }

    /// Lets the handler answer.
    async fn handle(&self, parts: Parts, body: Body, need: Option<Need>, next: Next) -> Response {
        let of_agent = need == Some(Need::Agent);
        if !of_agent || parts.uri.path().starts_with("/api/") {
            let body = match whole(&parts.headers, body, of_agent).await {
                Ok(body) => body,
                Err(problem) => return problem.into_response(),
            };
            let answer = next.run(Request::from_parts(parts, body));
            return match tokio::time::timeout(self.access.0.deadline, answer).await {
                Ok(answer) => self.bounded(answer),
                Err(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "it took too long")
                    .remedy("try again later")
                    .into_response(),
            };
        }
        next.run(Request::from_parts(parts, body)).await
    }

    /// Gives a stream of events its place, if there is one.
    fn bounded(&self, answer: Response) -> Response {
        let kind = answer.headers().get(header::CONTENT_TYPE);
        if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
            return answer;
        }
        match self.access.0.limits.stream() {
            Some(place) => limits::stream(answer, place),
            None => Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many streams of events")
                .remedy("read the events page by page")
                .into_response(),
        }
    }
}

/// The whole body, of a kind that is taken.
async fn whole(headers: &HeaderMap, body: Body, of_agent: bool) -> Result<Body, Problem> {
    let body = limits::read(body).await?;
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    // Agents bring events, and bytes by which the way to them is measured.
    let of_agents = ["application/x-ndjson", "application/octet-stream"];
    let is_taken = kind == "application/json" || (of_agent && of_agents.contains(&kind.as_str()));
    if !body.is_empty() && !is_taken {
        let detail = "the body must be of the type application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    Ok(Body::from(body))
}

/// Whether a request shows that a page of this server could read its session.
fn shows(headers: &HeaderMap, session: &Credential) -> bool {
    let shown = headers
        .get(session::CSRF)
        .map_or(&[][..], |shown| shown.as_bytes());
    let expected = session.csrf();
    aws_lc_rs::constant_time::verify_slices_are_equal(shown, expected.as_bytes()).is_ok()
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// The answer where nothing is declared.
fn undeclared(route: &[(Method, Rule)], exists: bool) -> Response {
    if !exists {
        let detail = "there is nothing at this path";
        return Problem::new(StatusCode::NOT_FOUND, detail).into_response();
    }
    if route.is_empty() {
        let detail = "nobody may use this path";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    let methods: Vec<_> = route.iter().map(|(method, _)| method.as_str()).collect();
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path has no such method",
    );
    ([(header::ALLOW, methods.join(", "))], problem).into_response()
}

fn unknown() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "who asks is not known")
        .remedy("log in, or show a token that is valid")
}

fn foreign() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "this write does not come from a page of this server",
    )
    .remedy("send the header X-CSRF-Token with what GET /api/v1/session tells, or use a token")
}

fn with_challenge(mut answer: Response) -> Response {
    if answer.status() == StatusCode::UNAUTHORIZED {
        let challenge = header::HeaderValue::from_static("Bearer");
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    answer
}

/// Makes a problem of an error that a library answered in plain text.
async fn worded(answer: Response) -> Response {
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE);
    let is_plain = kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !is_plain || !(status.is_client_error() || status.is_server_error()) {
        return answer;
    }
    let words = to_bytes(answer.into_body(), WORDS)
        .await
        .unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    let words = words.trim();
    let detail = match words {
        "" => status.canonical_reason().unwrap_or("it failed"),
        words => words,
    };
    Problem::new(status, detail).into_response()
}
