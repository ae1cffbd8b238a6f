//! Restores the schema: roles and what rows need before them, everything else after them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use pghaul_stage::{
    Catalog, Event, Observer, Omission, ParameterGrant, Part, Plan, Result, SequenceValue, Step,
    TableId, Tables,
};
use tokio::sync::OnceCell;

use crate::admission::Admission;
use crate::agenda::Agenda;
use crate::apply::Apply;
use crate::archive::Archive;
use crate::build::Ground;
use crate::child_constraint;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::entry::{self, Unit};
use crate::exclusion;
use crate::foresight::{self, Foresight};
use crate::ledger::Ledger;
use crate::parameter;
use crate::post_data::{PostData, Rows};
use crate::present::{Families, Present};
use crate::role::Roles;
use crate::secret;
use crate::selection;
use crate::sequence;
use crate::statistics::Statistics;
use crate::supplement;
use crate::tablespace;

/// How many entries have their statements in memory at a time.
const AT_ONCE: usize = 1000;

/// The restoring of one schema archive into one database.
pub(crate) struct Restore {
    archive: Arc<Archive>,
    agenda: Arc<Agenda>,
    statistics: Arc<Statistics>,
    roles: Roles,
    parameter_grants: Vec<ParameterGrant>,
    tablespace_map: BTreeMap<String, String>,
    extensions: BTreeMap<String, String>,
    /// What the source does not show.
    hidden: Vec<Omission>,
    catalog: Catalog,
    ledger: Arc<Ledger>,
    observer: Arc<dyn Observer>,
    post_data: PostData,
    /// How many tables still wait for rows.
    awaited: AtomicUsize,
    /// What the target has, once the pre-data stands.
    ground: OnceCell<Arc<Ground>>,
}

/// The schema's archive, as it is restored.
///
/// # Errors
///
/// Kind input if the catalog's archive cannot be read.
pub(crate) fn read(catalog: &Catalog) -> Result<Archive> {
    let mut archive = if catalog.archive.is_empty() {
        Archive::default()
    } else {
        Archive::parse(catalog.archive.clone())?
    };
    exclusion::unite(&mut archive)?;
    selection::choose(&mut archive, catalog)?;
    Ok(archive)
}

impl Restore {
    /// Reads the archive and sorts its entries; sends nothing.
    ///
    /// # Errors
    ///
    /// Kind input if the catalog's archive cannot be read.
    pub(crate) fn new(
        config: &Config,
        ledger: Arc<Ledger>,
        catalog: Catalog,
        plan: &Plan,
        observer: Arc<dyn Observer>,
        cluster: Arc<Cluster>,
    ) -> Result<Restore> {
        let archive = read(&catalog)?;
        let statistics = Statistics::new(&catalog, &archive);
        let slices = plan.parts.iter().flat_map(Part::slices);
        let awaited: HashSet<&TableId> = slices.map(|slice| &slice.table).collect();
        let post_data = PostData::new(Arc::clone(&ledger), Arc::clone(&observer), config, cluster);
        Ok(Restore {
            agenda: Arc::new(Agenda::new(&archive, &catalog)),
            hidden: foresight::hidden(&archive, &catalog),
            archive: Arc::new(archive),
            statistics: Arc::new(statistics),
            roles: Roles::of(&catalog),
            parameter_grants: catalog.parameter_grants.clone(),
            tablespace_map: catalog.tablespace_map.clone(),
            extensions: catalog
                .extensions
                .iter()
                .map(|extension| (extension.name.clone(), extension.version.clone()))
                .collect(),
            catalog: Catalog {
                archive: Default::default(),
                statistics: Default::default(),
                tables: Tables::default(),
                indexes: Vec::new(),
                types: BTreeMap::new(),
                sequences: Vec::new(),
                ..catalog
            },
            ledger,
            observer,
            post_data,
            awaited: AtomicUsize::new(awaited.len()),
            ground: OnceCell::new(),
        })
    }

    /// Creates the roles that the target does not have. Harmless when done before.
    pub(crate) async fn roles(&self) -> Result<()> {
        let begun = self.begin(Step::Roles);
        self.roles
            .create(&self.ledger, self.observer.as_ref())
            .await?;
        if !self.parameter_grants.is_empty() {
            let client = self.ledger.session().await?;
            parameter::grant(&client, &self.parameter_grants, self.observer.as_ref()).await?;
        }
        self.end(Step::Roles, begun);
        Ok(())
    }

