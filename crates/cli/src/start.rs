//! How a migration begins: anew, over what is there, or where an earlier run stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use pghaul_extract::{Changed, PgSource, Probe, Settled, probe};
use pghaul_load::{PgTarget, Saved, State, inspect};
use pghaul_server::job::quoted;
use pghaul_stage::{Catalog, Error, Kind, PartId, Plan, Result, Selection, Side, Source, TableId};

use crate::destination::{Database, Destination, NAMES, Prepared, not_older};
use crate::existing;
use crate::migrate::{Ends, Request, Rows};
use crate::output::warn;

impl Request<'_> {
    /// Opens both ends; `None` if the migration was complete already.
    pub(crate) async fn start(&self) -> Result<Option<Ends>> {
        let source = probe(&self.source, Side::Source).await?;
        let (state, version) = self.look_at_target(&source).await?;
        self.destination().judge(&state)?;
        self.validate(&state).await?;
        match state {
            State::Migration(saved) if self.resume => self.resume(*saved, &source, version).await,
            state => {
                let database = self.destination().plan(&state);
                self.begin(version, database).await.map(Some)
            }
        }
    }

    /// Fails where [`Request::start`] would before it changes anything.
    pub(crate) async fn check(&self) -> Result<()> {
        let source = probe(&self.source, Side::Source).await?;
        let (state, _) = self.look_at_target(&source).await?;
        self.destination().judge(&state)?;
        self.validate(&state).await
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
        not_older(version, source.version)?;
        Ok((state, version))
    }

    /// Checks both ends, unless the user said not to, or it was done when the migration began.
    async fn validate(&self, state: &State) -> Result<()> {
        let resumes = self.resume && matches!(state, State::Migration(_));
        if self.args.copying.skip_validation || self.validated || resumes {
            return Ok(());
        }
        let scope = crate::validate::Scope {
            source: Some(&self.source),
            target: Some(&self.target),
            // One of several is compared while others are still being copied.
            jobs: match self.database {
                Some(_) if self.args.verify => 2 * self.jobs,
                _ => self.jobs,
            },
            index_jobs: self.load_config().index_jobs,
            overwrite: self.overwrite,
            tablespace_map: &self.args.tablespace_map,
            database: self.database,
            databases: self.shared.databases,
            strict: self.args.writing.strict,
            facts: None,
            selection: &self.selection,
            measure: None,
        };
        scope.require(self.args.output.output).await?;
        Ok(())
    }

    async fn begin(&self, target_version: u32, database: Database) -> Result<Ends> {
        if self.resume {
            self.note("the target holds no migration to resume; starting from the beginning");
        }
        let source = self.open_source(target_version, &self.selection).await?;
        let mut catalog = source.catalog().await?;
        catalog.tablespace_map = self.args.tablespace_map.iter().cloned().collect();
        let plan = source.plan().await?;
        let destination = self.destination();
        if self.selection.has_schema() {
            destination.foresee(&catalog, database).await?;
        } else {
            existing::check(&self.target, &source, &catalog, &plan).await?;
        }
        let target = destination.make(&catalog, database).await?;
        self.begun();
        Ok(Ends {
            source: Rows::Open(source),
            to: Prepared {
                target: Arc::new(target),
                catalog,
                plan,
            },
        })
    }

    async fn resume(&self, mut saved: Saved, source: &Probe, version: u32) -> Result<Option<Ends>> {
        if saved.complete {
            return Ok(None);
        }
        same_source(&saved.catalog, source)?;
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
            to: Prepared {
                target: Arc::new(target),
                catalog,
                plan,
            },
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
        if !rows.is_empty() && !self.allow_new_snapshot {
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

    /// Where it goes, and what may be done there.
    pub(crate) fn destination(&self) -> Destination<'_> {
        Destination {
            target: &self.target,
            selection: &self.selection,
            overwrite: self.overwrite,
            resume: self.resume,
            strict: self.args.writing.strict,
            config: self.load_config(),
            cluster: &self.shared.cluster,
            observer: &self.observer,
            progress: &self.progress,
        }
    }

    fn warn(&self, message: &str) {
        warn(&*self.observer, message);
    }
}

/// Refuses another source than the one that the catalog describes.
pub(crate) fn same_source(before: &Catalog, source: &Probe) -> Result<()> {
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
    let name = |name: &String| match name.contains('=') || name.starts_with('"') {
        true => quoted(name),
        false => name.clone(),
    };
    let flags = map.iter();
    let flags: Vec<String> = flags
        .map(|(old, new)| format!("--role-map {:?}", format!("{}={}", name(old), name(new))))
        .collect();
    flags.join(" ")
}

/// The error of a source that is not what it was.
pub(crate) fn changed(message: &str, what: &[Changed]) -> Error {
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
