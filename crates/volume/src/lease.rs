//! Leases: who may write to a disk. As they lie in disk 0: `docs/format/disk.md`.

use crate::head::{eight, four, is_sealed, seal, sixteen};
use crate::limits::LEASE;
use crate::place::Number;
use std::time::SystemTime;

const MAGIC: &[u8; 8] = b"OKAPILEA";
const VERSION: u8 = 1;
/// Bytes of a lease.
pub(crate) const BYTES: usize = 128;
/// Bytes of a machine's name.
const MACHINE_MAX: usize = 48;

/// Who holds a disk, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Random for each opening of the directory.
    pub(crate) holder: [u8; 16],
    /// When it was last renewed, in milliseconds since 1970-01-01 UTC.
    pub(crate) renewed: u64,
    /// Milliseconds it is good for after that.
    pub(crate) good_for: u32,
    /// The process.
    pub process: u32,
    /// The boot of its machine; zeros: unknown.
    boot: [u8; 16],
    /// When the process began, in clock ticks since that boot.
    began: u64,
    /// Its machine.
    pub machine: String,
}

impl std::fmt::Display for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.process, self.machine)
    }
}

impl Lease {
    /// A lease of this process, for `holder`.
    pub(crate) fn ours(holder: [u8; 16]) -> Self {
        let process = std::process::id();
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let mut machine = text("/proc/sys/kernel/hostname");
        machine.truncate(machine.floor_char_boundary(MACHINE_MAX));
        Self {
            holder,
            renewed: now(),
            good_for: u32::try_from(LEASE.as_millis()).expect("a lease is shorter than 49 days"),
            process,
            boot: this_boot(),
            began: began(process).unwrap_or_default(),
            machine,
        }
    }

    /// Its bytes, for the disk `number`.
    pub(crate) fn encode(&self, number: Number) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = VERSION;
        bytes[12..16].copy_from_slice(&number.get().to_le_bytes());
        bytes[16..32].copy_from_slice(&self.holder);
        bytes[32..40].copy_from_slice(&self.renewed.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.good_for.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.process.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.boot);
        bytes[64..72].copy_from_slice(&self.began.to_le_bytes());
        bytes[72] = u8::try_from(self.machine.len()).expect("a machine's name is cut to 48 bytes");
        bytes[73..73 + self.machine.len()].copy_from_slice(self.machine.as_bytes());
        seal(&mut bytes);
        bytes
    }

    /// What these bytes say; nothing if they make no sense, as nobody holds anything by them.
    pub(crate) fn decode(number: Number, bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        if &bytes[..8] != MAGIC || bytes[8] != VERSION || !is_sealed(bytes) || four(bytes, 12) != number.get() {
            return None;
        }
        let length = usize::from(bytes[72]);
        let machine = std::str::from_utf8(bytes[73..].get(..length.min(MACHINE_MAX))?).ok()?;
        Some(Self {
            holder: sixteen(bytes, 16),
            renewed: eight(bytes, 32),
            good_for: four(bytes, 40),
            process: four(bytes, 44),
            boot: sixteen(bytes, 48),
            began: eight(bytes, 64),
            machine: machine.to_owned(),
        })
    }

    /// Whether somebody holds the disk by it at `now`.
    pub(crate) fn is_live(&self, now: u64) -> bool {
        let over = now >= self.renewed.saturating_add(u64::from(self.good_for));
        let here = self.boot != [0; 16] && self.boot == this_boot();
        let gone = here && began(self.process) != Some(self.began);
        !over && !gone
    }
}

/// Now, in milliseconds since 1970-01-01 UTC.
pub(crate) fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// What tells this boot of this machine from every other; zeros where the system does not say.
fn this_boot() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    let mut boot = [0; 16];
    boot.iter_mut().zip(digits.as_chunks::<2>().0).for_each(|(byte, [high, low])| *byte = high << 4 | low);
    boot
}

/// When a process of this machine began, in clock ticks since boot; nothing if there is no such process, or only what is left
/// of it until its parent has asked how it ended.
fn began(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name, in parentheses, may have anything in it. After it comes the state, field 3; the time is field 22.
    let mut after = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = after.next().filter(|state| !matches!(*state, "Z" | "X"));
    state.and_then(|_| after.nth(22 - 4)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_lease() {
        let lease = Lease {
            holder: [1; 16],
            renewed: 0x0102_0304,
            good_for: 60_000,
            process: 42,
            boot: [2; 16],
            began: 77,
            machine: "attic".to_owned(),
        };
        let number = Number::new(5).unwrap();
        let bytes = lease.encode(number);
        let mut golden = Vec::new();
        golden.extend(b"OKAPILEA\x01\0\0\0\x05\0\0\0");
        golden.extend([1; 16]);
        golden.extend(b"\x04\x03\x02\x01\0\0\0\0\x60\xEA\0\0\x2A\0\0\0");
        golden.extend([2; 16]);
        golden.extend(b"\x4D\0\0\0\0\0\0\0\x05attic");
        golden.resize(124, 0);
        assert_eq!(bytes[..124], golden);
        assert_eq!(four(&bytes, 124), 0x9809_2026);
        assert_eq!(Lease::decode(number, &bytes), Some(lease));
        assert_eq!(Lease::decode(Number::new(6).unwrap(), &bytes), None);
        for at in 0..BYTES {
            let mut bent = bytes;
            bent[at] ^= 1;
            assert_eq!(Lease::decode(number, &bent), None, "{at}");
        }
    }

    #[test]
    fn a_lease_ends_with_its_time_or_its_process() {
        let ours = Lease::ours([1; 16]);
        assert!(ours.is_live(ours.renewed) && ours.is_live(ours.renewed + 59_999));
        assert!(!ours.is_live(ours.renewed + 60_000));
        let older = Lease { began: ours.began.wrapping_sub(1), ..ours.clone() };
        assert!(!older.is_live(ours.renewed), "the process of that number is another one");
        let elsewhere = Lease { boot: [3; 16], ..older };
        assert!(elsewhere.is_live(ours.renewed), "nobody here can tell");
    }

    #[test]
    fn what_is_left_of_a_process_that_ended_holds_nothing() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        assert!(began(child.id()).is_some());
        child.kill().unwrap();
        let gone = (0..1_000_000).any(|_| began(child.id()).is_none());
        child.wait().unwrap();
        assert!(gone);
    }
}
