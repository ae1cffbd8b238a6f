//! How a migration begins: anew, over what is there, or where an earlier run stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use pghaul_extract::{Changed, PgSource, Probe, Settled, probe};
use pghaul_load::{Occupied, PgTarget, Saved, State, inspect};
use pghaul_stage::{
    Catalog, Error, Event, Kind, PartId, Plan, Result, Selection, Severity, Side, Source, Step,
    TableId,
};

use crate::existing;
use crate::migrate::{Ends, Request, Rows};

/// How many names an error lists.
const NAMES: usize = 5;

/// What is done about the target database when a migration begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Database {
    /// It is used as it is.
    Kept,
    /// It is created.
    Absent,
    /// It is dropped, then created.
    Replaced,
}

impl Request<'_> {
    /// Opens both ends; `None` if the migration was complete already.
    pub(crate) async fn start(&self) -> Result<Option<Ends>> {
        let source = probe(&self.source, Side::Source).await?;
        let (state, version) = self.look_at_target(&source).await?;
        self.judge(&state)?;
        self.validate(&state).await?;
        match state {
            State::Migration(saved) if self.args.resume => {
                self.resume(*saved, &source, version).await
            }
            State::Absent => self.begin(version, Database::Absent).await.map(Some),
            State::Occupied(_) if !self.selection.has_schema() => {
                self.begin(version, Database::Kept).await.map(Some)
            }
            State::Empty => self.begin(version, Database::Kept).await.map(Some),
            _ => self.begin(version, Database::Replaced).await.map(Some),
        }
    }

    /// Fails where [`Request::start`] would before it changes anything.
    pub(crate) async fn check(&self) -> Result<()> {
        let source = probe(&self.source, Side::Source).await?;
        let (state, _) = self.look_at_target(&source).await?;
        self.judge(&state)?;
        self.validate(&state).await
    }

    /// Refuses a target with something in it that nobody has said what to do with.
    fn judge(&self, state: &State) -> Result<()> {
        let needs_schema = !self.selection.has_schema();
        match state {
            State::Migration(_) if self.args.resume => Ok(()),
            State::Absent if needs_schema => Err(self.absent()),
            State::Occupied(_) if needs_schema => Ok(()),
            State::Migration(saved) if !self.args.overwrite => Err(self.unfinished(saved)),
            State::Occupied(occupied) if !self.args.overwrite => Err(self.occupied(occupied)),
            _ => Ok(()),
        }
    }

    /// What the target holds, and its server's version; refuses what cannot be a target.
    async fn look_at_target(&self, source: &Probe) -> Result<(State, u32)> {
        let state = inspect(&self.target).await?;
        let version = match &state {
            State::Absent => pghaul_load::server_version(&self.target).await?,
            _ => {
                let target = probe(&self.target, Side::Target).await?;
                if target.same_database(source) {
                    return Err(Error::input("source and target are the same database")
                        .remedy("name another server or another database as the target"));
                }
                target.version
            }
        };
        if version / 10_000 < source.version / 10_000 {
            return Err(Error::input(format!(
                "the target is PostgreSQL {}, older than the source's {}",
                version / 10_000,
                source.version / 10_000
            ))
            .at(Side::Target)
            .remedy("migrate to the same or a newer major version"));
        }
        Ok((state, version))
    }

    /// Checks both ends, unless the user said not to, or it was done when the migration began.
    async fn validate(&self, state: &State) -> Result<()> {
        let resumes = self.args.resume && matches!(state, State::Migration(_));
        if self.args.skip_validation || self.validated || resumes {
            return Ok(());
        }
        let scope = crate::validate::Scope {
            source: &self.source,
            target: &self.target,
            // One of several is compared while others are still being copied.
            jobs: match self.database {
                Some(_) if self.args.verify => 2 * self.jobs,
                _ => self.jobs,
            },
            index_jobs: self.load_config().index_jobs,
            overwrite: self.args.overwrite,
            tablespace_map: &self.args.tablespace_map,
            database: self.database,
            databases: self.shared.databases,
            strict: self.args.strict,
            selection: &self.selection,
        };
        scope.require(self.args.output.output).await
    }

    async fn begin(&self, target_version: u32, database: Database) -> Result<Ends> {
        if self.args.resume {
            self.note("the target holds no migration to resume; starting from the beginning");
        }
        let source = self.open_source(target_version, &self.selection).await?;
        let mut catalog = source.catalog().await?;
        catalog.tablespace_map = self.args.tablespace_map.iter().cloned().collect();
        let plan = source.plan().await?;
        if self.selection.has_schema() {
            pghaul_load::check_tablespaces(&self.target, &catalog).await?;
            self.foresee(&catalog, database != Database::Kept).await?;
        } else {
            existing::check(&self.target, &source, &catalog, &plan).await?;
        }
        if database == Database::Replaced {
            self.warn(&format!(
                "dropping the target database {} with everything in it, as --overwrite asks",
                self.target.dbname()
            ));
            let _turn = self.shared.cluster.databases().await;
            pghaul_load::drop_database(&self.target).await?;
        }
        if database != Database::Kept {
            let tablespace = catalog.database_tablespace();
            let create = async {
                let _turn = self.shared.cluster.databases().await;
                pghaul_load::create(&self.target, &catalog.database, tablespace).await
            };
            if let Err(error) = self.step(Step::Database, create).await {
                // The server may just have finished what a run that was killed had asked for.
                let exists = matches!(error.code(), Some("42P04" | "23505"));
                if !exists || !matches!(inspect(&self.target).await?, State::Empty) {
                    return Err(error);
                }
            }
        }
        let target = PgTarget::fresh(
            self.target.clone(),
            self.load_config(),
            Arc::clone(&self.observer),
        )?
        .in_cluster(Arc::clone(&self.shared.cluster));
        Ok(Ends {
            source: Rows::Open(source),
            target: Arc::new(target),
            catalog,
            plan,
        })
    }

    /// Refuses what cannot work on the target, and with --strict whatever would be lost.
    async fn foresee(&self, catalog: &Catalog, anew: bool) -> Result<()> {
        let foreseen = pghaul_load::foresee(&self.target, catalog, anew).await?;
        if !foreseen.blocked.is_empty() {
            return Err(Error::new(
                Kind::Permanent,
                format!(
                    "these tables need what only a superuser can create on the target: {}",
                    foreseen.blocked.join(", ")
                ),
            )
            .at(Side::Target)
            .remedy("connect to the target as a superuser"));
        }
        if !self.args.strict {
            return Ok(());
        }
        for omission in &foreseen.omissions {
            self.observer.observe(&Event::Omitted(omission));
        }
        self.lossless()
    }

    /// With --strict: fails if anything was not carried over, or will not be.
    pub(crate) fn lossless(&self) -> Result<()> {
        let omissions = self.progress.omissions();
        if !self.args.strict || omissions.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = omissions.iter().map(|one| one.object.as_str()).collect();
        let more = names.len().saturating_sub(NAMES);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let named = names.get(..NAMES.min(names.len())).unwrap_or_default();
        Err(Error::new(
            Kind::Permanent,
            format!(
                "{} things are not carried over, which --strict forbids: {}{more}",
                names.len(),
                named.join(", ")
            ),
        )
        .at(Side::Target)
        .remedy("migrate without --strict; the report has the statements that make up for them"))
    }

    async fn resume(&self, mut saved: Saved, source: &Probe, version: u32) -> Result<Option<Ends>> {
        if saved.complete {
            return Ok(None);
        }
        same_source(&saved, source)?;
        let map: BTreeMap<_, _> = self.args.tablespace_map.iter().cloned().collect();
        if !map.is_empty() && map != saved.catalog.tablespace_map {
            return Err(Error::input(
                "the migration began with another --tablespace-map, and goes on with that one",
            )
            .remedy("leave the flag out, or start again with --overwrite"));
        }
        self.same_selection(&saved)?;
        let target = PgTarget::resume(
            self.target.clone(),
            self.load_config(),
            Arc::clone(&self.observer),
            &saved,
        )
        .await?
        .in_cluster(Arc::clone(&self.shared.cluster));
        let unfinished = saved
            .plan
            .parts
            .iter()
            .any(|part| !saved.durable.contains_key(&part.id));
        // Without parts, not even the first half of the schema need be there.
        let rows = if unfinished || saved.plan.parts.is_empty() {
            let source = self.open_source(version, &saved.catalog.selection).await?;
            self.reconcile(&source, &target, &mut saved).await?;
            Rows::Open(source)
        } else {
            self.note("every row is on the target already; the source's tables are not read again");
            let settled = Settled::new(&self.source, saved.catalog.clone(), saved.plan.clone());
            Rows::Settled(Arc::new(settled))
        };
        let Saved { catalog, plan, .. } = saved;
        Ok(Some(Ends {
            source: rows,
            target: Arc::new(target),
            catalog,
            plan,
        }))
    }

    /// The recorded selection counts: flags may repeat it, or say nothing.
    fn same_selection(&self, saved: &Saved) -> Result<()> {
        let recorded = &saved.catalog.selection;
        if self.selection == *recorded || self.selection == Selection::default() {
            return Ok(());
        }
        let map = &self.selection.role_map;
        if !map.is_empty() && *map != recorded.role_map {
            return Err(Error::input(format!(
                "the migration began with {}, and goes on with that",
                role_map(&recorded.role_map)
            ))
            .at(Side::Target)
            .on(format!("database {}", self.target.dbname()))
            .remedy("leave --role-map out, or start again with --overwrite"));
        }
        Err(Error::input(
            "this is not the selection that the migration began with",
        )
        .at(Side::Target)
        .on(format!("database {}", self.target.dbname()))
        .remedy(
            "leave the flags of selection out, which goes on with the recorded one, or start \
             again with --overwrite",
        ))
    }

    /// Makes sure that parts read under a new snapshot and those that are durable are one
    /// consistent state, or, if the user allowed it, makes it so.
    async fn reconcile(
        &self,
        source: &PgSource,
        target: &PgTarget,
        saved: &mut Saved,
    ) -> Result<()> {
        let schema = source.schema_changes(&saved.catalog).await?;
        if !schema.is_empty() {
            return Err(
                changed("the source's tables are not what they were", &schema)
                    .remedy("start again with --overwrite"),
            );
        }
        let durable: Vec<(PartId, u64)> = saved
            .durable
            .iter()
            .map(|(part, done)| (*part, done.rows))
            .collect();
        let rows = source
            .changed_since(&saved.plan, &saved.catalog, &durable)
            .await?;
        if !rows.is_empty() && !saved.catalog.selection.has_schema() {
            return Err(changed(
                "the snapshot is gone, and the source has changed since in what was copied",
                &rows,
            )
            .remedy(
                "remove the record of the migration with `pghaul cleanup`, and start again with \
                 --data-only --truncate",
            ));
        }
        if !rows.is_empty() && !self.args.allow_new_snapshot {
            return Err(changed(
                "the snapshot is gone, and the source has changed since in what was copied",
                &rows,
            )
            .remedy(
                "run `pghaul migrate --resume --allow-new-snapshot` to copy the changed and the \
                 unfinished tables again, or start again with --overwrite",
            ));
        }
        let tables: Vec<TableId> = rows.iter().filter_map(|row| row.table.clone()).collect();
        let large_objects = rows.iter().any(|row| row.table.is_none());
        if !rows.is_empty() {
            self.warn(&format!(
                "a new snapshot is used; these changed since and are copied again: {}",
                list(&rows)
            ));
        }
        // The schema stays the archived one, whose entries are partly done. Sizes and file
        // numbers are the new snapshot's, and so are roles and other secrets, which are not stored.
        let (catalog, plan) = (source.catalog().await?, source.plan().await?);
        saved.catalog.tables = catalog.tables;
        saved.catalog.roles = catalog.roles;
        saved.catalog.statistics = catalog.statistics;
        saved.catalog.archive = pghaul_load::reveal(&saved.catalog.archive, &catalog.archive)?;
        saved.plan = Plan {
            parts: std::mem::take(&mut saved.plan.parts),
            ..plan
        };
        target
            .forget(&tables, large_objects, &saved.plan, &saved.catalog)
            .await
    }

    async fn open_source(
        &self,
        target_version: u32,
        selection: &Selection,
    ) -> Result<Arc<PgSource>> {
        let config = self.extract_config(target_version, selection);
        let open = PgSource::open(self.source.clone(), config, Arc::clone(&self.observer));
        open.await.map(Arc::new)
    }

    /// Reports a step that happens once.
    async fn step<T>(&self, step: Step, work: impl Future<Output = Result<T>>) -> Result<T> {
        let began = std::time::Instant::now();
        self.observer.observe(&Event::StepStarted {
            step,
            subject: "",
            table: None,
        });
        let done = work.await?;
        let elapsed = began.elapsed();
        self.observer.observe(&Event::StepDone {
            step,
            subject: "",
            table: None,
            elapsed,
        });
        Ok(done)
    }

    fn warn(&self, message: &str) {
        self.observer.observe(&Event::Notice {
            severity: Severity::Warning,
            message,
        });
    }

    fn absent(&self) -> Error {
        Error::input("it does not exist, and --data-only needs one with the schema in it")
            .at(Side::Target)
            .on(format!("database {}", self.target.dbname()))
            .remedy("create it with the schema first, for example with --schema-only")
    }

    fn occupied(&self, occupied: &Occupied) -> Error {
        let more = occupied.count.saturating_sub(occupied.sample.len() as u64);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        Error::input(format!(
            "it already holds objects: {}{more}",
            occupied.sample.join(", ")
        ))
        .at(Side::Target)
        .on(format!("database {}", self.target.dbname()))
        .remedy("name an empty or absent database, or let --overwrite drop this one")
    }

    fn unfinished(&self, saved: &Saved) -> Error {
        let remedy = if !self.selection.has_schema() {
            "go on with --resume if it is unfinished, or remove its record with `pghaul cleanup`"
        } else if saved.complete {
            "it is complete; `pghaul verify` compares both sides, and --overwrite would start again"
        } else {
            "go on with --resume, or start again with --overwrite"
        };
        Error::input(format!(
            "it holds the migration that began at {}",
            saved.created_at
        ))
        .at(Side::Target)
        .on(format!("database {}", self.target.dbname()))
        .remedy(remedy)
    }
}