    /// Restores what rows need. Harmless when done before.
    pub(crate) async fn pre_data(&self) -> Result<()> {
        let begun = self.begin(Step::PreData);
        let ground = self.survey().await?;
        for omission in ground.omissions().iter().chain(&self.hidden) {
            self.observer.observe(&Event::Omitted(omission));
        }
        let client = self.ledger.session().await?;
        for omission in tablespace::differences(&client, &self.catalog, &self.archive).await? {
            self.observer.observe(&Event::Omitted(&omission));
        }
        let (ledger, observer) = (Arc::clone(&self.ledger), Arc::clone(&self.observer));
        self.tell_of_secrets(&ground);
        selection::tell(&self.catalog, &*self.observer);
        let entry = |at: &u32| self.archive.entry(*at);
        let (schemas, others): (Vec<u32>, Vec<u32>) = self
            .agenda
            .pre_data
            .iter()
            .partition(|at| entry(at).is_some_and(|entry| entry.desc == "SCHEMA"));
        let mut units = ground.pending(ground.admission.open());
        units.extend(ground.units(&schemas));
        units.extend(ground.pending(selection::ground(&self.catalog, &ground.present)));
        let mut session = Apply::new(ledger, observer, String::new());
        let mut run = async |units: Vec<Unit>| {
            let done = session.run(&units).await;
            done.map_err(|error| self.explain(error))
        };
        run(units).await?;
        for some in others.chunks(AT_ONCE) {
            run(ground.units(some)).await?;
        }
        let (supplements, power) = (&self.catalog.supplements, &ground.present.power);
        run(ground.pending(supplement::units(supplements, power, true))).await?;
        self.end(Step::PreData, begun);
        Ok(())
    }

    /// Adds what to do if something is missing because it was not selected.
    fn explain(&self, error: pghaul_stage::Error) -> pghaul_stage::Error {
        let missing = error
            .code()
            .is_some_and(|code| entry::MISSING.contains(&code));
        if self.catalog.selection.is_partial() && missing {
            return error.remedy("select what it needs as well, or exclude it");
        }
        error
    }

    /// Says what will be restored without its secrets, because they are at hand no more.
    fn tell_of_secrets(&self, ground: &Ground) {
        for entry in self.archive.entries() {
            let Some(names) = secret::withheld(&entry.definition) else {
                continue;
            };
            if !ground.done.contains(&format!("entry {}", entry.id)) {
                let omission = Omission::new(
                    format!("{names} of {}", entry.subject()),
                    "the source has it no more, or cannot be asked, and secrets are stored neither in \
                     the record of a migration nor, unless asked for, in a spool",
                );
                self.observer.observe(&Event::Omitted(&omission));
            }
        }
    }

    /// Starts the indexes and constraints of tables whose rows are durable, in the background.
    ///
    /// # Errors
    ///
    /// If something that was started earlier has failed.
    pub(crate) async fn tables_loaded(&self, tables: &[TableId]) -> Result<()> {
        let ground = self.ground().await?;
        let others = |awaited: usize| Some(awaited.saturating_sub(tables.len()));
        let before = self.awaited.fetch_update(Relaxed, Relaxed, others);
        let rows = match before.ok().and_then(others) {
            Some(0) => Rows::Over,
            _ => Rows::Coming,
        };
        self.post_data.add(rows, |build| build.load(ground, tables))
    }

