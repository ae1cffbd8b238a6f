//! Runs pg_dump: the schema without data, as an archive in memory, which is compressed as it comes.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use pghaul_stage::{Error, Kind, Packed, Packer, Result, Selection, Side};
use pghaul_wire::Conninfo;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// The largest archive that is taken: a schema with a hundred thousand tables has a tenth of it.
const LARGEST_ARCHIVE: u64 = 1024 * 1024 * 1024;

/// The largest archive of planner statistics that is carried rather than collected anew.
const LARGEST_STATISTICS: u64 = 256 * 1024 * 1024;

/// The first version that dumps them.
const STATISTICS: u32 = 18;

/// How much of its complaints is kept.
const LARGEST_COMPLAINT: u64 = 64 * 1024;

/// How long pg_dump may take: minutes for a hundred thousand tables.
const DEADLINE: Duration = Duration::from_secs(2 * 60 * 60);

/// How long a program may take to say its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(10);

/// Variables passed on to pg_dump besides the connection's own. Everything else, above all
/// other `PG*` variables, could lead it elsewhere.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "TMPDIR",
];

/// A pg_dump that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Program {
    /// Major and minor version.
    version: (u32, u32),
    path: PathBuf,
}

/// Its version and path.
impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor) = self.version;
        write!(f, "pg_dump {major}.{minor} ({})", self.path.display())
    }
}

impl Program {
    /// Whether it can dump planner statistics.
    pub(crate) fn knows_statistics(&self) -> bool {
        self.version.0 >= STATISTICS
    }
}

/// Dumps the schema as this snapshot sees it, and if asked, the order in which materialized views
/// are to be filled. The query that finds it compares everything with everything: with 20,000
/// tables it takes the source longer than all others together.
pub(crate) async fn dump(
    program: &Program,
    info: &Conninfo,
    snapshot: &str,
    lock_wait: Duration,
    selection: &Selection,
    refreshes: bool,
) -> Result<Packed> {
    let what: &[&str] = if refreshes {
        &["--section=pre-data", "--section=post-data"]
    } else {
        &["--schema-only"]
    };
    // Large objects are copied by ourselves.
    let what = what.iter().chain(&["-B"]).map(|&one| one.to_owned());
    let what: Vec<String> = what.chain(arguments(selection)).collect();
    run(program, &what, LARGEST_ARCHIVE, info, snapshot, lock_wait).await
}

/// Dumps the planner statistics as this snapshot sees them.
///
/// # Errors
///
/// If there are more than are worth carrying: each table's take a few kilobytes per column.
pub(crate) async fn statistics(
    program: &Program,
    info: &Conninfo,
    snapshot: &str,
    lock_wait: Duration,
    selection: &Selection,
) -> Result<Packed> {
    let what = ["--statistics-only".to_owned()].into_iter();
    let what: Vec<String> = what.chain(arguments(selection)).collect();
    run(
        program,
        &what,
        LARGEST_STATISTICS,
        info,
        snapshot,
        lock_wait,
    )
    .await
}

/// The same selection in pg_dump's words. It reads under the same snapshot, so its patterns find
/// the same objects as ours; the server's own, which ours never find, are excluded.
fn arguments(selection: &Selection) -> Vec<String> {
    let patterns = [
        ("schema", &selection.schemas),
        ("exclude-schema", &selection.exclude_schemas),
        ("table", &selection.tables),
        ("exclude-table", &selection.exclude_tables),
        ("exclude-table-data", &selection.exclude_table_data),
    ];
    let mut arguments: Vec<String> = patterns
        .into_iter()
        .flat_map(|(option, patterns)| patterns.iter().map(move |one| format!("--{option}={one}")))
        .collect();
    if !selection.is_of_everything() {
        for schema in ["pg_*", "information_schema"] {
            arguments.push(format!("--exclude-schema={schema}"));
            arguments.push(format!("--exclude-table={schema}.*"));
        }
        arguments.push("--exclude-table=pghaul.*".to_owned());
    }
    arguments
}

