//! How fast it was lately.

use okapi_client::group::{GroupStatus, NodeId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Looks that are remembered.
const KEPT: usize = 60;
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Rates of one direction, in bytes a second, newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rates(VecDeque<u64>);

/// Rates both ways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) sent: Rates,
    pub(super) received: Rates,
}

/// What was seen lately.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Of all links together, counted from the totals.
    pub(super) all: Traffic,
    /// Of each link, as the node measured it.
    members: BTreeMap<NodeId, Traffic>,
    /// When the totals were looked at last, and what they were.
    last: Option<(Instant, u64, u64)>,
}

impl Rates {
    fn push(&mut self, rate: u64) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(rate);
    }

    /// Whether nothing was seen yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The newest.
    pub(super) fn now(&self) -> u64 {
        self.0.back().copied().unwrap_or(0)
    }

    /// The last ones as a line of steps, the highest of them the tallest; `wide` characters, those before the first
    /// look blank.
    pub(super) fn spark(&self, wide: usize) -> String {
        let shown = self.0.iter().skip(self.0.len().saturating_sub(wide));
        let most = shown.clone().copied().max().unwrap_or(0);
        let step = |rate: &u64| match *rate {
            0 => ' ',
            rate => STEPS[usize::try_from(u128::from(rate) * 7 / u128::from(most)).expect("at most seven")],
        };
        let line: String = shown.map(step).collect();
        format!("{line:>wide$}")
    }
}

impl History {
    /// Takes in what was seen at a moment.
    pub(super) fn saw(&mut self, at: Instant, status: &GroupStatus) {
        let (sent, received) = (status.work.sent_bytes, status.work.received_bytes);
        if let Some((then, before_sent, before_received)) = self.last {
            let micros = (at - then).as_micros().max(1);
            // A node that has started anew counts from nothing.
            let rate = |now: u64, before: u64| u128::from(now.saturating_sub(before)) * 1_000_000 / micros;
            self.all.sent.push(u64::try_from(rate(sent, before_sent)).unwrap_or(u64::MAX));
            self.all.received.push(u64::try_from(rate(received, before_received)).unwrap_or(u64::MAX));
        }
        self.last = Some((at, sent, received));
        self.members.retain(|node, _| status.members.iter().any(|member| member.node == *node));
        for member in &status.members {
            let traffic = self.members.entry(member.node).or_default();
            traffic.sent.push(member.upload);
            traffic.received.push(member.download);
        }
    }

    /// The rates of one link.
    pub(super) fn of(&self, node: NodeId) -> Option<&Traffic> {
        self.members.get(&node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;
    use std::time::Duration;

    #[test]
    fn rates_are_what_came_between_two_looks() {
        let (mut history, begin, mut status) = (History::default(), Instant::now(), pretend::member());
        history.saw(begin, &status);
        assert_eq!(history.all, Traffic::default());
        status.work.sent_bytes += 5000;
        status.work.received_bytes += 700;
        history.saw(begin + Duration::from_millis(500), &status);
        assert_eq!((history.all.sent.now(), history.all.received.now()), (10_000, 1400));
        status.work.sent_bytes = 0;
        history.saw(begin + Duration::from_secs(1), &status);
        assert_eq!(history.all.sent.now(), 0, "the node started anew");
        let cellar = status.members[1].node;
        assert_eq!(history.of(cellar).unwrap().received.0, [30 << 20; 3]);
        status.members.remove(1);
        history.saw(begin + Duration::from_secs(2), &status);
        assert!(history.of(cellar).is_none());
    }

    #[test]
    fn a_spark_shows_the_last_ones() {
        let mut rates = Rates::default();
        assert_eq!(rates.spark(4), "    ");
        for rate in [900, 0, 1, 50, 100] {
            rates.push(rate);
        }
        assert_eq!(rates.spark(4), " ▁▄█");
        assert_eq!(rates.spark(6), " █ ▁▁▁");
        (0..100).for_each(|_| rates.push(u64::MAX));
        assert_eq!((rates.0.len(), rates.spark(3).as_str()), (KEPT, "███"));
    }
}
