//! How members stand: what each is good for by signed word, and how it has behaved by what the group says and by what
//! this node has seen itself.

use super::Peer;
use super::post::stamp;
use crate::ledger::{Account, Attested, Conduct, Grade, Pledge, Standing, accounts};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use okapi_base::{Digest, MemberId, NodeId};
use okapi_wire::peer::member::{Attestation, MemberRecord};

/// Accounts as of a member list, and the conduct of its members.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    /// What the group says of each member, and what this node has seen itself.
    conducts: BTreeMap<MemberId, Conduct>,
    seen: BTreeMap<MemberId, Conduct>,
    accounts: Option<(Digest, BTreeMap<MemberId, Account>)>,
}

impl Standings {
    /// Accounts are made anew when they are next asked for: something was learnt, or a day has passed.
    pub(crate) fn forget_accounts(&mut self) {
        self.accounts = None;
    }
}

impl Peer {
    /// What an owner may place here in all.
    pub(super) fn allowance_of(&mut self, owner: NodeId) -> u64 {
        let holder = self.identity.member;
        self.account(owner).allowance(&holder).most()
    }

    /// The account of a node's member, under the present member list.
    pub(super) fn account(&mut self, node: NodeId) -> Account {
        let version = self.members.version().digest;
        let member = self.owner_of(node);
        if self.standings.accounts.as_ref().is_none_or(|(of, _)| *of != version) {
            self.standings.accounts = Some((version, self.accounts()));
        }
        let (_, accounts) = self.standings.accounts.as_ref().expect("it was just made");
        accounts[&member].clone()
    }

    pub(super) fn accounts(&self) -> BTreeMap<MemberId, Account> {
        let mut pledges: BTreeMap<MemberId, Pledge> = BTreeMap::new();
        let mut attested = Vec::new();
        for record in self.members.active() {
            let member = record.binding.member;
            let standing = self.standing_of(member);
            let pledge = pledges.entry(member).or_insert(Pledge { member, promise: 0, standing });
            pledge.promise = pledge.promise.saturating_add(record.promise);
            attested.extend(record.attestations.iter().map(|word| Attested {
                subject: member,
                by: self.owner_of(word.by),
                bytes: word.bytes,
                stamp: word.stamp,
            }));
        }
        accounts(self.now, &pledges.into_values().collect::<Vec<_>>(), &attested)
    }

    /// How a member stands: by what the group says, or by what this node has seen, whichever is worse.
    pub(super) fn standing_of(&self, member: MemberId) -> Standing {
        let group = self.standings.conducts.get(&member).map_or(Standing::NEW, |conduct| conduct.standing(self.now));
        self.standings.seen.get(&member).map_or(group, |seen| {
            let own = seen.standing(self.now);
            Standing { grade: group.grade.max(own.grade), ..group }
        })
    }

    /// Whether a node's member is one with whom more may be placed.
    pub(super) fn is_in_good_standing(&self, node: NodeId) -> bool {
        self.standing_of(self.owner_of(node)).grade == Grade::Full
    }

    /// Takes note of what others attest of a member.
    pub(super) fn note_conduct(&mut self, member: MemberId, record: &MemberRecord) {
        for word in &record.attestations {
            self.note_of(member, word);
        }
    }

    /// Takes note of a single word about another.
    pub(super) fn note_word(&mut self, word: &Attestation) {
        let member = self.owner_of(word.subject);
        self.note_of(member, word);
        self.standings.forget_accounts();
    }

    fn note_of(&mut self, member: MemberId, word: &Attestation) {
        let (now, by) = (self.now, self.owner_of(word.by));
        if by == member {
            return;
        }
        let conduct = self.standings.conducts.entry(member).or_insert_with(|| Conduct::new(now));
        // What is too old or too new says nothing of how it behaves now.
        let _ = conduct.note(now, by, word.stamp, word.answered, word.failed);
    }

    /// Takes note of what this node's own probes of a holder have shown in this window.
    pub(super) fn note_own_probes(&mut self, holder: NodeId, answered: u32, failed: u32) {
        let (now, member, own) = (self.now, self.owner_of(holder), self.identity.member);
        let seen = self.standings.seen.entry(member).or_insert_with(|| Conduct::new(now));
        let _ = seen.note(now, own, stamp(now), answered, failed);
        self.standings.forget_accounts();
    }
}
