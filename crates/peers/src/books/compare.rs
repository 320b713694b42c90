//! Where the books of two sides differ.

use super::{Agreement, Books, Held, HeldState, Piece, Placed, PlacedState};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// How much may still be on its way between two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exactness {
    /// Messages may be on their way: what one of them would settle is no difference.
    InFlight,
    /// Everything has arrived: both sides say the same.
    Settled,
}

/// What two sides say differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matter {
    /// A piece: the owner's line and the holder's.
    Piece(Piece, Option<Placed>, Option<Held>),
    /// The contract: the revision that the owner has and the one that the holder has.
    Contract(Option<u32>, Option<u32>),
}

/// One difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// What is said differently.
    pub matter: Matter,
    /// In words.
    pub what: &'static str,
}

/// Where the books of `owner` and `holder` differ as to what the one has placed with the other. Nothing, if they
/// agree.
#[must_use]
pub fn compare(owner: &Books, holder: &Books, exactness: Exactness) -> Vec<Difference> {
    let placed = owner.pair(&holder.me());
    let held = holder.pair(&owner.me());
    let mut differences = Vec::new();
    let lent = placed.and_then(|pair| pair.lent().copied());
    let granted = held.and_then(|pair| pair.granted().copied());
    if let Some(what) = contracts(lent, granted, exactness) {
        let [lent, granted] = [lent, granted].map(|it| it.map(|it| it.revision()));
        differences.push(Difference { matter: Matter::Contract(lent, granted), what });
    }
    let placed_names = placed.into_iter().flat_map(|pair| pair.placed().map(|(piece, _)| *piece));
    let held_names = held.into_iter().flat_map(|pair| pair.held().map(|(piece, _)| *piece));
    let names: BTreeSet<Piece> = placed_names.chain(held_names).collect();
    for piece in names {
        let placed = placed.and_then(|pair| pair.placed_piece(&piece));
        let held = held.and_then(|pair| pair.held_piece(&piece));
        if let Some(what) = pieces(placed, held, exactness) {
            differences.push(Difference { matter: Matter::Piece(piece, placed, held), what });
        }
    }
    differences
}

fn contracts(lent: Option<Agreement>, granted: Option<Agreement>, exactness: Exactness) -> Option<&'static str> {
    match (lent, granted) {
        (Some(a), Some(b)) if a.contract.terms.revision == b.contract.terms.revision => {
            if a.contract != b.contract {
                return Some("one revision of the contract with two contents");
            }
            (exactness == Exactness::Settled && a.ending.is_some() != b.ending.is_some())
                .then_some("only one side knows of the end")
        }
        // The holder signs last, so the owner's contract is never the newer one.
        (Some(a), Some(b)) if a.revision() > b.revision() && a.ending.is_none() => {
            Some("the owner has a contract that the holder does not know")
        }
        (None, None) => None,
        _ => (exactness == Exactness::Settled).then_some("the sides have different contracts"),
    }
}

fn pieces(placed: Option<Placed>, held: Option<Held>, exactness: Exactness) -> Option<&'static str> {
    if let (Some(placed), Some(held)) = (placed, held)
        && placed.bytes != held.bytes
    {
        return Some("one piece with two lengths");
    }
    let settled = exactness == Exactness::Settled;
    match (placed.map(|it| it.state), held.map(|it| it.state)) {
        (Some(PlacedState::Confirmed), Some(HeldState::Stored)) | (None, None) => None,
        (Some(PlacedState::Confirmed), None | Some(HeldState::Reserved)) => {
            Some("confirmed to the owner, and the holder does not have it")
        }
        (None, Some(HeldState::Stored)) => Some("stored for an owner who does not know of it"),
        // The owner has struck out what it sent, because the answer said no; the reservation is given up in time.
        (None, Some(HeldState::Reserved | HeldState::Dropped)) => settled.then_some("the holder has not forgotten it"),
        (Some(PlacedState::Confirmed), Some(HeldState::Dropped)) => {
            settled.then_some("the owner does not know that it was dropped")
        }
        (Some(PlacedState::Sent), _) => settled.then_some("sent, and not confirmed"),
        (Some(PlacedState::Released), _) => settled.then_some("released, and not struck out"),
    }
}
