//! The JSON schema of job files, made from the types that read them.

use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema};

use super::Job;

/// The JSON schema of a [`Job`], as `docs/job.schema.json` has it. Words have their usual
/// spelling in it; they are read in others, too.
///
/// # Errors
///
/// None for the types as they are: a schema that could not be written as JSON.
pub fn schema() -> serde_json::Result<Value> {
    let mut types = Vec::new();
    Job::schemas(&mut types);
    let mut definitions = Map::new();
    for (name, schema) in types {
        definitions.insert(name, refer(serde_json::to_value(schema)?));
    }
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A job file of pghaul",
        "$defs": definitions,
    });
    let job = refer(serde_json::to_value(Job::schema())?);
    if let (Some(all), Value::Object(job)) = (schema.as_object_mut(), job) {
        all.extend(job);
    }
    Ok(schema)
}

/// The same with references to where a schema that stands alone has its definitions.
fn refer(value: Value) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix("#/components/schemas/") {
            Some(name) => json!(format!("#/$defs/{name}")),
            None => Value::String(text),
        },
        Value::Array(list) => list.into_iter().map(refer).collect(),
        Value::Object(pairs) => {
            let pairs = pairs.into_iter();
            pairs.map(|(key, value)| (key, refer(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_that_of_the_code() {
        let published = include_str!("../../../../docs/job.schema.json");
        let is_that = published == format!("{:#}\n", schema().unwrap());
        assert!(
            is_that,
            "write it anew: pghaul migration schema > docs/job.schema.json"
        );
    }

    #[test]
    fn words_are_spelled_as_they_are_written_and_passwords_can_be_given() {
        let schema = schema().unwrap();
        let modes = &schema["$defs"]["SslMode"]["enum"];
        let expected = [
            "disable",
            "allow",
            "prefer",
            "require",
            "verifyCa",
            "verifyFull",
        ];
        assert_eq!(*modes, json!(expected));
        let password = &schema["$defs"]["Endpoint"]["properties"]["password"];
        assert_eq!(password["writeOnly"], true);
    }

    #[test]
    fn every_reference_has_its_definition() {
        fn look(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(pairs) => {
                    for (key, value) in pairs {
                        if let ("$ref", Some(to)) = (key.as_str(), value.as_str()) {
                            found.push(to.to_owned());
                        }
                        look(value, found);
                    }
                }
                Value::Array(list) => list.iter().for_each(|value| look(value, found)),
                _ => {}
            }
        }
        let schema = schema().unwrap();
        let mut found = Vec::new();
        look(&schema, &mut found);
        assert!(found.len() > 5);
        for to in found {
            let path = to.strip_prefix('#').unwrap();
            assert!(schema.pointer(path).is_some(), "{to}");
        }
    }
}
