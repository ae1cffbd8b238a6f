//! PostgreSQL's own programs: where they are, and how to run one.

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use super::installed;

/// The folder with `postgres`, `initdb`, `psql` and `pg_dump`.
///
/// `PGHAUL_PG_BINDIR` names it; otherwise it is the newest version that the distribution has
/// installed, or the folder of the first `postgres` on PATH.
pub(crate) fn bindir() -> &'static Path {
    static BINDIR: OnceLock<PathBuf> = OnceLock::new();
    BINDIR.get_or_init(|| {
        if let Some(named) = env::var_os("PGHAUL_PG_BINDIR") {
            return PathBuf::from(named);
        }
        distribution()
            .or_else(on_path)
            .expect("no PostgreSQL server found: scripts/setup installs it")
    })
}

fn distribution() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            let bin = path.join("bin");
            bin.join("postgres").exists().then_some((version, bin))
        })
        .collect();
    versions.sort();
    versions.pop().map(|(_, bin)| bin)
}

fn on_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).find(|folder| folder.join("postgres").exists())
}

/// The folder with the server of this major version.
pub(crate) fn server(major: u32) -> PathBuf {
    installed(&format!("postgresql/{major}/bin"), "scripts/servers")
}

/// The folder with the newest client programs, which serve every version.
pub(crate) fn newest_client() -> PathBuf {
    installed("postgresql/client/bin", "scripts/servers")
}

/// One of PostgreSQL's programs in a clean environment: no PG* variable reaches it.
pub(crate) fn program(name: &str) -> Command {
    program_in(bindir(), name)
}

/// As [`program`], from this folder.
pub(crate) fn program_in(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(folder.join(name));
    clean(&mut command);
    command
}

/// Empties the environment except for what any program needs.
pub(crate) fn clean(command: &mut Command) {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = [bindir().to_path_buf()]
        .into_iter()
        .chain(env::split_paths(&path));
    command
        .env_clear()
        .env(
            "PATH",
            env::join_paths(folders).expect("PATH can be joined"),
        )
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC");
}

/// Runs a command to its end: its output, or what it said on stderr.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    run_with_input(command, "")
}

/// As [`run`], with this text on stdin.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command:?} does not start: {error}"))?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let output = thread::scope(|scope| {
        // A program that stops early closes its stdin; its exit code says why.
        scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
        child.wait_with_output()
    })
    .map_err(|error| format!("{command:?}: {error}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(stdout)
    } else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "{:?}: {}\n{stderr}",
            command.get_program(),
            output.status
        ))
    }
}

/// Sends a signal, by name, to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    run(Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string()))
    .unwrap_or_else(|error| panic!("SIG{name} to process {pid}: {error}"));
}

/// The processes that a process has started.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children"));
    let lists: String = tasks.filter_map(|task| of_task(task.ok()?).ok()).collect();
    let pids = lists.split_whitespace();
    pids.map(|pid| pid.parse().expect("a number")).collect()
}

/// Whether the process exists.
pub(crate) fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Whether this process is root, whom the PostgreSQL server refuses.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").expect("/proc is mounted").uid() == 0
}

/// A string as part of a URI: everything but letters, digits and `-._~` escaped.
pub(crate) fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
