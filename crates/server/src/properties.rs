//! The properties file of Azure's migration service, as a job.
//!
//! The file says in the service's words what a [`Job`] says in ours. Every key that the service
//! documents is honoured, or refused with the reason; any other key is refused by name. What the
//! keys are, and what becomes of each, is in `properties/keys.rs` and in `docs/properties.md`.

mod keys;
mod pairs;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use pghaul_stage::{Error, Result};

use crate::Time;
use crate::job::{Endpoint, Extent, Job, Mode, Password, SourceType, SslMode, Window};
use keys::{Entry, Key, Place};
use pairs::Json;
pub use server::Server;

/// What a properties file says.
#[derive(Debug)]
pub struct Properties {
    /// What is to be done. It has no target if the file names none.
    pub job: Job,
    /// The address of the runtime server that is to do it, if the file names one.
    pub runtime: Option<String>,
    /// What is taken and has no effect, for the user to know.
    pub notices: Vec<String>,
}

/// The values of a file by the meaning of their keys, each there once.
struct Values(Vec<(&'static Entry, Json)>);

impl Properties {
    /// Reads a file. `target` is where to migrate to if the file does not say, as the service's
    /// files never do: there the target is the server that is asked.
    ///
    /// # Errors
    ///
    /// Kind input, with the key as the subject. No message repeats a password.
    pub fn parse(text: &str, target: Option<&Server>) -> Result<Properties> {
        let json: Json = serde_json::from_str(text)
            .map_err(|error| Error::input(format!("the properties are no JSON: {error}")))?;
        let mut values = Values::of(json)?;
        values.refuse_what_the_service_says()?;
        values.refuse_what_comes_later()?;
        let mut notices = Vec::new();
        if values.text(Key::Location)?.is_some() {
            notices.push(
                "location has no effect: the work is done where the runtime server is".to_owned(),
            );
        }
        let runtime = values.runtime()?;
        let job = values.job(target)?;
        Ok(Properties {
            job,
            runtime,
            notices,
        })
    }
}

impl Values {
    fn of(json: Json) -> Result<Values> {
        let Json::Object(pairs) = json else {
            return Err(Error::input(format!(
                "the properties are {}, and must be an object",
                json.kind()
            )));
        };
        let mut values = Values(Vec::new());
        values.gather(pairs, Place::Top)?;
        Ok(values)
    }

    /// Takes the pairs of an object, and of those in it. A key whose value is null is not there.
    fn gather(&mut self, pairs: Vec<(String, Json)>, place: Place) -> Result<()> {
        for (name, value) in pairs {
            let Some(entry) = Entry::of(&name) else {
                return Err(Error::input("this key is not known")
                    .on(name)
                    .remedy("docs/properties.md lists all keys; what goes beyond them can be said in a job file"));
            };
            if !entry.taken.at(place) {
                return Err(Error::input(format!(
                    "this key does not belong here, but into {}",
                    entry.taken.words()
                ))
                .on(name));
            }
            if self.0.iter().any(|(known, _)| known.key == entry.key) {
                return Err(Error::input("this key is given twice")
                    .on(name)
                    .remedy(format!(
                        "capital and small letters are the same, in {} and in all objects",
                        entry.names.join(", ")
                    )));
            }
            let inner = match entry.key {
                Key::Properties => Place::Properties,
                Key::SecretParameters => Place::Secrets,
                Key::AdminCredentials => Place::Credentials,
                _ => {
                    self.0.push((entry, value));
                    continue;
                }
            };
            // Known from here on, so that a second one is found.
            self.0.push((entry, Json::Null));
            match value {
                Json::Null => {}
                Json::Object(pairs) => self.gather(pairs, inner)?,
                other => return Err(wrong(entry.key, "an object", &other)),
            }
        }
        Ok(())
    }

    /// Takes a value out.
    fn take(&mut self, key: Key) -> Option<Json> {
        let (_, value) = self.0.iter_mut().find(|(entry, _)| entry.key == key)?;
        match std::mem::replace(value, Json::Null) {
            Json::Null => None,
            value => Some(value),
        }
    }

    fn text(&mut self, key: Key) -> Result<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(key, "a string", &other)),
        }
    }

    /// A text that is not empty.
    fn name(&mut self, key: Key) -> Result<Option<String>> {
        let text = self.text(key)?;
        if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Err(Error::input("is empty").on(key.name()));
        }
        Ok(text)
    }

    /// A text with a meaning of its own.
    fn parsed<T: FromStr<Err: Display>>(&mut self, key: Key) -> Result<Option<T>> {
        self.text(key)?
            .map(|text| {
                text.parse()
                    .map_err(|error: T::Err| Error::input(error.to_string()).on(key.name()))
            })
            .transpose()
    }

    /// True or false, which the service's samples write as strings.
    fn flag(&mut self, key: Key) -> Result<Option<bool>> {
        match self.take(key) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(flag)),
            Some(Json::Text(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Json::Text(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(other) => Err(wrong(key, "True or False", &other)),
        }
    }

    fn names(&mut self, key: Key) -> Result<Option<Vec<String>>> {
        let list = match self.take(key) {
            None => return Ok(None),
            Some(Json::List(list)) => list,
            Some(other) => return Err(wrong(key, "a list of names", &other)),
        };
        list.into_iter()
            .map(|name| match name {
                Json::Text(name) => Ok(name),
                other => Err(wrong(key, "a list of names", &other)),
            })
            .collect::<Result<_>>()
            .map(Some)
    }

    fn time(&mut self, key: Key) -> Result<Option<Time>> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let zoned = DateTime::parse_from_rfc3339(&text).map(|time| time.with_timezone(&Utc));
        let time = zoned.or_else(|_| NaiveDateTime::from_str(&text).map(|time| time.and_utc()));
        time.map(Some).map_err(|error| {
            Error::input(format!("{text:?} is no time"))
                .on(key.name())
                .because(error)
                .remedy("write it as 2030-01-31T22:00:00Z")
        })
    }

    /// Refuses what the service says about a migration, and does not take.
    fn refuse_what_the_service_says(&mut self) -> Result<()> {
        for (key, instead) in [
            (
                Key::MigrationId,
                "leave it out: the runtime server gives it",
            ),
            (Key::Status, "leave it out; `pghaul migration show` says it"),
            (
                Key::SourceMetadata,
                "leave it out; `pghaul validate` asks the source",
            ),
            (
                Key::TargetMetadata,
                "leave it out; `pghaul validate` asks the target",
            ),
            (Key::Id, "leave it out: the service gives it"),
            (
                Key::Name,
                "leave it out, and give the migration its name with --name",
            ),
            (Key::Type, "leave it out: the service gives it"),
            (Key::SystemData, "leave it out: the service gives it"),
        ] {
            if self.take(key).is_some() {
                return Err(Error::input(
                    "this key is said by the service, and cannot be asked of it",
                )
                .on(key.name())
                .remedy(instead));
            }
        }
        Ok(())
    }

    /// Refuses what can only be asked of a migration that runs, or that is online.
    fn refuse_what_comes_later(&mut self) -> Result<()> {
        if self.parsed(Key::Mode)? == Some(Mode::Online) {
            return Err(
                Error::input("an online migration is not possible yet: changes made while the copy runs are not carried")
                    .on(Key::Mode.name())
                    .remedy("migrate offline, and stop writing to the source before it begins"),
            );
        }
        // An offline migration needs no replication, so nothing is ever set up.
        self.flag(Key::SetupReplication)?;
        for (flag, list, reason, remedy) in [
            (
                Key::Cutover,
                Key::CutoverDatabases,
                "an offline migration has no cutover: it ends when everything is copied",
                "leave it out",
            ),
            (
                Key::Cancel,
                Key::CancelDatabases,
                "what does not exist yet cannot be cancelled",
                "leave it out; `pghaul migration update --cancel` cancels a migration that runs",
            ),
        ] {
            let asked = if self.flag(flag)? == Some(true) {
                Some(flag)
            } else {
                let names = self.names(list)?;
                names.filter(|names| !names.is_empty()).map(|_| list)
            };
            if let Some(key) = asked {
                return Err(Error::input(reason).on(key.name()).remedy(remedy));
            }
        }
        Ok(())
    }

    /// The address of the runtime server.
    fn runtime(&mut self) -> Result<Option<String>> {
        let key = Key::Runtime;
        let Some(text) = self.name(key)? else {
            return Ok(None);
        };
        let remedy = "name the runtime server by its address, such as https://runtime.example:8432";
        if server::is_resource(&text) {
            return Err(
                Error::input("a resource ID does not say where the runtime server is")
                    .on(key.name())
                    .remedy(remedy),
            );
        }
        let lower = text.to_ascii_lowercase();
        if !lower.starts_with("https://") && !lower.starts_with("http://") {
            return Err(Error::input("is no address of a runtime server")
                .on(key.name())
                .remedy(remedy));
        }
        if text.contains('@') {
            return Err(
                Error::input("an address must not hold a user or a password")
                    .on(key.name())
                    .remedy("give the token in PGHAUL_TOKEN or with --token-file"),
            );
        }
        Ok(Some(text))
    }

    fn job(&mut self, target: Option<&Server>) -> Result<Job> {
        let source_type: Option<SourceType> = self.parsed(Key::SourceType)?;
        let ssl_mode = self.parsed(Key::SslMode)?.unwrap_or(match source_type {
            Some(SourceType::PostgreSqlSingleServer) => SslMode::VerifyFull,
            _ => SslMode::Prefer,
        });
        let source = self.end(&SOURCE, None)?.ok_or_else(|| {
            Error::input("is missing")
                .on(Key::Source.name())
                .remedy("name the source as host:port@user")
        })?;
        let target = self.end(&TARGET, target)?;
        let endpoint = |end: End, source_type| Endpoint {
            ssl_mode,
            password: end.password,
            source_type,
            ..end.server.endpoint()
        };
        let default = Job::default();
        let (start_at, window) = self.times()?;
        Ok(Job {
            option: self
                .parsed(Key::Option)?
                .unwrap_or(Extent::ValidateAndMigrate),
            source: Some(endpoint(source, source_type)),
            target: target.map(|target| endpoint(target, None)),
            databases: self.databases()?,
            overwrite: self.flag(Key::Overwrite)?.unwrap_or(default.overwrite),
            roles: self.flag(Key::Roles)?.unwrap_or(default.roles),
            start_at,
            window,
            tags: self.tags()?,
            ..default
        })
    }

    /// One end, if the file or else `default` names it.
    fn end(&mut self, keys: &EndKeys, default: Option<&Server>) -> Result<Option<End>> {
        let id = self.name(keys.server)?;
        let host = self.name(keys.host)?;
        let user = self.name(keys.user)?;
        // An empty password is none: no server takes it.
        let password = self.text(keys.password)?.filter(|text| !text.is_empty());
        let server = match id {
            Some(id) if server::is_resource(&id) => match (&host, &user) {
                (Some(host), Some(user)) => Server::new(host, user),
                _ => return Err(keys.resource_id()),
            },
            Some(id) => id
                .parse()
                .map_err(|error: Error| error.on(keys.server.name()))?,
            None => match (default, &host, &user) {
                (Some(default), ..) => default.clone(),
                (None, Some(host), Some(user)) => Server::new(host, user),
                (None, None, None) if password.is_none() => return Ok(None),
                // A file of the service says nothing of its target but the password.
                (None, None, _) if keys.server == Key::Target => return Ok(None),
                _ => {
                    return Err(Error::input("is missing")
                        .on(keys.server.name())
                        .remedy(format!(
                            "write host:port@user, or both {} and {}",
                            keys.host.name(),
                            keys.user.name()
                        )));
                }
            },
        };
        Ok(Some(End {
            server: Server {
                host: host.unwrap_or(server.host),
                user: user.unwrap_or(server.user),
                port: server.port,
            },
            password: password.map(Password::from),
        }))
    }

    fn databases(&mut self) -> Result<Vec<String>> {
        let key = Key::Databases;
        let Some(names) = self.names(key)? else {
            return Ok(Vec::new());
        };
        if names.is_empty() {
            return Err(Error::input("names no database")
                .on(key.name())
                .remedy("name some, or leave the key out for all databases of the source"));
        }
        let mut known = HashSet::new();
        for name in &names {
            if name.is_empty() {
                return Err(Error::input("a name is empty").on(key.name()));
            }
            if !known.insert(name) {
                return Err(Error::input(format!("{name:?} is given twice")).on(key.name()));
            }
        }
        Ok(names)
    }

    /// When the migration may begin, or the window in which it may run.
    fn times(&mut self) -> Result<(Option<Time>, Option<Window>)> {
        let start = self.time(Key::WindowStart)?;
        let end = self.time(Key::WindowEnd)?;
        match self.flag(Key::StartData)? {
            Some(true) if start.is_some() => {
                return Err(Error::input("to begin at once contradicts a window")
                    .on(Key::StartData.name())
                    .remedy(format!(
                        "leave out one of it and {}",
                        Key::WindowStart.name()
                    )));
            }
            Some(false) if start.is_none() => {
                return Err(Error::input("nothing would start the migration later")
                    .on(Key::StartData.name())
                    .remedy(format!(
                        "give the time in {}, or create the migration when it is to begin",
                        Key::WindowStart.name()
                    )));
            }
            _ => {}
        }
        match (start, end) {
            (start, None) => Ok((start, None)),
            (None, Some(_)) => Err(Error::input("a window has an end and no start")
                .on(Key::WindowEnd.name())
                .remedy(format!("give {}, too", Key::WindowStart.name()))),
            (Some(from), Some(to)) if from >= to => {
                Err(Error::input("the window ends before it begins").on(Key::WindowEnd.name()))
            }
            (Some(from), Some(to)) => Ok((None, Some(Window { from, to }))),
        }
    }

    fn tags(&mut self) -> Result<BTreeMap<String, String>> {
        let key = Key::Tags;
        let pairs = match self.take(key) {
            None => return Ok(BTreeMap::new()),
            Some(Json::Object(pairs)) => pairs,
            Some(other) => return Err(wrong(key, "an object of strings", &other)),
        };
        let mut tags = BTreeMap::new();
        for (name, value) in pairs {
            let Json::Text(value) = value else {
                return Err(wrong(key, "an object of strings", &value));
            };
            if tags.contains_key(&name) {
                return Err(Error::input(format!("{name:?} is given twice")).on(key.name()));
            }
            tags.insert(name, value);
        }
        Ok(tags)
    }
}

/// Where one end is, and its password.
struct End {
    server: Server,
    password: Option<Password>,
}

/// The keys that describe one end.
struct EndKeys {
    server: Key,
    host: Key,
    user: Key,
    password: Key,
}

const SOURCE: EndKeys = EndKeys {
    server: Key::Source,
    host: Key::SourceHost,
    user: Key::SourceUser,
    password: Key::SourcePassword,
};

const TARGET: EndKeys = EndKeys {
    server: Key::Target,
    host: Key::TargetHost,
    user: Key::TargetUser,
    password: Key::TargetPassword,
};

impl EndKeys {
    fn resource_id(&self) -> Error {
        Error::input("a resource ID says neither host nor user")
            .on(self.server.name())
            .remedy(format!(
                "write host:port@user, or keep it and give the host in {} and the user in {}",
                self.host.name(),
                self.user.name()
            ))
    }
}

/// Another type than the key has; the value, which may be a secret, is not said.
fn wrong(key: Key, expected: &str, found: &Json) -> Error {
    Error::input(format!("must be {expected}, and is {}", found.kind())).on(key.name())
}
