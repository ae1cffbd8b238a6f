//! Whether a job can be done at all, as far as the job itself tells.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Endpoint, Job, Mode, SslMode, Topology};

/// Bytes of a name that PostgreSQL keeps.
const NAME: usize = 63;

/// Parts or indexes at the same time.
const JOBS: std::ops::RangeInclusive<u16> = 1..=256;

/// How many tags there may be, and how many bytes of each key and value.
const TAGS: usize = 50;
const TAG: usize = 256;

/// What is wrong with one key of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fault {
    /// Where, as in `source.host`; `.` is the whole.
    pub key: String,
    /// What is wrong, in one clause.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" | "." => f.write_str(&self.message),
            key => write!(f, "{key}: {}", self.message),
        }
    }
}

/// Faults as they are found.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault {
            key: key.into(),
            message: message.into(),
        });
    }

    fn require(&mut self, holds: bool, key: &str, message: &str) {
        if !holds {
            self.add(key, message);
        }
    }
}

impl Job {
    /// Whether the job can be done, as far as it can be told without asking anybody.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub fn check(&self) -> Result<(), Vec<Fault>> {
        let mut faults = Faults::default();
        faults.require(
            self.mode == Mode::Offline,
            "mode",
            "online migrations are not possible yet; use offline, and stop writing to the source \
             before it starts",
        );
        self.check_ends(&mut faults);
        self.check_databases(&mut faults);
        self.check_limits(&mut faults);
        self.check_times(&mut faults);
        self.check_tags(&mut faults);
        if faults.0.is_empty() {
            Ok(())
        } else {
            Err(faults.0)
        }
    }

    fn check_ends(&self, faults: &mut Faults) {
        for (key, end) in [("source", &self.source), ("target", &self.target)] {
            match (self.topology, end) {
                (Topology::Server, None) => {
                    faults.add(key, "is missing: say where it is and how to log in");
                }
                (Topology::Server, Some(end)) => check_end(key, end, faults),
                (Topology::Agents, Some(_)) => faults.add(
                    key,
                    "must not be given: agents connect, and this server needs no credentials",
                ),
                (Topology::Agents, None) => {}
            }
        }
        let of_target = self.target.as_ref();
        let named = of_target.is_some_and(|target| target.source_type.is_some());
        faults.require(!named, "target.type", "is of the source only");
    }

    fn check_databases(&self, faults: &mut Faults) {
        let mut known = HashSet::new();
        for (number, name) in self.databases.iter().enumerate() {
            let key = format!("databases[{number}]");
            if let Some(wrong) = wrong_name(name) {
                faults.add(&key, wrong);
            }
            if !known.insert(name) {
                faults.add(&key, format!("{name:?} is given twice"));
            }
        }
        for (key, map) in [
            ("tablespaceMap", &self.tablespace_map),
            ("roleMap", &self.role_map),
        ] {
            for wrong in map.iter().flat_map(|(old, new)| [old, new]) {
                if let Some(wrong) = wrong_name(wrong) {
                    faults.add(key, wrong);
                }
            }
        }
        let selection = &self.selection;
        for (key, patterns) in [
            ("selection.schemas", &selection.schemas),
            ("selection.excludeSchemas", &selection.exclude_schemas),
            ("selection.tables", &selection.tables),
            ("selection.excludeTables", &selection.exclude_tables),
            ("selection.excludeTableData", &selection.exclude_table_data),
        ] {
            let good = patterns.iter().all(|one| !one.is_empty() && !has_zero(one));
            faults.require(good, key, "a pattern is empty or holds a zero byte");
        }
    }

    fn check_limits(&self, faults: &mut Faults) {
        for (key, jobs) in [("jobs", self.jobs), ("indexJobs", self.index_jobs)] {
            let good = jobs.is_none_or(|jobs| JOBS.contains(&jobs));
            faults.require(good, key, "must be 1 to 256");
        }
        faults.require(
            self.bytes_per_second != Some(0),
            "bytesPerSecond",
            "must be 1 or more; leave it out for no limit",
        );
    }

    fn check_times(&self, faults: &mut Faults) {
        let Some(window) = self.window else {
            return;
        };
        faults.require(window.from < window.to, "window", "ends before it begins");
        let begins = self.start_at.is_none_or(|at| at < window.to);
        faults.require(begins, "startAt", "is after the window");
    }

    fn check_tags(&self, faults: &mut Faults) {
        faults.require(self.tags.len() <= TAGS, "tags", "there may be 50");
        let mut all = self.tags.iter();
        let good = all.all(|(key, value)| !key.is_empty() && key.len().max(value.len()) <= TAG);
        faults.require(
            good,
            "tags",
            "a key is empty, or a key or value has more than 256 bytes",
        );
    }
}

