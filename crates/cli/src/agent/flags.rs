//! What a command of an agent's user and the job of the server come to together: the flags of the
//! process that works on one database.

use std::ffi::OsString;
use std::path::Path;

use pghaul_server::agents::Task;
use pghaul_server::job::{Extent, Job, quoted};
use pghaul_server::spool::Side;
use pghaul_stage::{Error, Result, Selection};

use super::work::Work;
use crate::args::{Databases, Extract, Load, SpoolEncoding};
use crate::copying::CopyFormat;
use crate::spool::Place;

/// How long a load waits for the spool of its database: as long as it takes.
const EVER: &str = "315360000";

/// The command that was called as an agent.
#[derive(Clone, Copy)]
pub(crate) enum Half<'a> {
    /// The source's half.
    Extract(&'a Extract),
    /// The target's half.
    Load(&'a Load),
}

impl Half<'_> {
    pub(super) fn side(self) -> Side {
        match self {
            Half::Extract(_) => Side::Source,
            Half::Load(_) => Side::Target,
        }
    }

    /// Refuses what only the job can say.
    pub(super) fn fits(self) -> Result<()> {
        let said = match self {
            Half::Extract(args) => {
                args.help_others
                    || args.databases.are_several()
                    || args.leaving.apply(args.selecting.selection()) != Selection::default()
            }
            Half::Load(args) => {
                args.help_others
                    || args.overwrite
                    || args.selection(Selection::default()) != Selection::default()
                    || !args.tablespace_map.is_empty()
            }
        };
        if said {
            return Err(
                Error::input("an agent does what the migration of the server says").remedy(
                    "leave the flags out that say what to carry over, and say it in the job",
                ),
            );
        }
        // A wrong connection string is better told before there is work.
        match self {
            Half::Extract(args) => args.connections().map(drop),
            Half::Load(args) => args.connections().map(drop),
        }
    }

    /// The databases of the source's server.
    pub(super) async fn databases(self) -> Result<Vec<String>> {
        let Half::Extract(args) = self else {
            return Err(Error::input(
                "the source's side says which databases there are",
            ));
        };
        let all = Databases {
            databases: Vec::new(),
            all_databases: true,
            exclude_database: Vec::new(),
        };
        let source = args.connections()?;
        let chosen = all.choose(&source, pghaul_stage::Side::Source).await?;
        Ok(chosen.names)
    }
}

/// Flags that are being put together.
struct Flags(Vec<OsString>);

impl Flags {
    fn flag(&mut self, flag: &str, given: bool) {
        if given {
            self.0.push(flag.into());
        }
    }

    /// As one argument, so that no value is taken for a flag.
    fn value(&mut self, flag: &str, value: Option<impl Into<OsString>>) {
        if let Some(value) = value {
            let mut argument = OsString::from(format!("{flag}="));
            argument.push(value.into());
            self.0.push(argument);
        }
    }

    fn number(&mut self, flag: &str, number: Option<impl ToString>) {
        self.value(flag, number.map(|number| number.to_string()));
    }

    fn each<'v>(&mut self, flag: &str, values: impl IntoIterator<Item = &'v String>) {
        for value in values {
            self.value(flag, Some(value));
        }
    }

    fn pairs<'v>(&mut self, flag: &str, pairs: impl IntoIterator<Item = (&'v String, &'v String)>) {
        for (old, new) in pairs {
            self.value(flag, Some(format!("{}={}", quoted(old), quoted(new))));
        }
    }
}