async fn run(
    program: &Program,
    what: &[String],
    largest: u64,
    info: &Conninfo,
    snapshot: &str,
    lock_wait: Duration,
) -> Result<Packed> {
    let failed = |message: String| {
        Error::new(Kind::Permanent, message)
            .at(Side::Source)
            .on(format!("{}", program.path.display()))
    };
    let mut child = Command::new(&program.path)
        .args(["--format=custom", "--compress=0", "--encoding=UTF8", "--no-password"])
        .args(what)
        // What an earlier migration left is not part of the database.
        .arg("--exclude-schema=pghaul")
        .arg(format!("--snapshot={snapshot}"))
        .arg(format!("--lock-wait-timeout={}", lock_wait.as_millis()))
        .env_clear()
        .envs(PASSED_ON.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))))
        .envs(info.libpq_env().iter().map(|(name, value)| (*name, value.expose_secret())))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed("cannot be started".into()).because(error))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work =
        async { tokio::try_join!(archive(stdout, largest), complaint(stderr), child.wait(),) };
    let (archive, complaints, status) = tokio::time::timeout(DEADLINE, work)
        .await
        .map_err(|_| failed(format!("did not end within {} s", DEADLINE.as_secs())))?
        .map_err(|error| failed("its output could not be read".into()).because(error))?;
    let complaints = String::from_utf8_lossy(&complaints);
    if !status.success() {
        return Err(failed(format!(
            "failed: {}",
            complaints.trim().replace('\n', "; ")
        )));
    }
    if !complaints.trim().is_empty() {
        tracing::warn!(message = complaints.trim(), "pg_dump");
    }
    let mut magic = [0; 5];
    if archive.read_from(0).read_exact(&mut magic).is_err() || &magic != b"PGDMP" {
        return Err(failed("did not write an archive".into()));
    }
    Ok(archive)
}

async fn archive(pipe: Option<impl AsyncRead + Unpin>, largest: u64) -> io::Result<Packed> {
    let mut packer = Packer::new().map_err(io::Error::other)?;
    if let Some(mut pipe) = pipe {
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = pipe.read(&mut piece).await?;
            if read == 0 {
                break;
            }
            let piece = piece.get(..read).unwrap_or_default();
            packer.push(piece).map_err(io::Error::other)?;
            if packer.len() > largest {
                return Err(io::Error::other(format!("more than {largest} bytes")));
            }
        }
    }
    packer.finish().map_err(io::Error::other)
}

/// Keeps the beginning and reads on, so that the program is never blocked.
async fn complaint(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe)
            .take(LARGEST_COMPLAINT)
            .read_to_end(&mut bytes)
            .await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

/// The pg_dump that suits these servers best.
///
/// It can read servers of its own and of older major versions, and what it writes is meant for
/// servers of its own and of newer ones. So it has to be as new as the source, and should be as
/// new as the target but no newer.
pub(crate) async fn find(
    server: u32,
    target: Option<u32>,
    bindir: Option<&Path>,
) -> Result<Program> {
    let named = bindir.map(Path::as_os_str).map(OsString::from);
    let places = match named.or_else(|| std::env::var_os("PGHAUL_PG_BINDIR")) {
        Some(directory) => vec![vec![PathBuf::from(directory)]],
        None => vec![side_by_side(), on_path(std::env::var_os("PATH"))],
    };
    let mut found = BTreeSet::new();
    for directories in places {
        let programs = join_all(directories.iter().map(|directory| program(directory))).await;
        found.extend(programs.into_iter().flatten());
        // Debian's on the PATH is a script that takes long to say that it is one of these.
        let exact = |program: &Program| {
            let major = program.version.0;
            major >= server / 10_000 && target.is_some_and(|target| major == target / 10_000)
        };
        if found.iter().any(exact) {
            break;
        }
    }
    choose(server, target, found)
}

fn choose(server: u32, target: Option<u32>, found: BTreeSet<Program>) -> Result<Program> {
    let needed = server / 10_000;
    let target = target.map_or(u32::MAX, |version| version / 10_000);
    let listed: Vec<String> = found.iter().map(ToString::to_string).collect();
    // Debian's /usr/bin/pg_dump picks a version by rules of its own, so between equals the
    // versioned directory wins; it happens to come later in the alphabet.
    let able = found
        .into_iter()
        .filter(|program| program.version.0 >= needed);
    // How far it is from the target, and on which side.
    let distance = |program: &Program| {
        let major = program.version.0;
        (major > target, major.abs_diff(target))
    };
    match able.min_by_key(|program| (distance(program), Reverse(program.clone()))) {
        Some(program) => Ok(program),
        None => {
            let found = match listed.as_slice() {
                [] => "none was found".to_owned(),
                listed => format!("found only {}", listed.join(", ")),
            };
            Err(Error::new(
                Kind::Input,
                format!("the source is PostgreSQL {needed}, which needs pg_dump {needed} or newer; {found}"),
            )
            .at(Side::Source)
            .on("pg_dump")
            .remedy(format!(
                "install the client programs of PostgreSQL {needed} or newer (for example \
                 postgresql-client-{needed}), or name their directory in PGHAUL_PG_BINDIR"
            )))
        }
    }
}

