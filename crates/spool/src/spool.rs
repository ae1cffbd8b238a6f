//! One spool: its header, and what it says of the source.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use pghaul_stage::{Catalog, Error, Kind, Packed, Plan, Result, Side};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::manifest::FileEncoding;
use crate::name;
use crate::seal::{self, FORMAT, Key, Seal};
use crate::sealed::Manifest;
use crate::store::Store;

/// The header is read before the migration is known.
const NO_MIGRATION: Uuid = Uuid::nil();

/// What a spool is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub format: u32,
    /// The migration that it holds.
    pub migration: Uuid,
    /// How its rows are stored.
    pub encoding: FileEncoding,
    /// Whether it holds no rows but a list of databases, each with a spool of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub several: bool,
    /// A value that only the right key gives, if it is encrypted.
    pub encryption: Option<String>,
    /// The version of pghaul that began it.
    pub tool: String,
}

/// A snapshot of the source that a process exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// The identifier under which others import it.
    pub id: String,
    /// Which transactions it sees. A server that was restarted gives identifiers anew, so one that
    /// is found may be that of another snapshot.
    pub visible: String,
}

/// A spool that can be read and written.
#[derive(Debug)]
pub struct Spool {
    pub(crate) store: Store,
    pub(crate) seal: Seal,
    header: Header,
    pub(crate) manifest: Mutex<Manifest>,
}

/// The plan, and the hash of each object that was written before it, by which one that is missing
/// or comes from another attempt is noticed.
#[derive(Serialize, Deserialize)]
pub(crate) struct Planned<P> {
    plan: P,
    objects: Hashes,
}

/// The hashes of objects, by their names.
pub(crate) type Hashes = BTreeMap<String, String>;

/// The values that only an encrypted spool may hold.
#[derive(Serialize, Deserialize)]
struct Secrets {
    passwords: BTreeMap<String, String>,
}

impl Spool {
    /// Begins a spool in an empty place.
    ///
    /// # Errors
    ///
    /// Kind input if the place has one already, kind permanent if the store replaces what it should
    /// only create if absent.
    pub async fn create(store: Store, encoding: FileEncoding, key: Option<Key>) -> Result<Spool> {
        Self::begin(store, encoding, key, false).await
    }

    /// Begins, in an empty place, one that lists several databases. Each of them has a spool of its
    /// own, at the place that [`of_database`](crate::of_database) names.
    ///
    /// # Errors
    ///
    /// As [`Spool::create`].
    pub async fn create_several(
        store: Store,
        encoding: FileEncoding,
        key: Option<Key>,
    ) -> Result<Spool> {
        Self::begin(store, encoding, key, true).await
    }

    async fn begin(
        store: Store,
        encoding: FileEncoding,
        key: Option<Key>,
        several: bool,
    ) -> Result<Spool> {
        let migration = Uuid::now_v7();
        let header = Header {
            format: FORMAT,
            migration,
            encoding,
            several,
            encryption: key.as_ref().map(|key| key.check(migration)).transpose()?,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let content = seal::with_line(NO_MIGRATION, name::HEADER, &json(&header)?);
        if !store.create(name::HEADER, &content).await? {
            return Err(Error::input("there is a migration in it already")
                .at(Side::Link)
                .on(format!("the spool {}", store.place()))
                .remedy("go on with --resume, name another place, or empty this one"));
        }
        // Where the condition is not honoured, one of two processes would undo what the other sealed.
        if store
            .create(name::HEADER, &Bytes::from_static(b"?"))
            .await?
        {
            store.remove(name::HEADER).await?;
            return Err(Error::new(
                Kind::Permanent,
                "the store replaces objects that it was told to create only if absent",
            )
            .at(Side::Link)
            .on(format!("the spool {}", store.place()))
            .remedy("use a store that honours `If-None-Match: *`, or a directory"));
        }
        Ok(Self::of(store, header, key))
    }

    /// Opens the spool of a place; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Kind identity if its format is not known or its header damaged, kind input if the key is not
    /// the one it was encrypted with.
    pub async fn open(store: Store, key: Option<Key>) -> Result<Option<Spool>> {
        let Some(object) = store.read(name::HEADER).await? else {
            return Ok(None);
        };
        let content = seal::without_line(NO_MIGRATION, name::HEADER, &object);
        let content = content.map_err(|error| error.on(store.subject(name::HEADER)))?;
        let damaged = || store.damaged(name::HEADER, "it is damaged");
        let content = content.ok_or_else(damaged)?;
        let version: Version = serde_json::from_slice(&content).map_err(|_| damaged())?;
        if version.format != FORMAT {
            return Err(seal::unknown(version.format).on(store.subject(name::HEADER)));
        }
        let header: Header =
            serde_json::from_slice(&content).map_err(|error| damaged().because(error))?;
        let given = key
            .as_ref()
            .map(|key| key.check(header.migration))
            .transpose()?;
        if header.encryption != given {
            let what = match (&header.encryption, given) {
                (Some(_), None) => "it is encrypted, and no key is given",
                (None, Some(_)) => "it is not encrypted, but a key is given",
                _ => "it is encrypted with another key",
            };
            return Err(Error::input(what)
                .at(Side::Link)
                .on(format!("the spool {}", store.place()))
                .remedy("give the key file it was made with as --encrypt-key-file"));
        }
        Ok(Some(Self::of(store, header, key)))
    }

    fn of(store: Store, header: Header, key: Option<Key>) -> Spool {
        Spool {
            seal: Seal::new(header.migration, key),
            store,
            header,
            manifest: Mutex::default(),
        }
    }

    /// What it is.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where it is.
    pub fn place(&self) -> &str {
        self.store.place()
    }

    /// The names of the databases, in the order of their spools; `None` before they are written
    /// down, and where there is only one.
    ///
    /// # Errors
    ///
    /// Those of the store, and kind identity if the list is damaged.
    pub async fn databases(&self) -> Result<Option<Vec<String>>> {
        self.json(name::DATABASES).await
    }

    /// Writes down which databases there are; `false` if that has been done.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn put_databases(&self, names: &[String]) -> Result<bool> {
        self.put_json(name::DATABASES, names).await
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.header.encryption.is_some()
    }