    /// Waits for what was started, then restores the rest.
    pub(crate) async fn complete(&self, sequences: &[SequenceValue]) -> Result<()> {
        let ground = self.ground().await?;
        self.post_data.add(Rows::Left, |build| {
            build.load(ground, self.agenda.tables.names());
        })?;
        self.post_data.wait().await?;

        let mut session = self.post_data.session();
        let begun = self.begin(Step::PostData);
        self.entries(&mut session, &self.agenda.rest).await?;
        self.post_data.add(Rows::Left, |build| {
            build.connect(ground, &self.agenda.late_foreign_keys)
        })?;
        self.post_data.wait().await?;
        self.entries(&mut session, &self.agenda.after_foreign_keys)
            .await?;
        let checks = ground.pending(child_constraint::units(&self.catalog.child_constraints));
        self.post_data.run(&mut session, &checks).await?;
        let (supplements, power) = (&self.catalog.supplements, &ground.present.power);
        for omission in supplement::omissions(supplements, power) {
            self.observer.observe(&Event::Omitted(&omission));
        }
        let supplements = ground.pending(supplement::units(supplements, power, false));
        self.post_data.run(&mut session, &supplements).await?;
        let close = ground.pending(ground.admission.close());
        self.post_data.run(&mut session, &close).await?;
        self.entries(&mut session, &self.agenda.privileges).await?;
        self.end(Step::PostData, begun);

        self.post_data.add(Rows::Left, |build| {
            build.refresh(ground);
            build.families(ground);
        })?;
        self.post_data.wait().await?;
        self.entries(&mut session, &self.agenda.last).await?;

        let begun = self.begin(Step::Sequences);
        for unit in sequence::units(sequences, self.ledger.epoch()) {
            self.post_data.run(&mut session, &[unit]).await?;
        }
        self.end(Step::Sequences, begun);
        Ok(())
    }

    /// Restores entries in order.
    async fn entries(&self, session: &mut Apply, positions: &[u32]) -> Result<()> {
        let ground = self.ground().await?;
        for some in positions.chunks(AT_ONCE) {
            self.post_data.run(session, &ground.units(some)).await?;
        }
        Ok(())
    }

    /// How many entries of each kind are on the target; what belongs to a table is left out.
    pub(crate) fn carried(&self) -> BTreeMap<String, u64> {
        let mut carried = BTreeMap::new();
        let Some(ground) = self.ground.get() else {
            return carried;
        };
        for (at, entry) in (0..).zip(self.archive.entries()) {
            let kind = match entry.desc.as_str() {
                "ENCODING"
                | "STDSTRINGS"
                | "SEARCHPATH"
                | "DATABASE"
                | "DATABASE PROPERTIES"
                | "TABLE DATA"
                | "SEQUENCE SET"
                | "SEQUENCE OWNED BY"
                | "TABLE ATTACH"
                | "INDEX ATTACH"
                | "MATERIALIZED VIEW DATA"
                | "STATISTICS DATA"
                | "DEFAULT" => {
                    continue;
                }
                "ACL" => "privileges".to_owned(),
                "DEFAULT ACL" => "default privileges".to_owned(),
                "FK CONSTRAINT" => "foreign key".to_owned(),
                desc => desc.to_lowercase(),
            };
            if !ground.foresight.omits(at) {
                *carried.entry(kind).or_default() += 1;
            }
        }
        carried
    }

    /// What the target has after the pre-data, asked once.
    async fn ground(&self) -> Result<&Arc<Ground>> {
        let survey = async || self.survey().await.map(Arc::new);
        self.ground.get_or_try_init(survey).await
    }

    async fn survey(&self) -> Result<Ground> {
        let client = self.ledger.session().await?;
        let mut present = Present {
            tablespace_map: self.tablespace_map.clone(),
            extensions: self.extensions.clone(),
            languages: self.catalog.languages.clone(),
            partial: self.catalog.selection.is_partial(),
            ..Present::read(&client).await?
        };
        present
            .ask_providers(&client, &self.catalog, &self.archive)
            .await?;
        Ok(Ground {
            archive: Arc::clone(&self.archive),
            agenda: Arc::clone(&self.agenda),
            statistics: Arc::clone(&self.statistics),
            foresight: Foresight::of(&self.archive, &present),
            admission: Admission::of(&self.archive, &present),
            present,
            collect: !self.catalog.selection.no_analyze && self.catalog.selection.has_rows(),
            families: Families::read(&client).await?,
            done: self.ledger.steps().await?,
        })
    }

    fn begin(&self, step: Step) -> Instant {
        self.observer.observe(&Event::StepStarted {
            step,
            subject: "",
            table: None,
        });
        Instant::now()
    }

    fn end(&self, step: Step, begun: Instant) {
        let elapsed = begun.elapsed();
        self.observer.observe(&Event::StepDone {
            step,
            subject: "",
            table: None,
            elapsed,
        });
    }
}
