//! The rules of contracts: who may be granted how much, for how long, and what follows an end.
//!
//! The owner proposes ([`next_terms`], [`propose`]), the holder looks at its books and at what the owner is good for
//! ([`may_grant`]), signs ([`grant`]) and both enter the contract in their [`Books`]. From two thirds of its term on
//! the owner renews it. What has happened to a contract since is its [`Phase`].

use crate::books::{Agreement, Books};
use crate::ledger::{Allowance, Grade};
use crate::stamp::{DAY_MS, HOUR_MS, stamp};
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{Digest, GroupId, NodeId};
use okapi_seal::{Hasher, Signature, SigningKey, verify};
use okapi_wire::peer::contract::{Contract, Ending, Proposal, Side, Terms};
use okapi_wire::{BodyWriter, Message};

/// The term of a contract, in milliseconds: 90 days.
pub const TERM_MS: u64 = 90 * DAY_MS;
/// The longest term a holder signs, in milliseconds. More would keep the room of somebody who never comes back.
pub const TERM_MAX_MS: u64 = 180 * DAY_MS;
/// From this age on the owner renews a contract, in milliseconds: two thirds of the term, so that a holder or owner
/// who is away for a month misses no renewal.
pub const RENEW_AFTER_MS: u64 = TERM_MS / 3 * 2;
/// How long a holder keeps what a lapsed contract has left with it, in milliseconds. Long, because the owner whose
/// contract lapses is one whose machine has died, and these are the bytes it comes back for.
pub const KEEP_LAPSED_MS: u64 = 90 * DAY_MS;
/// How long a holder keeps what an ended contract has left with it, in milliseconds: the time to drain.
pub const KEEP_ENDED_MS: u64 = 30 * DAY_MS;
/// How far in the future another member's stamp may lie, in milliseconds.
pub const SKEW_MAX_MS: u64 = HOUR_MS;
/// The least by which a contract grows if the holder has the room, in bytes.
pub const QUANTUM_MIN: u64 = 64 << 20;
/// The most by which a contract grows beyond what is needed at once, in bytes.
pub const QUANTUM_MAX: u64 = 16 << 30;
/// A contract grows by this part of what it must hold: one quantum for many segments.
pub const QUANTUM_PART: u64 = 8;

const _: () = assert!(TERM_MS <= TERM_MAX_MS && RENEW_AFTER_MS < TERM_MS);
const _: () = assert!(QUANTUM_MIN <= QUANTUM_MAX);

/// What a contract allows at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It takes data.
    Active {
        /// Whether it is time for the owner to propose the next one.
        renew: bool,
    },
    /// A side has ended it: no new data, and what is there moves away.
    Draining {
        /// When the holder may drop what is left: milliseconds since 1970-01-01 UTC.
        keep_until: u64,
    },
    /// Its term is over and nobody renewed it: no new data, but what is there stays for a while.
    Lapsed {
        /// When the holder may drop what is left: milliseconds since 1970-01-01 UTC.
        keep_until: u64,
    },
    /// The holder owes nothing any more. It *may* drop what is left, and does so when it wants the room.
    Over,
}