    /// The catalog of the source; `None` before the plan stands.
    pub async fn catalog(&self) -> Result<Option<Catalog>> {
        let Some(planned) = self.planned().await? else {
            return Ok(None);
        };
        let catalog = self.written(&planned.objects).await?;
        let unknown = || self.store.damaged(name::PLAN, "it knows no catalog");
        catalog.ok_or_else(unknown).map(Some)
    }

    /// The catalog that was written as these objects; `None` if it is not among them.
    pub(crate) async fn written(&self, objects: &Hashes) -> Result<Option<Catalog>> {
        let Some(catalog) = self.described(objects, name::CATALOG).await? else {
            return Ok(None);
        };
        let mut catalog: Catalog = self.parsed(name::CATALOG, &catalog)?;
        let archive = self.described(objects, name::SCHEMA).await?;
        catalog.archive = Packed::new(&archive.unwrap_or_default())?;
        let statistics = self.described(objects, name::STATISTICS).await?;
        catalog.statistics = Packed::new(&statistics.unwrap_or_default())?;
        let mut passwords = match self.described(objects, name::SECRETS).await? {
            Some(secrets) => self.parsed::<Secrets>(name::SECRETS, &secrets)?.passwords,
            None => BTreeMap::new(),
        };
        for role in &mut catalog.roles {
            role.password = passwords.remove(&role.name).map(SecretString::from);
        }
        Ok(Some(catalog))
    }

    /// The parts; `None` before the plan stands.
    pub async fn plan(&self) -> Result<Option<Plan>> {
        Ok(self.planned().await?.map(|planned| planned.plan))
    }

    pub(crate) async fn planned(&self) -> Result<Option<Planned<Plan>>> {
        self.json(name::PLAN).await
    }

    /// An object that was written before the plan; `None` if the plan knows none of this name.
    async fn described(&self, objects: &Hashes, name: &str) -> Result<Option<Bytes>> {
        let Some(hash) = objects.get(name) else {
            return Ok(None);
        };
        let content = self.get(name).await?;
        let content = content.ok_or_else(|| self.missing(name))?;
        if seal::hash(&content) != *hash {
            return Err(self
                .store
                .damaged(name, "it is not the one that the plan was written with"));
        }
        Ok(Some(content))
    }

    /// Writes down the catalog, and the plan last. Harmless when that has been done with the same.
    ///
    /// Password hashes come along only if `secrets` is set, which demands an encrypted spool.
    /// Whoever calls it without has taken the secrets out of the archive.
    ///
    /// # Errors
    ///
    /// Kind identity if another plan stands, or the one by which parts were extracted is missing;
    /// kind input for secrets without encryption.
    pub(crate) async fn describe(
        &self,
        catalog: &Catalog,
        plan: &Plan,
        secrets: bool,
    ) -> Result<()> {
        if let Some(there) = self.plan().await? {
            // The same parts under another snapshot would be other rows.
            return if there == *plan {
                Ok(())
            } else {
                Err(self.other_plan())
            };
        }
        if !self.store.list(name::MANIFEST).await?.is_empty() {
            return Err(self.store.damaged(
                name::PLAN,
                "it is missing, though parts were extracted by it",
            ));
        }
        let objects = self.write(catalog, secrets).await?;
        let planned = Planned { plan, objects };
        match self.put_json(name::PLAN, &planned).await? {
            true => Ok(()),
            false => Err(self.other_plan()),
        }
    }

