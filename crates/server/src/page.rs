//! Pages to read and to pass on: no script, nothing from elsewhere, readable in light and dark.

pub mod findings;

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
padding:0 1rem;color:#222;background:#fff}th{text-align:left;padding-right:1.5rem;font-weight:600;\
vertical-align:top}td{padding-right:1.5rem;vertical-align:top}.verdict{background:#eef4fb;\
border-left:4px solid #2b6cb0;padding:.6rem 1rem}.failed{color:#b42318;font-weight:600}\
.warning{color:#8a5a00;font-weight:600}.succeeded{color:#1a7f4b}\
svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#444}\
.bar{fill:#2b6cb0}.back{fill:#e6e6e6}.line{fill:none;stroke:#2b6cb0;stroke-width:2}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181a1d}.verdict{background:#1f2a38}\
.failed{color:#ff8a80}.warning{color:#f2c14e}.succeeded{color:#6fcf97}text{fill:#bbb}\
.back{fill:#333}}";

/// A page of this title.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(title)
    )
}

/// A page as an answer. A browser runs nothing in it, whatever it holds, and styles it with nothing
/// but its own style.
pub(crate) fn answer(page: String) -> Response {
    static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'; \
             base-uri 'none'; form-action 'none'"
        );
        policy.parse().ok()
    });
    let policy = POLICY
        .clone()
        .unwrap_or(HeaderValue::from_static("default-src 'none'"));
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
}

/// Text that stands for itself, in content and in attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            plain => escaped.push(plain),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn markup_in_names_is_text() {
        assert_eq!(
            escape("<script>\"&'</script>"),
            "&lt;script&gt;&quot;&amp;&#39;&lt;/script&gt;"
        );
    }
}
