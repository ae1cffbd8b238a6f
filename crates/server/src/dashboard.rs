//! The dashboard: its files, which are part of the binary, and the headers that keep a browser
//! from running anything else.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

/// Scripts, styles and pictures come from this server alone, nothing is inline, and no other page
/// can show this one in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
    form-action 'self'";

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../dashboard/", $name)))),*]
    };
}

/// Names and contents.
const FILES: &[(&str, &str)] = files! {
    "access.js" "agents.js" "announce.js" "api.js" "audit.js" "chart.js" "decommission.js" "dialog.js"
    "dom.js" "form.js" "format.js" "icon.svg" "icons.js" "index.html" "live.js" "login.js"
    "main.js" "markdown.js" "migration.js" "migration/acts.js" "migration/events.js" "migration/job.js"
    "migration/logs.js" "migration/phases.js" "migration/progress.js" "migration/report.js"
    "migration/tables.js" "migration/validation.js" "migrations.js" "progress_bar.js"
    "router.js" "session.js" "shell.js" "sizing.js" "state.js" "style.css" "theme.js"
    "tokens.js" "wizard.js" "wizard/databases.js" "wizard/draft.js" "wizard/endpoint.js"
    "wizard/options.js" "wizard/review.js" "wizard/runtime.js" "wizard/setup.js"
};

/// The page; its pages proper are behind the hash of its address.
const PAGE: &str = "index.html";

struct File {
    name: &'static str,
    content: &'static str,
    media_type: &'static str,
    /// Changes with the content, so that a browser asks again and is told that nothing is new.
    tag: HeaderValue,
}

static ALL: LazyLock<Vec<File>> = LazyLock::new(|| {
    let file = |&(name, content)| {
        Some(File {
            name,
            content,
            media_type: media_type(name),
            tag: tag(content).parse().ok()?,
        })
    };
    FILES.iter().filter_map(file).collect()
});

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

fn tag(content: &str) -> String {
    let digest = Sha256::digest(content);
    let mut tag = String::from("\"");
    for byte in digest.iter().take(16) {
        // Writing to a string does not fail.
        write!(tag, "{byte:02x}").unwrap_or_default();
    }
    tag + "\""
}

/// The routes `/` and `/assets/…`.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(async |headers: HeaderMap| answer(PAGE, &headers)))
        .route(
            "/assets/{*name}",
            get(async |Path(name): Path<String>, headers: HeaderMap| answer(&name, &headers)),
        )
}

fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = ALL.iter().find(|file| file.name == name) else {
        let body = "There is no such file.";
        return (StatusCode::NOT_FOUND, guards(), body).into_response();
    };
    let kept = [
        (header::ETAG, file.tag.clone()),
        // Kept, but asked about each time: files of two versions never meet.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    if headers.get(header::IF_NONE_MATCH) == Some(&file.tag) {
        return (StatusCode::NOT_MODIFIED, guards(), kept).into_response();
    }
    let media_type = [(header::CONTENT_TYPE, file.media_type)];
    (guards(), kept, media_type, file.content).into_response()
}

fn guards() -> [(header::HeaderName, &'static str); 4] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn folder() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard"))
    }

    fn names_on_disk(at: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                names_on_disk(&path, names);
            } else {
                let name = path.strip_prefix(folder()).unwrap();
                names.insert(name.to_str().unwrap().to_owned());
            }
        }
    }

    /// The file that an import of this module names.
    fn imported(module: &str, import: &str) -> String {
        let mut parts: Vec<&str> = module.split('/').collect();
        parts.pop();
        for part in import.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop().unwrap()),
                part => parts.push(part),
            }
        }
        parts.join("/")
    }

    #[test]
    fn every_file_of_the_folder_is_served_and_no_other() {
        let mut names = BTreeSet::new();
        names_on_disk(folder(), &mut names);
        let served: BTreeSet<_> = ALL.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(served, names);
        for name in ["", "nothing.js", "../Cargo.toml", "migration"] {
            let answer = answer(name, &HeaderMap::new());
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{name}");
            assert!(
                answer
                    .headers()
                    .contains_key(header::CONTENT_SECURITY_POLICY)
            );
        }
    }

    #[test]
    fn what_modules_import_is_there() {
        let mut imports = 0;
        for file in ALL.iter().filter(|file| file.name.ends_with(".js")) {
            for line in file
                .content
                .lines()
                .filter(|line| line.starts_with("import "))
            {
                let import = line.rsplit(" from ").next().unwrap();
                let import = imported(file.name, import.trim_matches(['\'', ';']));
                assert!(
                    ALL.iter().any(|file| file.name == import),
                    "{} imports {import}",
                    file.name
                );
                imports += 1;
            }
        }
        assert!(imports > 50, "{imports}");
    }

    #[test]
    fn a_browser_is_told_what_a_file_is_and_when_it_has_it_already() {
        let fresh = answer("main.js", &HeaderMap::new());
        assert_eq!(fresh.status(), StatusCode::OK);
        assert_eq!(
            fresh.headers()[header::CONTENT_TYPE],
            "text/javascript; charset=utf-8"
        );
        let tag = fresh.headers()[header::ETAG].clone();
        assert_ne!(tag, answer(PAGE, &HeaderMap::new()).headers()[header::ETAG]);
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
        assert_eq!(answer("main.js", &known).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer(PAGE, &known).status(), StatusCode::OK);
    }

    /// Nothing that the policy forbids, and nothing that would make markup of a name.
    #[test]
    fn nothing_is_inline_and_nothing_parses_markup() {
        assert!(!POLICY.contains("unsafe"));
        for file in ALL.iter() {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "DOMParser",
                "eval(",
                "new Function",
                "http://",
                "https://",
                "style=",
                "onclick=",
            ] {
                let allowed =
                    word == "http://" && file.content.contains("http://www.w3.org/2000/svg");
                let found = file.content.matches(word).count() - usize::from(allowed);
                assert_eq!(found, 0, "{word} in {}", file.name);
            }
        }
    }
}
