//! Each half of the checks where no process reaches both servers: the source's writes what it found
//! into the spool, and the target's holds that against its own server.

use std::sync::Arc;
use std::time::Instant;

use pghaul_extract::{PgSource, SourceFacts};
use pghaul_relay::Progress;
use pghaul_spool::{Examined, Spool};
use pghaul_stage::{Catalog, Check, Error, Kind, Observer, Result, Side, Source, Verdict};
use serde_json::Value;

use super::{Findings, Scope, complete, measure, relayed, show};
use crate::Outcome;
use crate::agent::host;
use crate::args::Form;
use crate::spool::Place;

/// What a half of the checks works with.
pub(crate) struct Half<'a> {
    /// The server of this side, and what is to be checked of it.
    pub(crate) scope: Scope<'a>,
    /// Where the spool is, which may be at a runtime server.
    pub(crate) place: &'a Place,
    /// How findings are told.
    pub(crate) form: Form,
}

impl Half<'_> {
    /// Checks the source, and writes down what the target's half needs.
    pub(crate) async fn source(
        self,
        spool: &Spool,
        config: pghaul_extract::Config,
        secrets: bool,
    ) -> Result<Outcome> {
        let began = Instant::now();
        show::begin(self.form, None);
        let mut found = self.scope.check().await?;
        let catalog = match (self.scope.source, found.is_in_vain()) {
            (Some(info), false) => {
                let observer: Arc<dyn Observer> = Arc::new(Progress::new());
                let source = PgSource::open(info.clone(), config, observer).await?;
                let catalog = source.catalog().await;
                source.close().await?;
                Some(catalog?)
            }
            _ => None,
        };
        let catalog = catalog.map(|catalog| without_rows(catalog, secrets));
        let examined = Examined {
            facts: serde_json::to_value(&found.facts).map_err(unwritten)?,
            catalog: catalog.transpose()?,
        };
        if let Some(time) = self.scope.measure.filter(|_| examined.catalog.is_some()) {
            found
                .findings
                .extend(measure::source(&self.scope, time).await);
            let sending = relayed::check(self.place, Side::Source, time);
            found.findings.extend(sending.await?);
        }
        spool.put_examined(&examined, secrets).await?;
        Ok(self.tell(found, began))
    }

    /// Checks the target, and how what was found of the source fits to it.
    pub(crate) async fn target(self, examined: Examined) -> Result<Outcome> {
        let began = Instant::now();
        show::begin(self.form, None);
        let facts: Option<SourceFacts> = match examined.facts {
            Value::Null => None,
            facts => Some(serde_json::from_value(facts).map_err(unreadable)?),
        };
        let scope = Scope {
            facts: facts.as_ref(),
            ..self.scope
        };
        let mut found = scope.check().await?;
        let target = scope.target.filter(|_| !found.is_in_vain());
        if let (Some(target), Some(catalog)) = (target, examined.catalog) {
            let more = complete::foreseen(&scope, target, catalog);
            found.findings.extend(more.await?);
        }
        if let (Some(target), Some(time)) = (target, scope.measure) {
            let measured = measure::target(target, scope.jobs, time);
            found.findings.extend(measured.await);
            let receiving = relayed::check(self.place, Side::Target, time);
            found.findings.extend(receiving.await?);
        }
        Ok(self.tell(found, began))
    }

    /// Tells what was found. Two hosts do the work, so what is about one of them names it.
    fn tell(&self, mut found: Findings, began: Instant) -> Outcome {
        for finding in &mut found.findings {
            if matches!(finding.check(), Check::Host | Check::PgDump) {
                *finding = finding.clone().on([format!("host {}", host::name())]);
            }
        }
        found.sort();
        found.elapsed = began.elapsed();
        show::all(self.form, &found, None);
        match found.count(Verdict::Failed) {
            0 => Outcome::Done,
            _ => Outcome::Invalid,
        }
    }
}

/// The catalog without planner statistics, of which no check asks, and without secrets unless they
/// may be stored.
fn without_rows(catalog: Catalog, secrets: bool) -> Result<Catalog> {
    let archive = match secrets {
        true => catalog.archive,
        false => pghaul_load::withhold(&catalog.archive)?,
    };
    Ok(Catalog {
        archive,
        statistics: Default::default(),
        ..catalog
    })
}

fn unwritten(error: serde_json::Error) -> Error {
    Error::new(Kind::Permanent, "the facts cannot be written").because(error)
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::new(
        Kind::Identity,
        "what was found of the source cannot be read",
    )
    .because(error)
    .remedy("run the same version of pghaul at both sides")
}
