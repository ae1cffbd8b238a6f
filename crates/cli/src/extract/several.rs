//! `pghaul extract` of several databases: one after the other, each into a spool of its own, below a
//! place that lists them.

use std::collections::BTreeSet;
use std::sync::Arc;

use pghaul_relay::Pace;
use pghaul_spool::{Role, Spool, Worker};
use pghaul_stage::{Error, Result, Side};
use pghaul_wire::Conninfo;

use super::Extraction;
use crate::Outcome;
use crate::args::{Extract, Form};
use crate::databases::{Chosen, One, Row, Several, State};
use crate::report;

/// What is done to each.
const DONE: &str = "extracted";

/// What the extractions have in common.
struct Run<'a> {
    args: &'a Extract,
    source: Conninfo,
    pace: Pace,
    several: Several<'a>,
}

/// Whether an extraction of several databases was begun that is to be gone on with.
pub(super) async fn are_there(args: &Extract) -> Result<bool> {
    if !args.resume && !args.help_others {
        return Ok(false);
    }
    let found = args.place.find().await?;
    Ok(found.is_some_and(|spool| spool.header().several))
}

/// Runs the command.
pub(super) fn run(args: &Extract, several: Several<'_>) -> Result<Outcome> {
    if args.help_others {
        return Err(Error::input("others can help with one database only").remedy(
            "name the place of its spool, which `pghaul spool ls` shows, and the database in the \
             connection string",
        ));
    }
    let run = Run {
        args,
        source: args.connections()?,
        pace: args.copying.pace(),
        several,
    };
    let several = &run.several;
    let listen = |dir: &crate::run_dir::RunDir| dir.listen(&several.cancel, &run.pace);
    several.run_dir.map_or(Ok(()), listen)?;
    let (list, names) = several.until(run.list())?;
    // By it a load knows that the spools which are not there yet are to come.
    let worker = several.until(Worker::enter(list, Role::Extract))?;
    let mut rows: Vec<Row> = names.into_iter().map(Row::new).collect();
    let mut beside = Vec::new();
    for (row, number) in rows.iter_mut().zip(1..) {
        if several.cancel.is_cancelled() {
            break;
        }
        several.work(row, |one| run.database(one, number, &mut beside));
    }
    several.handle.block_on(worker.leave());
    let form = several.form;
    let outcome = run.several.end(&rows, DONE)?;
    if (form, outcome) == (Form::Text, Outcome::Done) {
        report::print_next(&args.place.spool);
    }
    Ok(outcome)
}

impl Run<'_> {
    /// The list of the databases, written down before the first of them is read.
    async fn list(&self) -> Result<(Arc<Spool>, Vec<String>)> {
        let (args, place) = (self.args, &self.args.place);
        let found = match args.resume {
            true => place.find().await?,
            false => None,
        };
        let listed = match &found {
            Some(spool) if spool.header().several => spool.databases().await?,
            Some(spool) => {
                return Err(Error::input("it is the spool of one database")
                    .at(Side::Link)
                    .on(spool.place().to_owned())
                    .remedy("leave out which databases, or extract into another place"));
            }
            None => None,
        };
        let chosen = match &listed {
            Some(_) if !args.databases.are_several() => None,
            _ => Some(args.databases.choose(&self.source, Side::Source).await?),
        };
        let chosen = match (listed, chosen) {
            (Some(names), Some(chosen)) => {
                let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
                if set(&names) != set(&chosen.names) {
                    return Err(Error::input(
                        "these are not the databases that the extraction began with",
                    )
                    .at(Side::Link)
                    .on(place.spool.clone())
                    .remedy("leave out which databases, or extract into another place"));
                }
                Chosen::again(names)
            }
            (Some(names), None) => Chosen::again(names),
            (None, chosen) => chosen.ok_or_else(|| Error::input("no database is named"))?,
        };
        chosen.tell(&self.several.screen, args.output.output);
        let spool = match found {
            Some(spool) => spool,
            None => {
                let (store, key) = (place.store(true)?, place.key()?);
                let encoding = args.spool_encoding.into();
                Arc::new(Spool::create_several(store, encoding, key).await?)
            }
        };
        spool.put_databases(&chosen.names).await?;
        Ok((spool, chosen.names))
    }

    /// Extracts one. Its spool joins those `beside` which the next one must share the room with.
    fn database(
        &self,
        one: &One<'_>,
        number: usize,
        beside: &mut Vec<Arc<Spool>>,
    ) -> Result<State> {
        let args = self.args;
        let extraction = Extraction {
            args,
            place: args.place.of_database(number),
            database: Some(one.name),
            beside: beside.clone(),
            source: self.source.with_dbname(one.name),
            jobs: args.copying.jobs(),
            pace: self.pace.clone(),
            selection: args.leaving.apply(args.selecting.selection()),
            observer: Arc::clone(&one.observer),
        };
        let several = &self.several;
        let Some(spool) = several.until(extraction.spool())? else {
            beside.extend(several.until(extraction.place.find())?);
            return Ok(State::Complete);
        };
        beside.push(Arc::clone(&spool));
        let summary = extraction.extract(&spool, &several.handle, &several.cancel)?;
        several.screen.report(|| {
            let (database, took) = (Some(one.name), one.elapsed());
            report::print_extraction(
                several.form,
                database,
                &one.progress,
                &summary,
                &spool,
                took,
            );
        });
        Ok(State::Done(DONE))
    }
}
