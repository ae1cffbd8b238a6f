//! The reference of the API in docs/api.md: written from the OpenAPI document, and compared with it.

use std::fmt::Write;

use serde_json::Value;

/// What stands before the generated part of the page.
const MARK: &str = "<!-- From here on, the page is made from the OpenAPI document. -->\n";

/// The verbs, in the order in which they are described.
const VERBS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The generated part of the page.
fn reference(document: &Value) -> String {
    let mut page = String::new();
    let paths = document["paths"].as_object().unwrap();
    let operations: Vec<_> = paths
        .iter()
        .flat_map(|(path, item)| {
            let of = move |verb| item.get(verb).map(|operation| (path, verb, operation));
            VERBS.into_iter().filter_map(of)
        })
        .collect();
    for tag in document["tags"].as_array().unwrap() {
        let name = tag["name"].as_str().unwrap();
        writeln!(
            page,
            "\n## {}\n\n{}.",
            capital(name),
            text(tag, "description")
        )
        .unwrap();
        let tagged = |operation: &Value| operation["tags"][0].as_str() == Some(name);
        for (path, verb, operation) in operations.iter().filter(|(.., one)| tagged(one)) {
            describe(&mut page, path, verb, operation);
        }
    }
    for (path, verb, operation) in &operations {
        let heading = format!("### {} {path}\n", verb.to_uppercase());
        assert!(
            page.contains(&heading),
            "{verb} {path} has no tag: {operation}"
        );
    }
    page += "\n## Types\n";
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        describe_type(&mut page, name, schema);
    }
    page
}

fn describe(page: &mut String, path: &str, verb: &str, operation: &Value) {
    writeln!(
        page,
        "\n### {} {path}\n\n{}",
        verb.to_uppercase(),
        sentence(&text(operation, "summary"))
    )
    .unwrap();
    let parameters = operation["parameters"].as_array();
    let parameters: Vec<_> = parameters.into_iter().flatten().collect();
    if !parameters.is_empty() {
        page.push_str("\n| parameter | in | type | |\n|---|---|---|---|\n");
        for one in parameters {
            let must = if one["required"] == true {
                ", required"
            } else {
                ""
            };
            writeln!(
                page,
                "| `{}` | {}{must} | {} | {} |",
                text(one, "name"),
                text(one, "in"),
                kind(&one["schema"]),
                text(one, "description")
            )
            .unwrap();
        }
    }
    if let Some(content) = operation["requestBody"]["content"].as_object() {
        let bodies: Vec<_> = content
            .iter()
            .map(|(media, body)| content_of(media, body))
            .collect();
        writeln!(page, "\nBody: {}", bodies.join(" or ")).unwrap();
    }
    page.push_str("\n| answer | |\n|---|---|\n");
    for (status, answer) in operation["responses"].as_object().unwrap() {
        let content = answer["content"].as_object();
        let content: Vec<_> = content
            .into_iter()
            .flatten()
            .map(|(media, body)| content_of(media, body))
            .collect();
        let said = text(answer, "description");
        let all: Vec<_> = [said, content.join(" or ")]
            .into_iter()
            .filter(|one| !one.is_empty())
            .collect();
        writeln!(page, "| {status} | {} |", all.join(": ")).unwrap();
    }
}

fn describe_type(page: &mut String, name: &str, schema: &Value) {
    writeln!(page, "\n### {name}\n\n{}", text(schema, "description")).unwrap();
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<_> = words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap()))
            .collect();
        writeln!(page, "\nOne of {}.", words.join(", ")).unwrap();
    }
    if let Some(properties) = schema["properties"].as_object() {
        page.push_str("\n| key | type | |\n|---|---|---|\n");
        let required = schema["required"].as_array();
        let required: Vec<_> = required
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (key, property) in properties {
            let must = if required.contains(&key.as_str()) {
                ""
            } else {
                "?"
            };
            let said = match text(property, "description") {
                said if said.is_empty() => text(&property["oneOf"][0], "description"),
                said => said,
            };
            writeln!(page, "| `{key}`{must} | {} | {said} |", kind(property)).unwrap();
        }
    }
}

/// A body and its form, unless that is JSON.
fn content_of(media: &str, body: &Value) -> String {
    match (media, kind(&body["schema"])) {
        ("application/json", kind) => kind,
        (media, kind) if kind == "any" => media.to_owned(),
        (media, kind) => format!("{kind} as {media}"),
    }
}

/// The type that a schema describes, in words.
fn kind(schema: &Value) -> String {
    if let Some(to) = schema["$ref"].as_str() {
        let name = to.rsplit('/').next().unwrap();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for list in ["oneOf", "anyOf", "allOf"] {
        if let Some(all) = schema[list].as_array() {
            let all: Vec<_> = all.iter().map(kind).collect();
            return all.join(" or ");
        }
    }
    let words: Vec<_> = match &schema["type"] {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let word = |word: &str| match word {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("object of {}", kind(&schema["additionalProperties"]))
        }
        "string" => match schema["format"].as_str() {
            Some(format) => format!("string ({format})"),
            None => "string".to_owned(),
        },
        word => word.to_owned(),
    };
    if words.is_empty() {
        return "any".to_owned();
    }
    let words: Vec<_> = words.into_iter().map(word).collect();
    words.join(" or ")
}

fn text(value: &Value, key: &str) -> String {
    let text = value[key].as_str().unwrap_or_default();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn sentence(text: &str) -> String {
    match text.chars().last() {
        None | Some('.') => text.to_owned(),
        Some(_) => format!("{text}."),
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

#[test]
fn the_page_is_that_of_the_document() {
    let page = include_str!("../../../docs/api.md");
    let document = serde_json::from_str(&crate::document()).unwrap();
    let expected = reference(&document);
    let (said, generated) = page.split_once(MARK).unwrap();
    if generated != expected {
        let path = std::env::temp_dir().join("api.md");
        std::fs::write(&path, format!("{said}{MARK}{expected}")).unwrap();
        panic!(
            "docs/api.md is not that of the routes; copy {} there",
            path.display()
        );
    }
}