/// Why a holder does not sign a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is for another group or another holder.
    #[error("the proposal is not for this node; look up the holder's id in the member list")]
    NotMine,
    /// The owner has not signed it.
    #[error("the owner's signature of the proposal is wrong")]
    Signature,
    /// A contract with this or a higher revision exists or has ended.
    #[error("revision {proposed} was there before; propose {known} + 1 or higher")]
    Stale {
        /// The revision proposed.
        proposed: u32,
        /// The highest one known.
        known: u32,
    },
    /// It begins too far ahead, is over already, or lasts too long.
    #[error("the term does not begin by now, is over, or is longer than {most} ms; check the clock")]
    Term {
        /// The longest term, in milliseconds.
        most: u64,
    },
    /// It has less room than the owner's shards take already.
    #[error("the owner has {held} bytes here already; a contract cannot have fewer")]
    TooSmall {
        /// Bytes reserved and stored for this owner.
        held: u64,
    },
    /// The server half has no room for it.
    #[error("the server half has room for a contract of {most} bytes; propose no more")]
    Full {
        /// The most that this owner's contract may have in all.
        most: u64,
    },
    /// The owner may not place so much.
    #[error("the owner may place {most} bytes here by what it holds for others; it must hold more to place more")]
    Allowance {
        /// The most that this owner's contract may have in all.
        most: u64,
    },
    /// The owner has failed audits: no more room, or none at all, until it has earned that back.
    #[error("the owner has failed audits and is at `{grade}`; it must answer probes to come back")]
    Standing {
        /// Where it stands.
        grade: Grade,
    },
    /// This node is leaving or full and grants nothing more.
    #[error("this node is draining; place elsewhere")]
    Draining,
}

/// Whether the holder whose `books` these are may sign `proposal` of an owner who is good for `allowance`.
///
/// All that costs nothing is looked at first; the signature is verified last.
///
/// # Errors
/// The first [`Refusal`] that applies.
pub fn may_grant(now: Moment, books: &Books, allowance: &Allowance, proposal: &Proposal) -> Result<(), Refusal> {
    let terms = &proposal.terms;
    if terms.holder != books.me() || terms.group != books.group() || terms.owner == terms.holder {
        return Err(Refusal::NotMine);
    }
    let current = books.pair(&terms.owner).and_then(|pair| pair.granted());
    let known = current.map_or(0, Agreement::revision);
    if terms.revision <= known {
        return Err(Refusal::Stale { proposed: terms.revision, known });
    }
    let at = stamp(now);
    let begun = terms.from <= at.saturating_add(SKEW_MAX_MS);
    if !begun || terms.until <= at || terms.until - terms.from > TERM_MAX_MS {
        return Err(Refusal::Term { most: TERM_MAX_MS });
    }
    let held = books.pair(&terms.owner).map_or(0, |pair| pair.sums().held());
    if terms.bytes < held {
        return Err(Refusal::TooSmall { held });
    }
    if books.is_draining() {
        return Err(Refusal::Draining);
    }
    let grown = terms.bytes > current.map_or(0, |it| it.contract.terms.bytes);
    match allowance.grade {
        Grade::Full => {}
        Grade::NoNewData if !grown => {}
        grade => return Err(Refusal::Standing { grade }),
    }
    let most = allowance.most();
    // What is agreed already is renewed even if the allowance has shrunk below it: the ledger pushes by standing and
    // by refusing growth, not by throwing data out for a rounding of somebody's attestation.
    if grown && terms.bytes > most {
        return Err(Refusal::Allowance { most });
    }
    let most = books.room_for(now, &terms.owner);
    if terms.bytes > most {
        return Err(Refusal::Full { most });
    }
    if verify_proposal(proposal) { Ok(()) } else { Err(Refusal::Signature) }
}

/// What an agreement allows now.
#[must_use]
pub fn phase(now: Moment, agreement: &Agreement) -> Phase {
    let (at, terms) = (stamp(now), &agreement.contract.terms);
    if let Some(ending) = &agreement.ending {
        let keep_until = ending.stamp.min(terms.until).saturating_add(KEEP_ENDED_MS);
        return if at < keep_until { Phase::Draining { keep_until } } else { Phase::Over };
    }
    if at < terms.until {
        let renew_from = terms.from.saturating_add((terms.until - terms.from) / 3 * 2);
        return Phase::Active { renew: at >= renew_from };
    }
    let keep_until = terms.until.saturating_add(KEEP_LAPSED_MS);
    if at < keep_until { Phase::Lapsed { keep_until } } else { Phase::Over }
}

