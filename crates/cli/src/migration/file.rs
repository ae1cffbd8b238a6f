//! Files that say what a migration is to be: properties of the service, and jobs of our own.

use std::env;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use pghaul_server::Job;
use pghaul_server::job::Fault;
use pghaul_server::properties::Properties;
use pghaul_stage::{Error, Kind, Result};

use super::args::Create;

/// How long a file may be.
const LONGEST: u64 = 4 << 20;

/// Reads what the flags name, and lets the flags win over it.
pub(super) fn read(args: &Create) -> Result<Properties> {
    let mut said = match (&args.properties, &args.job) {
        (Some(path), _) => Properties::parse(&content(path)?, args.target.as_ref())
            .map_err(|error| error.on(path.display().to_string()))?,
        (None, Some(path)) => Properties {
            job: job(&content(path)?, path)?,
            runtime: None,
            notices: Vec::new(),
        },
        (None, None) => return Err(Error::input("give --properties or --job")),
    };
    let job = &mut said.job;
    if let (Some(target), None) = (&args.target, &job.target) {
        job.target = Some(target.clone().endpoint());
    }
    if let Some(mode) = args.migration_mode {
        job.mode = mode;
    }
    if let Some(option) = args.migration_option {
        job.option = option;
    }
    let passwords = [
        (&mut job.source, "PGHAUL_SOURCE_PASSWORD"),
        (&mut job.target, "PGHAUL_TARGET_PASSWORD"),
    ];
    for (end, variable) in passwords {
        if let Some(end) = end
            && end.password.is_none()
        {
            end.password = env::var(variable).ok().map(Into::into);
        }
    }
    job.check().map_err(|faults| refuse(&faults))?;
    Ok(said)
}

/// A job file: JSON if it begins like an object, else YAML.
fn job(text: &str, path: &Path) -> Result<Job> {
    let job = if text.trim_start().starts_with('{') {
        Job::from_json(text.as_bytes())
    } else {
        from_yaml(text)
    };
    job.map_err(|fault| refuse(&[fault]).on(path.display().to_string()))
}

fn from_yaml(text: &str) -> Result<Job, Fault> {
    // Errors must not show the lines around them: there may be a password in one.
    let options = serde_saphyr::options! { with_snippet: false };
    let whole = |message: String| Fault {
        key: ".".to_owned(),
        message,
    };
    let mut read = None;
    let form = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        read = Some(Job::read(yaml));
        Ok(())
    });
    match read {
        Some(Err(fault)) => Err(fault),
        Some(Ok(job)) => form.map(|()| job).map_err(|error| whole(error.to_string())),
        None => Err(whole(form.err().map_or_else(
            || "there is nothing in it".to_owned(),
            |error| error.to_string(),
        ))),
    }
}

/// All that is wrong with a job, as one error.
fn refuse(faults: &[Fault]) -> Error {
    match faults {
        [fault] => Error::input(fault.to_string()),
        _ => {
            let all: Vec<_> = faults.iter().map(Fault::to_string).collect();
            Error::input(format!(
                "{} things are wrong: {}",
                faults.len(),
                all.join("; ")
            ))
        }
    }
    .remedy("docs/migration.md describes both kinds of files")
}

fn content(path: &Path) -> Result<String> {
    let wrong = |error: io::Error| {
        Error::input("cannot read the file")
            .on(path.display().to_string())
            .because(error)
    };
    let mut text = String::new();
    let length = if path == Path::new("-") {
        io::stdin().take(LONGEST + 1).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
    };
    if length.map_err(wrong)? as u64 > LONGEST {
        return Err(Error::input("the file is longer than 4 MB").on(path.display().to_string()));
    }
    Ok(text)
}

/// The JSON schema of job files.
pub(super) fn schema() -> Result<String> {
    pghaul_server::job::schema()
        .map(|schema| format!("{schema:#}"))
        .map_err(|error| Error::new(Kind::Permanent, "cannot write the schema").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks of a page in this language.
    fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
        let fence = format!("```{language}\n");
        let blocks = page.split(&fence).skip(1);
        blocks.filter_map(|rest| rest.split("```").next()).collect()
    }

    #[test]
    fn the_examples_of_the_documentation_are_jobs() {
        let blocks = blocks(include_str!("../../../../docs/migration.md"), "yaml");
        let jobs: Vec<Job> = blocks.iter().map(|text| from_yaml(text).unwrap()).collect();
        assert_eq!(jobs.len(), 2);
        for job in &jobs {
            assert_eq!(job.check(), Ok(()));
        }
        // The long one says everything but passwords and agents, so each key is read.
        let defaults = serde_json::to_value(Job::default()).unwrap();
        let said: serde_json::Value = serde_saphyr::from_str(blocks[1]).unwrap();
        for key in defaults.as_object().unwrap().keys() {
            assert!(said.get(key).is_some(), "{key} is not in the example");
        }
    }

    #[test]
    fn the_example_of_a_properties_file_is_one() {
        let blocks = blocks(include_str!("../../../../docs/properties.md"), "json");
        let said = Properties::parse(blocks[0], None).unwrap();
        assert_eq!(said.job.check(), Ok(()));
        assert_eq!(said.job.databases, ["shop", "crm"]);
    }

    #[test]
    fn yaml_and_json_say_the_same() {
        let yaml = "source: {host: a, user: '1', password: 0755}\ntarget:\n  host: b\n  user: v\n";
        let json = r#"{"source": {"host": "a", "user": "1", "password": "0755"},
                       "target": {"host": "b", "user": "v"}}"#;
        let path = Path::new("job");
        assert_eq!(job(yaml, path).unwrap(), job(json, path).unwrap());
    }

    #[test]
    fn what_is_wrong_with_a_job_file_is_named_and_no_password_is_said() {
        let path = Path::new("job.yaml");
        for (text, said) in [
            ("sorce: {host: a}", "`sorce`"),
            ("source: {host: a, user: u, pasword: hunter2}", "`pasword`"),
            (
                "source: {host: a, user: u, password: [hunter2]}",
                "source.password",
            ),
            (
                "source: {host: a, user: u, password: hunter2}\nsource: {}",
                "source",
            ),
            ("source: {password: hunter2", "job.yaml"),
            ("jobs: many", "jobs"),
            ("- a", "job.yaml"),
            ("strict: false\n---\nstrict: true", "job.yaml"),
        ] {
            let error = job(text, path).unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.to_string().contains(said), "{text}: {error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn a_small_file_cannot_become_a_large_one() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (from, to) in ('a'..='y').zip('b'..) {
            bomb +=
                &format!("{to}: &{to} [*{from}, *{from}, *{from}, *{from}, *{from}, *{from}]\n");
        }
        bomb += "databases: *z\n";
        assert!(job(&bomb, Path::new("job.yaml")).is_err());
        let deep = format!("databases: {}", "[".repeat(100_000));
        assert!(job(&deep, Path::new("job.yaml")).is_err());
    }
}
