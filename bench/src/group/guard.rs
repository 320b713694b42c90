//! Sees to it that nothing outlives the bench: no process, no mount, no folder.

use super::processes;
use crate::Fault;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

/// Runs `job`. Whether it ends well, fails, panics or is interrupted: whatever it started is ended afterwards, and
/// `folder` is gone.
pub(super) fn guarded(folder: &Path, job: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    processes::adopt()?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let its = folder.to_owned();
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            clean(&its);
            std::process::exit(128 + signal);
        }
    });
    let done = catch_unwind(AssertUnwindSafe(job));
    clean(folder);
    done.unwrap_or_else(|panic| resume_unwind(panic))
}

fn clean(folder: &Path) {
    processes::end_all(folder);
    if let Err(why) = std::fs::remove_dir_all(folder)
        && folder.exists()
    {
        eprintln!("{} could not be removed: {why}", folder.display());
    }
    // GlusterFS writes the logs of its bricks there whatever it is told; they are named for where a brick lies.
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let logs = PathBuf::from("/var/log/glusterfs/bricks");
    for entry in std::fs::read_dir(&logs).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(&name) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