    /// Writes down the catalog; the hashes of its objects.
    pub(crate) async fn write(&self, catalog: &Catalog, secrets: bool) -> Result<Hashes> {
        if secrets && !self.is_encrypted() {
            return Err(
                Error::input("secrets are stored in an encrypted spool only")
                    .at(Side::Link)
                    .remedy("give a key with --encrypt-key-file"),
            );
        }
        let mut stored = catalog.clone();
        for role in &mut stored.roles {
            role.password_withheld = !secrets && role.password.is_some();
        }
        let mut objects = Hashes::new();
        // One after the other, because each may be large.
        let mut put = async |name: &str, content: Bytes| {
            self.put_anew(name, &content).await?;
            objects.insert(name.to_owned(), seal::hash(&content));
            Ok::<(), Error>(())
        };
        put(name::CATALOG, json(&stored)?.into()).await?;
        put(name::SCHEMA, catalog.archive.unpack()?).await?;
        if !catalog.statistics.is_empty() {
            put(name::STATISTICS, catalog.statistics.unpack()?).await?;
        }
        if secrets {
            let passwords = catalog.roles.iter().filter_map(|role| {
                let password = role.password.as_ref()?;
                Some((role.name.clone(), password.expose_secret().to_owned()))
            });
            let passwords = passwords.collect();
            put(name::SECRETS, json(&Secrets { passwords })?.into()).await?;
        }
        Ok(objects)
    }

    pub(crate) fn other_plan(&self) -> Error {
        Error::new(Kind::Identity, "it has the plan of another extraction")
            .at(Side::Link)
            .on(format!("the spool {}", self.place()))
            .remedy("extract into an empty place, or go on with --resume")
    }

    /// The error of an object that should be there.
    pub(crate) fn missing(&self, name: &str) -> Error {
        self.store.damaged(name, "it is missing")
    }

    /// The snapshots that extracting processes exported, the latest first.
    pub async fn snapshots(&self) -> Result<Vec<Exported>> {
        let mut names: Vec<String> = self
            .store
            .list(name::SNAPSHOTS)
            .await?
            .into_iter()
            .map(|object| object.name)
            .collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        let mut snapshots = Vec::new();
        for name in names {
            snapshots.extend(self.json::<Exported>(&name).await?);
        }
        Ok(snapshots)
    }

    /// Records a snapshot that this process exported.
    pub async fn put_snapshot(&self, snapshot: &Exported) -> Result<()> {
        let name = name::snapshot(Uuid::now_v7());
        self.put_json(&name, snapshot).await?;
        Ok(())
    }

    /// The content of an object; `None` if there is none.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let Some(object) = self.store.read(name).await? else {
            return Ok(None);
        };
        let content = self.seal.unseal(name, object);
        let content = content.map_err(|error| error.on(self.store.subject(name)))?;
        let damaged = || self.store.damaged(name, "it is damaged");
        content.ok_or_else(damaged).map(Some)
    }

    /// Creates an object; `false` if it is there already.
    pub(crate) async fn put(&self, name: &str, content: &[u8]) -> Result<bool> {
        let object = self.seal.seal(name, content)?;
        self.store.create(name, &object).await
    }

    /// Creates an object of which an earlier attempt may have left another one. Without a plan,
    /// nobody has read that.
    pub(crate) async fn put_anew(&self, name: &str, content: &[u8]) -> Result<()> {
        if !self.put(name, content).await? {
            self.store.remove(name).await?;
            if !self.put(name, content).await? {
                return Err(self.other_plan());
            }
        }
        Ok(())
    }

    pub(crate) async fn put_json<T: Serialize + ?Sized>(
        &self,
        name: &str,
        value: &T,
    ) -> Result<bool> {
        self.put(name, &json(value)?).await
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let content = self.get(name).await?;
        content.map(|json| self.parsed(name, &json)).transpose()
    }

    fn parsed<T: DeserializeOwned>(&self, name: &str, json: &[u8]) -> Result<T> {
        let unreadable = |error| self.store.damaged(name, "it cannot be read").because(error);
        serde_json::from_slice(json).map_err(unreadable)
    }
}

/// Read before anything else of a header, which another version may have changed.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::new(Kind::Permanent, "cannot be written as JSON").because(error))
}
