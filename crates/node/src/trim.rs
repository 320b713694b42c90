//! Memory that was freed and that the C library still keeps, given back to the system.
//!
//! Whole segments and shards come and go while much is stored: afterwards the library keeps what it once had, ten times
//! what an idle node needs. (Considered: to have it map each large piece anew, which costs a quarter more processor
//! time for a put, as the system clears every page; and mimalloc, which took a tenth more and kept more.)
#![allow(unsafe_code, reason = "a function of the C library of which no crate makes a safe one")]

use std::fs;

/// Looks between two at the memory.
const EVERY: u32 = 10;
/// It is given back once there is so much more than the last time, in bytes.
const WORTH: u64 = 16 << 20;

/// Looks after the memory of the process.
#[derive(Debug, Default)]
pub(crate) struct Trim {
    looks: u32,
    /// What was left the last time, in bytes.
    left: u64,
}

impl Trim {
    /// A look; it does something now and then, if nothing else is being done.
    pub(crate) fn look(&mut self, is_quiet: bool) {
        self.looks += 1;
        if !is_quiet || self.looks < EVERY {
            return;
        }
        self.looks = 0;
        let Some(resident) = resident() else { return };
        self.left = self.left.min(resident);
        if resident > self.left + WORTH {
            give_back();
            self.left = self::resident().unwrap_or(resident);
        }
    }
}

/// Bytes of the process that are in memory.
fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    // SAFETY: it may be called at any time and from any thread; it only unmaps pages on which nothing lies.
    unsafe { libc::malloc_trim(0) };
}

/// Other libraries do it by themselves, or cannot.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn what_was_freed_is_given_back_when_all_is_quiet() {
        // Many small pieces, of which the last one stays: the library cannot give them back by itself.
        let pieces: Vec<Vec<u8>> = (0..200_000).map(|at| vec![at as u8; 1000]).collect();
        let last = pieces.last().cloned();
        let most = resident().unwrap();
        drop(pieces);
        let mut trim = Trim::default();
        for _ in 0..EVERY {
            trim.look(false);
        }
        assert_eq!(trim.left, 0, "nothing is done while there is something to do");
        trim.look(true);
        assert!(trim.left > 0 && trim.left + (100 << 20) < most, "{} of {most} bytes are left", trim.left);
        assert!(last.is_some());
    }
}
