//! How quick the others are, by probes and by what was really transferred; never by what they say.
//!
//! Used to ask the quickest source first, and to know when an answer is overdue.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use okapi_base::NodeId;

/// Measurements kept of each kind and node; the oldest makes room.
pub const SAMPLES: usize = 16;
/// Fewer bytes than this measure latency, not throughput.
pub const BULK_MIN: u64 = 64 << 10;
/// The latency of a node never measured in a group where none was, in microseconds: a slow line.
pub const LATENCY_DEFAULT_US: u64 = 200_000;
/// The throughput of a node never measured in a group where none was, in bytes a second: a slow line.
pub const THROUGHPUT_DEFAULT: u64 = 1 << 20;
/// The least throughput that is reckoned with, in bytes a second.
pub const THROUGHPUT_MIN: u64 = 4 << 10;
/// The soonest an answer is overdue, in microseconds: a second.
pub const TIMEOUT_MIN_US: u64 = 1_000_000;
/// The latest an answer is overdue, in microseconds: five minutes.
pub const TIMEOUT_MAX_US: u64 = 300_000_000;
/// An answer is overdue after so many times what was to be expected.
pub const TIMEOUT_TIMES: u64 = 4;
/// Each answer overdue in a row doubles what is expected, up to so many times.
pub const LATE_MAX: u32 = 6;

/// The measured speed of one node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Speed {
    /// Round trips, in microseconds.
    latencies: Ring,
    /// Bytes a second, the latency taken out.
    throughputs: Ring,
    /// Answers overdue since the last one that came.
    late: u32,
}

/// The measured speeds of the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Speeds {
    nodes: BTreeMap<NodeId, Speed>,
}

impl Speed {
    /// An answer of `bytes` came after `elapsed` microseconds. Small ones measure the latency; large ones the
    /// throughput, with the latency known so far taken out.
    pub fn answered(&mut self, bytes: u64, elapsed: u64) {
        self.late = 0;
        if bytes < BULK_MIN {
            self.latencies.push(elapsed);
            return;
        }
        // Of a transfer at least half is taken to be transfer: one that is as quick as the latency cannot tell more.
        let transfer = elapsed.saturating_sub(self.base_latency().unwrap_or(0)).max(elapsed / 2).max(1);
        let rate = u128::from(bytes) * 1_000_000 / u128::from(transfer);
        self.throughputs.push(u64::try_from(rate).unwrap_or(u64::MAX));
    }

    /// An answer is overdue.
    pub fn late(&mut self) {
        self.late = (self.late + 1).min(LATE_MAX);
    }

    /// The usual round trip, in microseconds: the median of the last ones. Nothing, if none was measured.
    #[must_use]
    pub fn latency(&self) -> Option<u64> {
        self.latencies.median()
    }

    /// The round trip without any queue, in microseconds: the least of the last ones.
    #[must_use]
    pub fn base_latency(&self) -> Option<u64> {
        self.latencies.least()
    }

    /// The usual throughput, in bytes a second: the median of the last transfers. Nothing, if none was measured.
    #[must_use]
    pub fn throughput(&self) -> Option<u64> {
        self.throughputs.median()
    }
}

impl Speeds {
    /// Of nobody yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { nodes: BTreeMap::new() }
    }

    /// What was measured of `node`.
    #[must_use]
    pub fn of(&self, node: &NodeId) -> Option<&Speed> {
        self.nodes.get(node)
    }

    /// An answer of `bytes` came from `node` after `elapsed` microseconds.
    pub fn answered(&mut self, node: NodeId, bytes: u64, elapsed: u64) {
        self.nodes.entry(node).or_default().answered(bytes, elapsed);
    }

    /// An answer of `node` is overdue.
    pub fn late(&mut self, node: NodeId) {
        self.nodes.entry(node).or_default().late();
    }

    /// Forgets a node that has parted.
    pub fn forget(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    /// When an answer of `bytes` from `node` is to be expected, in microseconds from the asking. What was not
    /// measured of it is taken from the group's median, so a newcomer is neither first nor last.
    #[must_use]
    pub fn expected(&self, node: &NodeId, bytes: u64) -> u64 {
        let speed = self.nodes.get(node);
        let latency = speed.and_then(Speed::latency);
        let latency = latency.unwrap_or_else(|| self.median(Speed::latency, LATENCY_DEFAULT_US));
        let throughput = speed.and_then(Speed::throughput);
        let throughput = throughput.unwrap_or_else(|| self.median(Speed::throughput, THROUGHPUT_DEFAULT));
        let transfer = u128::from(bytes) * 1_000_000 / u128::from(throughput.max(THROUGHPUT_MIN));
        let all = (u128::from(latency) + transfer) << speed.map_or(0, |speed| speed.late);
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    /// When an answer of `bytes` from `node` is overdue, in microseconds from the asking.
    #[must_use]
    pub fn timeout(&self, node: &NodeId, bytes: u64) -> u64 {
        // The longest bulk answer may take longer than the general limit on a slow line, and is then waited for.
        let most = TIMEOUT_MAX_US.max(bytes.saturating_mul(1_000_000) / THROUGHPUT_MIN);
        self.expected(node, bytes).saturating_mul(TIMEOUT_TIMES).clamp(TIMEOUT_MIN_US, most)
    }

    /// Puts sources of `bytes` into the order in which to ask them: quickest first, equals by their ids.
    pub fn order(&self, nodes: &mut [NodeId], bytes: u64) {
        nodes.sort_by_cached_key(|node| (self.expected(node, bytes), *node));
    }

    fn median(&self, what: impl Fn(&Speed) -> Option<u64>, otherwise: u64) -> u64 {
        let mut all: Vec<u64> = self.nodes.values().filter_map(what).collect();
        middle(&mut all).unwrap_or(otherwise)
    }
}

/// The last [`SAMPLES`] measurements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Ring {
    samples: [u64; SAMPLES],
    /// How many were ever put in; the next goes to this modulo [`SAMPLES`].
    count: u64,
}

impl Ring {
    fn push(&mut self, sample: u64) {
        self.samples[(self.count % SAMPLES as u64) as usize] = sample;
        self.count += 1;
    }

    fn kept(&self) -> &[u64] {
        &self.samples[..self.count.min(SAMPLES as u64) as usize]
    }

    fn least(&self) -> Option<u64> {
        self.kept().iter().min().copied()
    }

    fn median(&self) -> Option<u64> {
        middle(&mut self.kept().to_vec())
    }
}

fn middle(samples: &mut [u64]) -> Option<u64> {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied()
}

#[cfg(test)]
mod tests;