impl Work<'_> {
    /// The flags of the process that works on a database; `begun` if there is something to resume.
    pub(super) fn flags(&self, database: &str, begun: bool, run: &Path) -> Vec<OsString> {
        let (agent, job) = (self.agent, &self.assignment.job);
        let mut flags = Flags(Vec::new());
        match agent.half {
            Half::Extract(args) => self.extract(&mut flags, args, job),
            Half::Load(args) => load(&mut flags, args, job, begun),
        }
        flags.flag("--validate-only", self.assignment.task == Task::Validate);
        let spool = agent.relay.database(database).to_string();
        flags.value("--run-dir", Some(run));
        flags.value("--database", Some(database));
        flags.value("--spool", Some(spool));
        place(&mut flags, agent.place);
        let seat = format!("{}/{}", self.seat.agent, self.seat.epoch);
        flags.value("--seat", Some(seat));
        flags.0
    }

    fn extract(&self, flags: &mut Flags, args: &Extract, job: &Job) {
        flags.0.push("extract".into());
        flags.flag("--resume", true);
        flags.value("--source", args.source.source.as_ref());
        let select = &job.selection;
        flags.each("--schema", &select.schemas);
        flags.each("--exclude-schema", &select.exclude_schemas);
        flags.each("--table", &select.tables);
        flags.each("--exclude-table", &select.exclude_tables);
        flags.each("--exclude-table-data", &select.exclude_table_data);
        flags.flag("--schema-only", select.schema_only);
        flags.flag("--no-owner", job.no_owner);
        flags.flag("--no-acl", job.no_acl);
        flags.flag("--no-tablespaces", job.no_tablespaces);
        flags.flag("--no-roles", !job.roles);
        flags.flag("--no-role-passwords", !job.role_passwords);
        flags.pairs("--role-map", &job.role_map);
        // They are stored encrypted or not at all.
        let sealed = args.place.encrypt_key_file.is_some();
        flags.flag("--role-passwords", job.role_passwords && sealed);
        flags.value(
            "--spool-encoding",
            Some(match args.spool_encoding {
                SpoolEncoding::Typed => "typed",
                SpoolEncoding::Copy => "copy",
            }),
        );
        flags.number("--compression-level", Some(args.compression_level));
        let limit = [args.spool_limit, self.assignment.spool_limit]
            .into_iter()
            .flatten()
            .min();
        flags.number("--spool-limit", limit);
        flags.flag("--no-checksums", args.no_checksums || !job.verify);
        flags.value(
            "--copy-format",
            Some(match args.reading.copy_format {
                CopyFormat::Auto => "auto",
                CopyFormat::Binary => "binary",
                CopyFormat::Text => "text",
            }),
        );
        flags.number("--target-version", args.target_version);
        flags.number("--split-larger-than", args.reading.split_larger_than);
        flags.number("--jobs", args.copying.jobs.or(job.jobs));
        flags.number("--rate-limit", rate(args.copying.rate_limit, job));
        flags.flag(
            "--skip-validation",
            skips(args.copying.skip_validation, job),
        );
    }
}

fn load(flags: &mut Flags, args: &Load, job: &Job, begun: bool) {
    flags.0.push("load".into());
    let anew = job.overwrite && !begun;
    flags.flag("--overwrite", anew);
    flags.flag("--resume", !anew);
    flags.value("--wait", Some(EVER));
    flags.value("--target", args.target.target.as_ref());
    flags.flag("--keep", args.keep);
    flags.flag("--strict", args.writing.strict || job.strict);
    flags.flag("--verify", args.verify || job.verify);
    flags.pairs("--tablespace-map", &job.tablespace_map);
    flags.number("--jobs", args.copying.jobs.or(job.jobs));
    flags.number("--index-jobs", args.writing.index_jobs.or(job.index_jobs));
    flags.number("--rate-limit", rate(args.copying.rate_limit, job));
    flags.flag(
        "--skip-validation",
        skips(args.copying.skip_validation, job),
    );
}

/// The lower one of the user's limit and the job's.
fn rate(own: Option<std::num::NonZeroU64>, job: &Job) -> Option<u64> {
    let own = own.map(std::num::NonZeroU64::get);
    [own, job.bytes_per_second].into_iter().flatten().min()
}

fn skips(own: bool, job: &Job) -> bool {
    own || job.option == Extent::Migrate
}

fn place(flags: &mut Flags, place: &Place) {
    let admission = &place.admission;
    flags.value("--encrypt-key-file", place.encrypt_key_file.as_ref());
    flags.value("--token-file", admission.token_file.as_ref());
    flags.value("--ca-file", admission.ca_file.as_ref());
    flags.value("--client-cert", admission.client_cert.as_ref());
    flags.flag("--plain-http", admission.plain_http);
}
