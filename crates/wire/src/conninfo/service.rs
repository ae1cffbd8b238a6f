//! The connection service file.
//!
//! Source: PostgreSQL's manual, section 32.17.

use std::path::{Path, PathBuf};

use pghaul_stage::{Error, Result};

use super::environment::Environment;
use super::parameters::Parameters;

/// Where Debian's and Ubuntu's libpq looks when `PGSYSCONFDIR` is not set.
const SYSTEM_FOLDER: &str = "/etc/postgresql-common";

/// Completes the parameters from the named service, if one is named.
pub(super) fn complete(parameters: &mut Parameters, env: &Environment) -> Result<()> {
    let named = parameters
        .get("service")
        .or_else(|| env.variable("PGSERVICE"));
    let Some(service) = named.map(str::to_owned) else {
        return Ok(());
    };

    let own = parameters
        .get("servicefile")
        .or_else(|| env.variable("PGSERVICEFILE"))
        .map(PathBuf::from)
        .or_else(|| env.home.as_ref().map(|home| home.join(".pg_service.conf")));
    let system = Path::new(env.variable("PGSYSCONFDIR").unwrap_or(SYSTEM_FOLDER));
    for file in own.into_iter().chain([system.join("pg_service.conf")]) {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(Error::input("cannot read the service file")
                    .on(file.display().to_string())
                    .because(error));
            }
        };
        let found = read(&text, &service, parameters)
            .map_err(|error| error.on(format!("service file {}", file.display())))?;
        if found {
            return Ok(());
        }
    }
    Err(
        Error::input(format!("no service file defines the service \"{service}\""))
            .remedy("check the service's name and PGSERVICEFILE"),
    )
}

/// Completes the parameters from one file; false if it does not have the service.
fn read(text: &str, service: &str, parameters: &mut Parameters) -> Result<bool> {
    let mut found = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            if found {
                break;
            }
            found = name.strip_suffix(']') == Some(service);
        } else if found {
            let (key, value) = match line.split_once('=') {
                Some(("service" | "servicefile", _)) => {
                    return Err(Error::input("a service cannot name another service"));
                }
                Some(pair) => pair,
                None => return Err(Error::input("a line is not of the form key=value")),
            };
            parameters.complete(key, value)?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "# comment\n[other]\nhost=o\n[mine]\nhost=h\nport=7\nhost=later\n[end]\nuser=e\n";

    #[test]
    fn only_the_named_section_counts_and_the_first_value_wins() {
        let mut parameters = Parameters::default();
        parameters.set("port", "1").unwrap();
        assert!(read(FILE, "mine", &mut parameters).unwrap());
        assert_eq!(parameters.get("host"), Some("h"));
        assert_eq!(parameters.get("port"), Some("1"));
        assert_eq!(parameters.get("user"), None);
        assert!(!read(FILE, "absent", &mut parameters).unwrap());
    }

    #[test]
    fn mistakes_in_the_section_are_errors() {
        for text in ["[s]\nnonsense\n", "[s]\nservice=x\n", "[s]\ncolour=red\n"] {
            assert!(
                read(text, "s", &mut Parameters::default()).is_err(),
                "{text}"
            );
        }
    }
}