/// The terms that the owner whose `books` these are should propose to `holder` so that `more` bytes beyond all it has
/// there fit, or nothing if the present contract will do. Covers renewal too (`more` = 0).
#[must_use]
pub fn next_terms(now: Moment, books: &Books, holder: NodeId, more: u64) -> Option<Terms> {
    let at = stamp(now);
    let pair = books.pair(&holder);
    let needed = pair.map_or(0, |pair| pair.sums().placed()).checked_add(more)?;
    let current = pair.and_then(|pair| pair.lent());
    if let Some(agreement) = current
        && matches!(phase(now, agreement), Phase::Active { renew: false })
        && needed <= agreement.contract.terms.bytes
    {
        return None;
    }
    if needed == 0 {
        return None;
    }
    Some(Terms {
        group: books.group(),
        owner: books.me(),
        holder,
        bytes: needed.saturating_add(quantum(needed)),
        from: at,
        until: at.saturating_add(TERM_MS),
        revision: current.map_or(0, Agreement::revision).checked_add(1)?,
    })
}

/// The room beyond `needed` bytes for which a contract asks. A holder that has less says so ([`Refusal::Full`]), and
/// is then asked for just that: [`Terms::bytes`] need not be whole quanta, so the last bytes of a node find use too.
#[must_use]
pub const fn quantum(needed: u64) -> u64 {
    let part = needed / QUANTUM_PART;
    if part < QUANTUM_MIN {
        QUANTUM_MIN
    } else if part > QUANTUM_MAX {
        QUANTUM_MAX
    } else {
        part
    }
}

/// Signs terms as their owner.
#[must_use]
pub fn propose(terms: Terms, key: &SigningKey) -> Proposal {
    Proposal { terms, owner_signature: key.sign(&terms_digest(&terms)).0 }
}

/// Signs a proposal as its holder. The holder has asked [`may_grant`] before.
#[must_use]
pub fn grant(proposal: Proposal, key: &SigningKey) -> Contract {
    proposal.signed(key.sign(&terms_digest(&proposal.terms)).0)
}

/// Ends `contract` as one of its sides.
#[must_use]
pub fn end(now: Moment, contract: &Contract, side: Side, key: &SigningKey) -> Ending {
    let Terms { group, owner, holder, revision, .. } = contract.terms;
    let mut ending = Ending { group, owner, holder, revision, side, stamp: stamp(now), signature: [0; 64] };
    ending.signature = key.sign(&ending_digest(&ending)).0;
    ending
}

/// What both sides of a contract sign.
#[must_use]
pub fn terms_digest(terms: &Terms) -> Digest {
    let mut bytes = Vec::new();
    terms.encode(&mut BodyWriter::new(&mut bytes));
    Hasher::new("okapi 2026 contract: terms").add(&bytes).digest()
}

/// What the side that ends a contract signs.
#[must_use]
pub fn ending_digest(ending: &Ending) -> Digest {
    let mut bytes = Vec::new();
    ending.encode_unsigned(&mut BodyWriter::new(&mut bytes));
    Hasher::new("okapi 2026 contract: ending").add(&bytes).digest()
}

/// Whether the owner has signed.
#[must_use]
pub fn verify_proposal(proposal: &Proposal) -> bool {
    let digest = terms_digest(&proposal.terms);
    verify(&proposal.terms.owner.0, &digest, &Signature(proposal.owner_signature))
}

/// Whether both sides have signed.
#[must_use]
pub fn verify_contract(contract: &Contract) -> bool {
    let digest = terms_digest(&contract.terms);
    verify_proposal(&contract.proposal())
        && verify(&contract.terms.holder.0, &digest, &Signature(contract.holder_signature))
}

/// Whether the side that it names has signed an ending of `group`, and not for a time still to come.
#[must_use]
pub fn verify_ending(now: Moment, group: GroupId, ending: &Ending) -> bool {
    ending.group == group
        && ending.stamp <= stamp(now).saturating_add(SKEW_MAX_MS)
        && verify(&ending.by().0, &ending_digest(ending), &Signature(ending.signature))
}

#[cfg(test)]
mod tests;
