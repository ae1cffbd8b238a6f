//! Reports as one HTML file: no script, nothing from elsewhere, readable in light and dark.

use std::path::Path;

use pghaul_stage::{Error, Result};

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

/// Writes a page of this title to a file.
pub(crate) fn write(path: &Path, title: &str, body: &str) -> Result<()> {
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(title)
    );
    std::fs::write(path, page).map_err(|error| {
        Error::input("the report cannot be written")
            .on(path.display().to_string())
            .because(error)
    })
}

/// Text that stands for itself, in content and in attributes.
pub(crate) fn escape(text: &str) -> String {
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
