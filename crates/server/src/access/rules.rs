//! Which role a route needs. It is declared next to the route, in its part of the OpenAPI document,
//! so what is enforced and what is documented are the same.

use std::collections::HashMap;

use axum::http::Method;
use pghaul_stage::{Error, Kind, Result};
use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::Role;

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing, and not even the right name of the server: for those who look after its health.
    Health,
    /// Nothing.
    Nothing,
    /// A token of an agent, which the route itself looks at.
    Agent,
    /// Somebody with this role or a higher one.
    Role(Role),
}

/// What is declared of one method of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) need: Need,
    /// What the audit log calls it.
    pub(super) action: String,
}

/// What is declared of all routes. One of which nothing is declared is refused.
#[derive(Debug, Clone, Default)]
pub struct Rules(HashMap<String, Vec<(Method, Rule)>>);

impl Rules {
    /// Reads the document: the `security` of an operation names the role.
    ///
    /// # Errors
    ///
    /// If an operation declares nothing, or what is no role.
    pub fn of(document: &OpenApi) -> Result<Self> {
        let mut rules = Self::default();
        let document = serde_json::to_value(document);
        let document = document.map_err(|error| undeclared("the document").because(error))?;
        let paths = document.get("paths").and_then(Value::as_object);
        for (path, item) in paths.into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                // What else a path has are no operations.
                let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else {
                    continue;
                };
                let Some(id) = operation.get("operationId").and_then(Value::as_str) else {
                    continue;
                };
                let need =
                    need(operation).ok_or_else(|| undeclared(&format!("{method} {path}")))?;
                rules.add(method, path, need, id);
            }
        }
        Ok(rules)
    }

    /// Declares a route that is not in the document.
    #[must_use]
    pub fn and(mut self, method: Method, path: &str, need: Need) -> Self {
        let action = format!("{} {path}", method.as_str().to_lowercase());
        self.add(method, path, need, &action);
        self
    }

    fn add(&mut self, method: Method, path: &str, need: Need, action: &str) {
        let action = action.to_owned();
        let methods = self.0.entry(path.to_owned()).or_default();
        methods.push((method, Rule { need, action }));
    }

    /// What is declared of a route; empty if nothing is.
    pub(super) fn route(&self, path: &str) -> &[(Method, Rule)] {
        self.0.get(path).map_or(&[], Vec::as_slice)
    }
}

/// The rule for a method. Who may get, may also ask for the headers of what they would get.
pub(super) fn rule<'a>(route: &'a [(Method, Rule)], method: &Method) -> Option<&'a Rule> {
    let of = |method: &Method| {
        let mut rules = route.iter();
        rules
            .find(|(declared, _)| declared == method)
            .map(|(_, rule)| rule)
    };
    of(method).or_else(|| of(&Method::GET).filter(|_| method == Method::HEAD))
}

/// What the `security` of an operation says.
fn need(operation: &Value) -> Option<Need> {
    let declared = operation.get("security")?.as_array()?;
    let mut needs = declared.iter().map(|one| {
        let one = one.as_object()?;
        let Some((scheme, roles)) = one.iter().next() else {
            return Some(Need::Nothing);
        };
        if scheme == "agent" {
            return Some(Need::Agent);
        }
        let role = roles.as_array()?.first()?.as_str()?;
        role.parse().ok().map(Need::Role)
    });
    let first = needs.next()??;
    // Several ways to log in, and one role.
    needs.all(|need| need == Some(first)).then_some(first)
}

fn undeclared(what: &str) -> Error {
    Error::new(
        Kind::Permanent,
        "a route does not declare which role it needs",
    )
    .on(what.to_owned())
}
