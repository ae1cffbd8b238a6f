//! Security labels: whether the target has loaded who provides them.

use pghaul_stage::Result;
use pghaul_wire::Client;
use pghaul_wire::quote::ident;

use crate::role_map::identifier;
use crate::session::failed;
use crate::statement::tokens;

/// The provider that the first statement of an entry names.
pub(crate) fn provider(definition: &str) -> Option<String> {
    let words = tokens(definition).map(|(_, token)| token);
    let mut words = words.skip_while(|word| !word.eq_ignore_ascii_case("FOR"));
    words.next()?;
    words
        .find(|word| !word.trim().is_empty())
        .and_then(identifier)
}

/// Whether the server knows a provider; found out by taking a label away from this role, which
/// has the right to have none, in a transaction that is rolled back.
pub(crate) async fn is_loaded(client: &Client, provider: &str, role: &str) -> Result<bool> {
    let script = format!(
        "BEGIN; SECURITY LABEL FOR {} ON ROLE {} IS NULL; ROLLBACK",
        ident(provider),
        ident(role)
    );
    let Err(error) = client.batch_execute(&script).await.map_err(failed) else {
        return Ok(true);
    };
    client.batch_execute("ROLLBACK").await.map_err(failed)?;
    // Any other answer is the provider's own, or comes after it was found.
    Ok(error.code() != Some("22023"))
}

#[cfg(test)]
mod tests {
    use super::provider;

    #[test]
    fn the_provider_comes_after_for() {
        let named = |text| provider(text);
        assert_eq!(
            named("SECURITY LABEL FOR dummy ON TABLE s.t IS 'FOR x';\n").as_deref(),
            Some("dummy")
        );
        assert_eq!(
            named("SECURITY LABEL FOR \"My \"\"Own\"\"\" ON COLUMN s.t.\"FOR\" IS 'x';").as_deref(),
            Some("My \"Own\"")
        );
    }
}
