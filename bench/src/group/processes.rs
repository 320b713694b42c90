//! The processes that a system consists of: found, weighed and ended.
//!
//! Servers fork, change their sessions and outlive who started them. So this process adopts whatever of them is left
//! behind, and knows those of a system by its folder, which each of them names on its command line.

use crate::{Fault, server};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long ended processes may take to be gone.
const END_MAX: Duration = Duration::from_secs(10);

/// Sees to it that what our children leave behind becomes ours.
pub(super) fn adopt() -> Result<(), Fault> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// The processes below this one that name `folder` on their command line.
pub(super) fn of_folder(folder: &Path) -> Vec<u32> {
    let wanted = folder.as_os_str().as_encoded_bytes();
    let names = |process: &u32| {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        line.windows(wanted.len()).any(|part| part == wanted)
    };
    below().into_iter().filter(names).collect()
}

/// Seconds of processor time that these have used, with the children they have waited for.
pub(super) fn used(processes: &[u32]) -> f64 {
    // One that has ended meanwhile was waited for by its parent, and counts there.
    processes.iter().filter_map(|process| times(&process.to_string())).map(|[own, waited]| own + waited).sum()
}

/// Seconds of processor time of the children this process has waited for.
pub(super) fn used_by_waited() -> f64 {
    times("self").map_or(0.0, |[_, waited]| waited)
}

/// Seconds that a process has used since it began, to the nanosecond where the kernel counts so; threads that have
/// ended do not count then.
pub(super) fn used_finely(process: u32) -> Result<f64, Fault> {
    server::cpu_of(process).map_err(|why| format!("the processor time of {process}: {why}").into())
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// Pages that are there, shared ones too.
    pub(super) resident: f64,
    /// The same, of shared ones only its portion.
    pub(super) proportional: f64,
}

/// What a process has in memory.
pub(super) fn memory(process: u32) -> Result<Memory, Fault> {
    let path = format!("/proc/{process}/smaps_rollup");
    let text = std::fs::read_to_string(&path).map_err(|why| format!("{path}: {why}"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok()).map(|kib| kib * 1024.0)
    };
    match (field("Rss:"), field("Pss:")) {
        (Some(resident), Some(proportional)) => Ok(Memory { resident, proportional }),
        _ => Err(format!("{path} names no Rss or Pss").into()),
    }
}

/// Ends a process at once, as if its machine had lost its power.
pub(super) fn kill(process: u32) {
    let number = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(number) = number {
        // One that is gone already is what was wanted.
        let _ = rustix::process::kill_process(number, rustix::process::Signal::KILL);
    }
}

/// Ends everything below this process and unmounts everything below `folder`.
pub(super) fn end_all(folder: &Path) {
    let start = Instant::now();
    loop {
        let alive: Vec<u32> = below().into_iter().filter(|process| !is_over(*process)).collect();
        if alive.is_empty() || start.elapsed() > END_MAX {
            break;
        }
        alive.into_iter().for_each(kill);
        std::thread::sleep(Duration::from_millis(10));
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for place in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(place).starts_with(folder) {
            let _ = Command::new("umount").args(["-l", place]).status();
        }
    }
}

/// All processes that descend from this one.
fn below() -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in all() {
        if let Some(parent) = stat(&process.to_string()).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![std::process::id()];
    while let Some(parent) = next.pop() {
        let its = children.remove(&parent).unwrap_or_default();
        found.extend(&its);
        next.extend(its);
    }
    found
}

fn all() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Ended, and only not yet waited for.
fn is_over(process: u32) -> bool {
    stat(&process.to_string()).is_none_or(|fields| fields.first().is_none_or(|state| state == "Z" || state == "X"))
}

/// What stands in /proc/PID/stat behind the name: state, parent, and so on.
fn stat(process: &str) -> Option<Vec<String>> {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name is in parentheses and may contain anything.
    let (_, fields) = line.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// Seconds a process has used itself, and those of the children it has waited for.
fn times(process: &str) -> Option<[f64; 2]> {
    let fields = stat(process)?;
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some([ticks(11)? + ticks(12)?, ticks(13)? + ticks(14)?].map(|ticks| ticks as f64 / server::TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_leaves_behind_is_found_and_ended() {
        adopt().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("left behind");
        // A shell that goes away at once and leaves one in the background, which names the folder.
        let script = "sh -c 'sleep 1000; :' \"$0\" >/dev/null 2>&1 &";
        assert!(Command::new("sh").arg("-c").arg(script).arg(&place).status().unwrap().success());
        let found = of_folder(&place);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(memory(found[0]).unwrap().resident > 0.0 && used(&found) >= 0.0);
        assert!(of_folder(&folder.path().join("nobody")).is_empty());
        end_all(folder.path());
        assert!(of_folder(&place).is_empty() && is_over(found[0]));
    }
}