/// Where distributions keep several versions.
fn side_by_side() -> Vec<PathBuf> {
    let inside = |parent: &str| {
        let entries = std::fs::read_dir(parent).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect::<Vec<_>>()
    };
    let pgdg = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("pgsql-"))
    };
    let debian = inside("/usr/lib/postgresql").into_iter();
    let versions = debian.chain(inside("/usr").into_iter().filter(pgdg));
    versions.map(|version| version.join("bin")).collect()
}

/// The directories of `PATH`, each once, whatever links lead there.
fn on_path(path: Option<OsString>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    path.iter()
        .flat_map(std::env::split_paths)
        .filter(|directory| directory.is_absolute())
        .filter(|directory| {
            directory
                .canonicalize()
                .is_ok_and(|directory| seen.insert(directory))
        })
        .collect()
}

/// The pg_dump in this directory, if there is one.
async fn program(directory: &Path) -> Option<Program> {
    let path = directory.join("pg_dump");
    let version = version(&path).await?;
    Some(Program { version, path })
}

/// What a program says of itself; `None` if it is no pg_dump.
async fn version(path: &Path) -> Option<(u32, u32)> {
    if !path.is_file() {
        return None;
    }
    let run = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(VERSION_DEADLINE, run)
        .await
        .ok()?
        .ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// `pg_dump (PostgreSQL) 15.18 (Debian …)`, or `18beta1` in place of the number.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let number = text.strip_prefix("pg_dump (PostgreSQL) ")?;
    let digits = |text: &str| -> Option<u32> {
        text.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    let minor = number
        .split_whitespace()
        .next()?
        .split_once('.')
        .and_then(|(_, rest)| digits(rest));
    Some((digits(number)?, minor.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(major: u32, minor: u32, path: &str) -> Program {
        Program {
            version: (major, minor),
            path: path.into(),
        }
    }

    #[test]
    fn versions_are_read_from_what_programs_say() {
        let read = parse_version;
        assert_eq!(
            read("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some((15, 18))
        );
        assert_eq!(read("pg_dump (PostgreSQL) 18beta1"), Some((18, 0)));
        assert_eq!(read("pg_dump (PostgreSQL) 10.23\n"), Some((10, 23)));
        assert_eq!(read("pg_dump: command not found"), None);
    }

    #[test]
    fn the_newest_is_chosen_and_a_versioned_directory_between_equals() {
        let found = BTreeSet::from([
            program(15, 18, "/usr/bin/pg_dump"),
            program(17, 2, "/usr/bin/pg_dump"),
            program(17, 2, "/usr/lib/postgresql/17/bin/pg_dump"),
        ]);
        let chosen = choose(140_011, None, found).unwrap();
        assert_eq!(chosen, program(17, 2, "/usr/lib/postgresql/17/bin/pg_dump"));
    }

    #[test]
    fn the_target_must_understand_what_it_writes() {
        let found = [11, 13, 14, 16, 18].map(|major| program(major, 3, "/pg_dump"));
        let chosen = |target| {
            choose(120_022, target, found.clone().into())
                .unwrap()
                .version
                .0
        };
        assert_eq!(chosen(Some(140_001)), 14);
        assert_eq!(chosen(Some(150_001)), 14);
        assert_eq!(chosen(Some(120_001)), 13);
        assert_eq!(chosen(Some(190_001)), 18);
        assert_eq!(chosen(None), 18);
    }

    #[test]
    fn an_old_one_is_refused_with_what_was_found_and_what_is_needed() {
        let error = choose(
            160_002,
            None,
            BTreeSet::from([program(15, 18, "/x/pg_dump")]),
        )
        .unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(
            error.message().contains("needs pg_dump 16 or newer"),
            "{error}"
        );
        assert!(error.message().contains("15.18 (/x/pg_dump)"), "{error}");
        let error = choose(160_002, None, BTreeSet::new()).unwrap_err();
        assert!(error.message().contains("none was found"), "{error}");
    }
}
