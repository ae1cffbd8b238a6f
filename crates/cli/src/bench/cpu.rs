//! Processor time of this process, and of servers on the same host.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use pghaul_stage::Side;
use pghaul_wire::{Client, Conninfo};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How often a server's processes are looked at. What one does after the last look is missed.
const EVERY: Duration = Duration::from_millis(100);

/// How long a question to a server may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Linux counts processor time in hundredths of a second, wherever it shows it to programs.
const TICKS: u64 = 100;

/// The name of the sessions that ask.
const NAME: &str = "pghaul-bench-watch";

/// Processor time of a process of this host so far.
fn spent(process: &str) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields behind it are numbers.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks()? + ticks()?) * 1000 / TICKS))
}

/// Processor time of this process so far.
pub(super) fn own() -> Duration {
    spent("self").unwrap_or_default()
}

/// Watches the processes of a server that work for pghaul.
pub(super) struct Watch {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Option<Duration>>,
}

impl Watch {
    /// Begins; to be called on the runtime.
    pub(super) fn start(info: &Conninfo, side: Side) -> Self {
        let (stop, stopped) = oneshot::channel();
        let info = info.with_application_name(NAME);
        Self {
            stop,
            task: tokio::spawn(watch(info, side, stopped)),
        }
    }

    /// The processor time since the start; `None` if the server is not on this host or did not
    /// say what its processes are.
    pub(super) async fn end(self) -> Option<Duration> {
        drop(self.stop);
        tokio::time::timeout(PATIENCE, self.task).await.ok()?.ok()?
    }
}

async fn watch(info: Conninfo, side: Side, mut stopped: oneshot::Receiver<()>) -> Option<Duration> {
    let client = Client::connect(&info, side).await.ok()?;
    let here =
        "SELECT pg_catalog.inet_server_addr() IS NOT DISTINCT FROM pg_catalog.inet_client_addr()";
    let here: bool = client.query_one(here, &[]).await.ok()?.try_get(0).ok()?;
    let name = fs::read_to_string(format!("/proc/{}/comm", client.pid())).ok()?;
    if !here || !name.starts_with("postgres") {
        return None;
    }
    // What was there before counts from now on.
    let before = sessions(&client).await?;
    let mut seen: HashMap<i32, Duration> = HashMap::new();
    loop {
        let over = tokio::time::timeout(EVERY, &mut stopped).await.is_ok();
        for (pid, time) in sessions(&client).await? {
            let base = before.get(&pid).copied().unwrap_or_default();
            seen.insert(pid, time.saturating_sub(base));
        }
        if over {
            return Some(seen.values().sum());
        }
    }
}

/// The server processes of sessions of pghaul, with their time so far.
async fn sessions(client: &Client) -> Option<HashMap<i32, Duration>> {
    let sql = "SELECT pid FROM pg_catalog.pg_stat_activity \
                WHERE application_name ~ '^pghaul( |$)'";
    let rows = tokio::time::timeout(PATIENCE, client.query(sql, &[])).await;
    let rows = rows.ok()?.ok()?;
    let pids = rows.iter().filter_map(|row| row.try_get::<_, i32>(0).ok());
    let times = pids.filter_map(|pid| Some((pid, spent(&pid.to_string())?)));
    Some(times.collect())
}
