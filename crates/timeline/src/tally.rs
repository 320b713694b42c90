//! Confirmations: a witness's signature that it keeps an entry, who of an entry's witnesses gave one, and how many
//! travel together.

use crate::draw::{DrawBy, Rosters, Witnesses};
use crate::limits::CONFIRMATIONS_KEPT;
use alloc::vec::Vec;
use okapi_base::{Digest, NodeId};
use okapi_seal::{Hasher, Signature, SigningKey, verify};
use okapi_wire::peer::entry::{CONFIRMATIONS_MAX, Confirmation, EntryHeader, LogMessage};
use okapi_wire::peer::member::Version;

/// A witness's word for an entry. It must be durable there before this is told.
#[must_use]
pub fn confirm(key: &SigningKey, header: &EntryHeader, hash: Digest, list: Version) -> Confirmation {
    let witness = NodeId(key.public());
    let EntryHeader { log, sequence, .. } = *header;
    let mut confirmation = Confirmation { log, sequence, hash, list, witness, signature: [0; 64] };
    confirmation.signature = key.sign(&digest(&confirmation)).0;
    confirmation
}

/// Whether a confirmation is by the witness it names.
#[must_use]
pub fn is_by_witness(confirmation: &Confirmation) -> bool {
    verify(&confirmation.witness.0, &digest(confirmation), &Signature(confirmation.signature))
}

fn digest(confirmation: &Confirmation) -> Digest {
    Hasher::new("okapi 2026 timeline: confirmation").add(&confirmation.signed_bytes()).digest()
}

/// As few messages as these confirmations fit in: one for each link and round, not one for each entry.
#[must_use]
pub fn combine(confirmations: &[Confirmation]) -> Vec<LogMessage> {
    confirmations.chunks(CONFIRMATIONS_MAX).map(|some| LogMessage::Confirmed(some.to_vec())).collect()
}

/// The confirmations of one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    confirmations: Vec<Confirmation>,
}

/// What a confirmation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It is counted.
    New,
    /// It was counted before.
    Known,
    /// The member list under which its witness was drawn is not known here, or no more.
    UnknownList,
    /// It is not of this entry, not signed by its witness, or of a witness that was not drawn.
    Bad,
}

impl Tally {
    /// Confirmations kept by oneself. Their signatures were checked before they were kept.
    #[must_use]
    pub const fn open(confirmations: Vec<Confirmation>) -> Self {
        Self { confirmations }
    }

    /// Counts a confirmation of the entry with this header and hash.
    pub fn count(
        &mut self,
        rosters: &Rosters,
        by: DrawBy,
        header: &EntryHeader,
        hash: &Digest,
        confirmation: &Confirmation,
    ) -> Counted {
        let place = |c: &Confirmation| (c.list, c.witness);
        if self.confirmations.iter().any(|known| place(known) == place(confirmation) && known.hash == confirmation.hash)
        {
            return Counted::Known;
        }
        let same =
            confirmation.log == header.log && confirmation.sequence == header.sequence && confirmation.hash == *hash;
        let Some(roster) = rosters.get(&confirmation.list) else { return Counted::UnknownList };
        let drawn = roster.draw(header.log, header.sequence, &confirmation.list.digest, by);
        if !same || !drawn.contains(confirmation.witness) || !is_by_witness(confirmation) {
            return Counted::Bad;
        }
        self.confirmations.push(*confirmation);
        if self.confirmations.len() > CONFIRMATIONS_KEPT {
            self.confirmations.remove(0);
        }
        Counted::New
    }

    /// Whether everyone drawn under this list has confirmed; not if nobody was drawn.
    #[must_use]
    pub fn is_complete(&self, list: &Version, drawn: &Witnesses) -> bool {
        !drawn.is_empty() && self.missing(list, drawn).next().is_none()
    }

    /// Who of those drawn under this list has not confirmed.
    pub fn missing<'a>(&'a self, list: &'a Version, drawn: &'a Witnesses) -> impl Iterator<Item = NodeId> + 'a {
        drawn.iter().filter(|witness| !self.confirmations.iter().any(|c| c.list == *list && c.witness == *witness))
    }

    /// All confirmations, of this and earlier draws.
    #[must_use]
    pub fn confirmations(&self) -> &[Confirmation] {
        &self.confirmations
    }

    /// Keeps only those of one draw: it is complete, and the others are of no more use.
    pub fn settle(&mut self, list: &Version) {
        self.confirmations.retain(|confirmation| confirmation.list == *list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::entry_hash;
    use crate::chain::tests::{entries, key};
    use crate::draw::Roster;
    use alloc::sync::Arc;
    use okapi_base::MemberId;

    fn rosters(count: u8) -> Rosters {
        let mut rosters = Rosters::default();
        let seats = (1..=count).map(|number| (NodeId(key(number).public()), MemberId([number; 32])));
        rosters.push(Version { number: 1, digest: Digest([1; 32]) }, Arc::new(Roster::new(seats)));
        rosters
    }

    #[test]
    fn an_entry_is_witnessed_when_all_drawn_have_confirmed() {
        let rosters = rosters(5);
        let list = *rosters.version();
        let entry = &entries(&key(1), Digest([0; 32]), 1, 1, 0)[0];
        let (header, hash) = (entry.head.header, entry_hash(&entry.head.header));
        let drawn = rosters.present().draw(header.log, 1, &list.digest, DrawBy::Place);
        let mut tally = Tally::default();
        let count = |tally: &mut Tally, c: &Confirmation| tally.count(&rosters, DrawBy::Place, &header, &hash, c);
        assert!(!tally.is_complete(&list, &drawn));
        for number in 1..=5 {
            let witness = NodeId(key(number).public());
            let good = confirm(&key(number), &header, hash, list);
            if !drawn.contains(witness) {
                assert_eq!(count(&mut tally, &good), Counted::Bad, "not drawn");
                continue;
            }
            for bad in [
                Confirmation { hash: Digest([9; 32]), ..good },
                Confirmation { sequence: 2, ..good },
                Confirmation { signature: [0; 64], ..good },
            ] {
                assert_eq!(count(&mut tally, &bad), Counted::Bad);
            }
            let other = confirm(&key(number), &header, hash, Version { number: 2, ..list });
            assert_eq!(count(&mut tally, &other), Counted::UnknownList);
            assert!(!tally.is_complete(&list, &drawn));
            assert_eq!(count(&mut tally, &good), Counted::New);
            assert_eq!(count(&mut tally, &good), Counted::Known);
        }
        assert!(tally.is_complete(&list, &drawn));
        assert_eq!(tally.confirmations().len(), 2);
        assert!(!Tally::default().is_complete(&list, &Witnesses::default()), "nobody drawn is nobody's word");
    }

    #[test]
    fn a_confirmation_never_changes_and_many_are_one_message() {
        let entry = &entries(&key(1), Digest([0; 32]), 1, 1, 7)[0];
        let list = Version { number: 1, digest: Digest([1; 32]) };
        let one = confirm(&key(2), &entry.head.header, entry_hash(&entry.head.header), list);
        assert!(is_by_witness(&one));
        assert_eq!(
            alloc::format!("{}", digest(&one)),
            "a3f15bbbe5f07e30b618f765ccad9230d10474f80dce9a40c10ab5ebdb472a7d"
        );
        assert_eq!(combine(&[]), []);
        assert_eq!(combine(&alloc::vec![one; CONFIRMATIONS_MAX]).len(), 1);
        assert_eq!(combine(&alloc::vec![one; CONFIRMATIONS_MAX + 1]).len(), 2);
    }
}
