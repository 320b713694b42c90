//! What a peer keeps durably, and what it does only once that is durable.

use super::post::Mail;
use crate::machine::{Output, ShardId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What waits for a batch to be durable.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are letters, and they wait for one batch")]
pub(crate) enum Then {
    /// A letter that promises what was kept.
    Send(Mail),
    /// Entries of one's own log, up to this one, may be told.
    Logged(u64),
    /// A segment's deed is durable.
    Committed(okapi_base::SegmentName),
    /// The record of a shard is gone for good: so may be its bytes.
    Drop(ShardId),
}

/// Gathers the writes of one change into one batch.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    last: u64,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    thens: Vec<Then>,
    waiting: BTreeMap<u64, Vec<Then>>,
}

impl Keeper {
    /// Keeps `value` under `key` with this change.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.insert(key, Some(value));
    }

    /// Forgets `key` with this change.
    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    /// Does `then` once all that was kept up to now is durable.
    pub(crate) fn then(&mut self, then: Then) {
        self.thens.push(then);
    }

    /// Whether all that was kept up to now is durable.
    pub(crate) fn is_durable(&self) -> bool {
        self.writes.is_empty() && self.waiting.is_empty()
    }

    /// The batch of this change, if there is one.
    pub(crate) fn flush(&mut self) -> Option<Output> {
        if self.writes.is_empty() && self.thens.is_empty() {
            return None;
        }
        self.last += 1;
        let ticket = self.last;
        self.waiting.insert(ticket, core::mem::take(&mut self.thens));
        let writes = core::mem::take(&mut self.writes).into_iter().collect();
        Some(Output::Keep { ticket, writes })
    }

    /// What may be done now that `ticket` is durable. A ticket never given is ignored.
    pub(crate) fn kept(&mut self, ticket: u64) -> Vec<Then> {
        let later = self.waiting.split_off(&(ticket + 1));
        core::mem::replace(&mut self.waiting, later).into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_batch_waits_for_all_before_it() {
        let mut keeper = Keeper::default();
        assert!(keeper.flush().is_none());
        keeper.put(b"a".to_vec(), b"1".to_vec());
        keeper.put(b"a".to_vec(), b"2".to_vec());
        keeper.then(Then::Committed(okapi_base::SegmentName([7; 32])));
        let Some(Output::Keep { ticket: 1, writes }) = keeper.flush() else { panic!("a batch") };
        assert_eq!(writes, [(b"a".to_vec(), Some(b"2".to_vec()))]);
        keeper.remove(b"a".to_vec());
        keeper.then(Then::Committed(okapi_base::SegmentName([8; 32])));
        assert!(keeper.flush().is_some());
        let thens = keeper.kept(2);
        assert!(
            matches!(&thens[..], [Then::Committed(a), Then::Committed(b)] if a.0[0] == 7 && b.0[0] == 8),
            "{thens:?}"
        );
        assert!(keeper.kept(2).is_empty());
    }
}
