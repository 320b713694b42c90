//! Figures of a run.

use okapi_peers::Event;
use okapi_wire::peer::letter::HEAD_BYTES;

/// What was counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Letters sent.
    pub letters: u64,
    /// Their bytes, payloads left out.
    pub letter_bytes: u64,
    /// Bytes of shards sent to be held.
    pub placed_bytes: u64,
    /// Bytes of shards fetched.
    pub fetched_bytes: u64,
    /// Segments reported safe.
    pub safe: u64,
    /// Shards repaired, bytes fetched and bytes sent for it.
    pub repaired: (u64, u64, u64),
    /// Bytes of shards that were lost with disks.
    pub failed_bytes: [u64; 4],
    /// Segments that came back.
    pub restored: u64,
    /// Holders caught without what they signed for.
    pub caught: u64,
    /// Nodes that were missed.
    pub missing: u64,
    /// Forks shown.
    pub forks: u64,
}

/// Kinds of letters that carry a shard, as `okapi_wire::peer::letter::Body` numbers them.
const PLACE: u8 = 12;
const SHARD: u8 = 19;

impl Tally {
    /// A letter was sent.
    pub fn sent(&mut self, letter: &[u8], payload: &[u8]) {
        self.letters += 1;
        self.letter_bytes += letter.len() as u64;
        assert!(letter.len() >= HEAD_BYTES, "a letter has a head");
        match letter[1] {
            PLACE => self.placed_bytes += payload.len() as u64,
            SHARD => self.fetched_bytes += payload.len() as u64,
            _ => {}
        }
    }

    /// A peer told something.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Safe { .. } => self.safe += 1,
            Event::Repaired { shards, read, sent, .. } => {
                self.repaired.0 += u64::from(*shards);
                self.repaired.1 += read;
                self.repaired.2 += sent;
            }
            Event::Restored { .. } => self.restored += 1,
            Event::Caught { .. } => self.caught += 1,
            Event::Missing { .. } => self.missing += 1,
            Event::Forked { .. } => self.forks += 1,
            _ => {}
        }
    }

    /// A shard of a segment of which `k` rebuild it was lost with a disk.
    pub fn failed(&mut self, k: u8, bytes: u64) {
        self.failed_bytes[(k.ilog2() as usize).min(3)] += bytes;
    }
}
