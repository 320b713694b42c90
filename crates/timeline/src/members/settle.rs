//! Which of a set of records are in the list: a function of the set alone.

use super::{Held, VouchKey, rank, vouch_key};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use okapi_base::{Digest, NodeId};
use okapi_wire::peer::member::{MemberRecord, State};

/// Whether a voucher's vouch of this serial number counts.
pub(super) fn honours(voucher: &MemberRecord, serial: u64) -> bool {
    voucher.state != State::Parted || serial <= voucher.vouches_honoured
}

/// Grows the list from the founder outwards, one vouch after the other: whole distances first, within a distance the
/// lower vouch first. A vouch loses if its node, or its serial number, is taken when its turn comes. Each step looks
/// only at what is nearer the founder, so that no vouch can undo what it rests on.
pub(super) fn settle(candidates: Vec<(Arc<MemberRecord>, Digest)>, most: usize) -> BTreeMap<NodeId, Held> {
    let mut by_voucher: BTreeMap<NodeId, BTreeMap<VouchKey, Held>> = BTreeMap::new();
    let mut founder = None;
    for (record, hash) in candidates {
        let is_founder = record.vouch.by == record.binding.node;
        let vouched = by_voucher.entry(record.vouch.by).or_default();
        let held = vouched.remove(&vouch_key(&record));
        let new = Held { record, hash, depth: 0 };
        let best = match held {
            Some(held) if rank(&held.record, &held.hash) >= rank(&new.record, &new.hash) => held,
            _ => new,
        };
        if is_founder {
            founder = Some(best.record.binding.node);
        }
        vouched.insert(vouch_key(&best.record), best);
    }
    let mut settled = BTreeMap::new();
    let Some(founder) = founder else { return settled };
    let own =
        by_voucher.get(&founder).and_then(|vouched| vouched.values().find(|held| held.record.binding.node == founder));
    settled.insert(founder, own.expect("the founder vouches for itself").clone());
    let mut ring = vec![founder];
    let mut depth = 0;
    while !ring.is_empty() {
        depth += 1;
        ring.sort_unstable();
        let mut next = Vec::new();
        for voucher in &ring {
            let mut serials = BTreeSet::new();
            for held in by_voucher.get(voucher).into_iter().flat_map(BTreeMap::values) {
                let (node, serial) = (held.record.binding.node, held.record.vouch.serial);
                let free = !settled.contains_key(&node) && !serials.contains(&serial) && settled.len() < most;
                if free && honours(&settled[voucher].record, serial) {
                    settled.insert(node, Held { depth, ..held.clone() });
                    serials.insert(serial);
                    next.push(node);
                }
            }
        }
        ring = next;
    }
    settled
}