fn check_end(side: &str, end: &Endpoint, faults: &mut Faults) {
    for (key, value) in [
        ("host", &end.host),
        ("user", &end.user),
        ("database", &end.database),
    ] {
        let key = format!("{side}.{key}");
        faults.require(!value.trim().is_empty(), &key, "is empty");
        faults.require(
            !value.contains(char::is_control),
            &key,
            "holds a control character",
        );
    }
    faults.require(end.port > 0, &format!("{side}.port"), "must be 1 to 65535");
    let secret = end.password.as_ref();
    faults.require(
        !secret.is_some_and(|password| has_zero(password.expose())),
        &format!("{side}.password"),
        "holds a zero byte",
    );
    let certificate = end.ca_certificate.as_ref();
    faults.require(
        end.ssl_mode != SslMode::VerifyCa || certificate.is_some(),
        &format!("{side}.sslMode"),
        "verifyCa needs caCertificate; verifyFull can do with the authorities that the host trusts",
    );
    faults.require(
        certificate.is_none_or(|pem| pem.contains("-----BEGIN CERTIFICATE-----")),
        &format!("{side}.caCertificate"),
        "is no certificate as PEM",
    );
}

fn has_zero(text: &str) -> bool {
    text.contains('\0')
}

fn wrong_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("a name is empty")
    } else if has_zero(name) {
        Some("a name holds a zero byte")
    } else if name.len() > NAME {
        Some("a name has more than 63 bytes")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::job::Extent;

    fn minimal() -> Value {
        json!({
            "source": {"host": "a", "user": "u", "password": "hunter2"},
            "target": {"host": "b", "user": "u", "sslMode": "Verify-Full"},
        })
    }

    fn read(value: &Value) -> Result<Job, Fault> {
        Job::from_json(value.to_string().as_bytes())
    }

    /// The keys that are found wrong once these are set.
    fn wrong(changes: Value) -> Vec<String> {
        let mut job = minimal();
        for (key, value) in changes.as_object().unwrap() {
            job[key] = value.clone();
        }
        let job = read(&job).unwrap();
        let faults = job.check().err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn the_least_is_two_ends_and_all_else_has_its_default() {
        let job = read(&minimal()).unwrap();
        assert_eq!(job.check(), Ok(()));
        assert_eq!(job.option, Extent::ValidateAndMigrate);
        let target = job.target.clone().unwrap();
        assert_eq!(target.ssl_mode, SslMode::VerifyFull);
        assert_eq!((target.port, target.database.as_str()), (5432, "postgres"));
        assert!(job.verify && job.roles && job.role_passwords);
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_refused_by_name() {
        let mut job = minimal();
        job["source"]["hots"] = json!("x");
        let fault = read(&job).unwrap_err();
        assert!(fault.to_string().contains("source"), "{fault}");
        assert!(fault.message.contains("`hots`"), "{fault}");

        let mut job = minimal();
        job["target"]["sslMode"] = json!("always");
        let fault = read(&job).unwrap_err();
        assert_eq!(fault.key, "target.sslMode");
        assert!(fault.message.contains("verifyFull"), "{fault}");
    }

    #[test]
    fn a_password_is_never_said_again() {
        let mut job = minimal();
        let known = read(&job).unwrap();
        let said = format!("{known:?}{}", serde_json::to_string(&known).unwrap());
        assert!(!said.contains("hunter2"), "{said}");
        job["source"]["password"] = json!({"hunter2": 271_828});
        let fault = read(&job).unwrap_err().to_string();
        assert!(
            !fault.contains("271") && fault.contains("source.password"),
            "{fault}"
        );
    }

    #[test]
    fn every_fault_is_told() {
        assert_eq!(
            wrong(json!({"mode": "Online", "jobs": 0})),
            ["mode", "jobs"]
        );
        assert_eq!(wrong(json!({"topology": "agents"})), ["source", "target"]);
        assert_eq!(wrong(json!({"target": null})), ["target"]);
        let end = json!({"host": " ", "user": "u\n", "port": 0, "type": "AWS"});
        let keys = ["target.host", "target.user", "target.port", "target.type"];
        assert_eq!(wrong(json!({ "target": end })), keys);
        assert_eq!(
            wrong(json!({"databases": ["a", "", "a"]})),
            ["databases[1]", "databases[2]"]
        );
        let window = json!({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00+02:00"});
        assert_eq!(wrong(json!({ "window": window })), ["window"]);
        assert_eq!(wrong(json!({"bytesPerSecond": 0})), ["bytesPerSecond"]);
    }

    #[test]
    fn what_is_in_a_connection_string_cannot_leave_its_place() {
        let mut job = minimal();
        job["source"]["user"] = json!("o'neill host=evil");
        job["source"]["password"] = json!("back\\slash ' quote");
        let source = read(&job).unwrap().source.unwrap();
        let text = source.conninfo(None);
        use secrecy::ExposeSecret;
        let text = text.expose_secret();
        assert!(text.contains(r"user='o\'neill host=evil'"), "{text}");
        assert!(text.contains(r"password='back\\slash \' quote'"), "{text}");
    }
}
