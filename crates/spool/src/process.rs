//! This process, as another one on the same host can recognise it: whether one that was killed is
//! gone need not be waited for there.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Names this process and where it runs: `HOST/NAMESPACE/USER PID/START`; `-` where the system does
/// not tell.
pub(crate) async fn identity() -> String {
    let pid = std::process::id();
    match (here().await, started(pid).await) {
        (Some(here), Some(start)) => format!("{here} {pid}/{start}"),
        _ => "-".to_owned(),
    }
}

/// Whether the process of this identity is known to have ended. One of another host never is.
pub(crate) async fn has_ended(identity: &str) -> bool {
    let Some((place, process)) = identity.split_once(' ') else {
        return false;
    };
    let Some((pid, start)) = process.split_once('/') else {
        return false;
    };
    let Ok(pid) = pid.parse() else {
        return false;
    };
    here().await.as_deref() == Some(place) && started(pid).await.as_deref() != Some(start)
}

/// Where process numbers mean the same, and whose processes this one is sure to see.
async fn here() -> Option<String> {
    let boot = tokio::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let boot = boot.await.ok()?;
    let namespace = tokio::fs::read_link("/proc/self/ns/pid").await.ok()?;
    let user = tokio::fs::metadata("/proc/self").await.ok()?.uid();
    Some(format!("{}/{}/{user}", boot.trim(), namespace.display()))
}

/// When a process started, in ticks of the kernel; `None` if there is no such process any more.
///
/// Source: proc_pid_stat(5). The name before the state may have any character in it.
async fn started(pid: u32) -> Option<String> {
    let stat = Path::new("/proc").join(pid.to_string()).join("stat");
    let stat = tokio::fs::read(stat).await.ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_process_that_ended_is_known_to_have_ended() {
        let own = identity().await;
        assert!(!has_ended(&own).await, "{own}");
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (place, start) = (here().await.unwrap(), started(child.id()).await.unwrap());
        let other = format!("{place} {}/{start}", child.id());
        assert!(!has_ended(&other).await);
        child.kill().unwrap();
        while !has_ended(&other).await {
            // Nobody has waited for it yet, so it is a zombie at most.
            tokio::task::yield_now().await;
        }
        child.wait().unwrap();
        assert!(has_ended(&other).await);
        assert!(has_ended(&format!("{own}0")).await, "another start");
    }

    #[tokio::test]
    async fn of_others_nothing_is_known() {
        for identity in ["", "-", "elsewhere/pid:[1]/0 1/1", "x", " 1/1", "a b/c"] {
            assert!(!has_ended(identity).await, "{identity}");
        }
    }
}