fn same_source(saved: &Saved, source: &Probe) -> Result<()> {
    let before = &saved.catalog;
    let same_system = match (before.server.system, source.system) {
        (0, _) | (_, None) => true,
        (before, Some(now)) => before == now,
    };
    if same_system && before.database.oid == source.database_oid {
        return Ok(());
    }
    Err(Error::new(
        Kind::Identity,
        format!(
            "this is not the database the migration began with: expected {} (oid {}) of system \
             {}, found {} (oid {}) of system {}",
            before.database.name,
            before.database.oid,
            before.server.system,
            source.database,
            source.database_oid,
            source.system.unwrap_or(0)
        ),
    )
    .at(Side::Source)
    .remedy("name the original source, or start again with --overwrite"))
}

/// The flags that say it.
fn role_map(map: &BTreeMap<String, String>) -> String {
    if map.is_empty() {
        return "no --role-map".to_owned();
    }
    let flags = map.iter();
    let flags: Vec<String> = flags
        .map(|(old, new)| format!("--role-map {:?}", format!("{old}={new}")))
        .collect();
    flags.join(" ")
}

fn changed(message: &str, what: &[Changed]) -> Error {
    Error::new(Kind::Identity, format!("{message}: {}", list(what))).at(Side::Source)
}

fn list(what: &[Changed]) -> String {
    let mut names: Vec<String> = what
        .iter()
        .take(NAMES)
        .map(|one| match &one.table {
            Some(table) => format!("{table}: {}", one.why),
            None => format!("large objects: {}", one.why),
        })
        .collect();
    if what.len() > NAMES {
        names.push(format!("and {} more", what.len() - NAMES));
    }
    names.join("; ")
}
