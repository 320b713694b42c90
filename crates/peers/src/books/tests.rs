use super::*;
use crate::contract::{KEEP_ENDED_MS, TERM_MS};
use crate::pretend::{Dice, NOON, at, node, segment};
use crate::stamp::DAY_MS;
use alloc::vec;
use alloc::vec::Vec;
use okapi_wire::peer::contract::Terms;

mod model;

const GROUP: GroupId = GroupId([9; 32]);
const CAPS: Caps = Caps { user: 1000, server: 1000 };
const OWNER: NodeId = node(1);
const HOLDER: NodeId = node(2);

fn piece(number: u8, index: u8) -> Piece {
    Piece { segment: segment(number), shape: Shape::TwoOfSix, index }
}

fn contract(owner: NodeId, holder: NodeId, bytes: u64, revision: u32) -> Contract {
    let terms = Terms { group: GROUP, owner, holder, bytes, from: NOON, until: NOON + TERM_MS, revision };
    Contract { terms, owner_signature: [1; 64], holder_signature: [2; 64] }
}

fn ending(of: &Contract, stamp: u64) -> Ending {
    let Terms { group, owner, holder, revision, .. } = of.terms;
    Ending { group, owner, holder, revision, side: Side::Owner, stamp, signature: [3; 64] }
}

fn both() -> (Books, Books) {
    let (mut owner, mut holder) = (Books::new(OWNER, GROUP, CAPS), Books::new(HOLDER, GROUP, CAPS));
    owner.enter_contract(contract(OWNER, HOLDER, 500, 1)).unwrap();
    holder.enter_contract(contract(OWNER, HOLDER, 500, 1)).unwrap();
    (owner, holder)
}

fn names(differences: &[Difference]) -> Vec<&'static str> {
    differences.iter().map(|difference| difference.what).collect()
}

#[test]
fn a_piece_from_its_sending_to_its_end() {
    let now = at(NOON);
    let (mut owner, mut holder) = both();
    let it = piece(1, 0);
    let agree = |owner: &Books, holder: &Books| names(&compare(owner, holder, Exactness::InFlight));
    owner.send(now, HOLDER, it, 100).unwrap();
    assert!(agree(&owner, &holder).is_empty());
    holder.reserve(now, OWNER, it, 100, Basis::Contract).unwrap();
    assert!(agree(&owner, &holder).is_empty());
    holder.store(now, OWNER, it).unwrap();
    assert!(agree(&owner, &holder).is_empty());
    owner.confirm(now, HOLDER, it).unwrap();
    assert_eq!(compare(&owner, &holder, Exactness::Settled), []);
    assert_eq!((owner.sums().confirmed, holder.sums().stored), (100, 100));
    owner.release(now, HOLDER, it).unwrap();
    assert_eq!(owner.sums().placed(), 100, "it counts until it is gone");
    holder.drop(now, OWNER, it).unwrap();
    owner.strike(HOLDER, it).unwrap();
    assert!(agree(&owner, &holder).is_empty());
    holder.clear(OWNER, it).unwrap();
    assert_eq!(compare(&owner, &holder, Exactness::Settled), []);
    assert_eq!((owner.sums(), holder.sums()), (Sums::ZERO, Sums::ZERO));
}

#[test]
fn each_refusal_by_its_name() {
    let now = at(NOON);
    let (mut owner, mut holder) = both();
    assert_eq!(owner.send(now, node(3), piece(1, 0), 9), Err(Refused::NoContract));
    assert_eq!(owner.send(now, HOLDER, piece(1, 0), 501), Err(Refused::Contract { left: 500 }));
    for (bad, bytes) in [(piece(1, 6), 9), (piece(1, 0), 0), (piece(1, 0), PIECE_BYTES_MAX + 1)] {
        assert_eq!(owner.send(now, HOLDER, bad, bytes), Err(Refused::BadPiece));
        assert_eq!(owner.adopt(now, HOLDER, bad, bytes), Err(Refused::BadPiece));
        assert_eq!(holder.reserve(now, OWNER, bad, bytes, Basis::Contract), Err(Refused::BadPiece));
    }
    assert_eq!(owner.confirm(now, HOLDER, piece(1, 0)), Err(Refused::NoEntry));
    owner.send(now, HOLDER, piece(1, 0), 9).unwrap();
    assert_eq!(owner.send(now, HOLDER, piece(1, 0), 9), Ok(None), "it was entered before");
    assert_eq!(owner.send(now, HOLDER, piece(1, 0), 8), Err(Refused::OtherLength { entered: 9 }));
    owner.release(now, HOLDER, piece(1, 0)).unwrap();
    assert_eq!(owner.send(now, HOLDER, piece(1, 0), 9), Err(Refused::NoEntry));
    assert_eq!(owner.confirm(now, HOLDER, piece(1, 0)), Err(Refused::NoEntry));
    assert_eq!(holder.store(now, OWNER, piece(1, 0)), Err(Refused::NoEntry));
    assert_eq!(holder.reserve(now, node(3), piece(1, 0), 9, Basis::Contract), Err(Refused::NoContract));
    holder.reserve(now, OWNER, piece(1, 0), 400, Basis::Contract).unwrap();
    assert_eq!(holder.reserve(now, OWNER, piece(1, 1), 101, Basis::Contract), Err(Refused::Contract { left: 100 }));
    assert_eq!(holder.clear(OWNER, piece(1, 0)), Err(Refused::NoEntry), "it is still here");
    assert_eq!(holder.keep(segment(1), 1001), Err(Refused::UserHalf { left: 1000 }));
    holder.keep(segment(1), 1000).unwrap();
    assert_eq!(holder.keep(segment(1), 7), Err(Refused::OtherLength { entered: 1000 }));
    assert_eq!(holder.enter_contract(contract(OWNER, HOLDER, 9, 1)), Err(Refused::Stale { known: 1 }));
    assert_eq!(holder.enter_contract(contract(OWNER, node(3), 9, 7)), Err(Refused::Stale { known: 0 }));
    assert_eq!(holder.strike_contract(now, OWNER, Side::Holder), Err(Refused::NoEntry), "it is not over");
    // A mender takes only room that no contract was promised: 500 of 1,000 are.
    let mend = Basis::Mend { most: 600 };
    assert_eq!(holder.reserve(now, node(3), piece(2, 0), 501, mend), Err(Refused::ServerHalf { left: 500 }));
    assert_eq!(holder.reserve(now, node(3), piece(2, 0), 601, mend), Err(Refused::Contract { left: 600 }));
    holder.reserve(now, node(3), piece(2, 0), 500, mend).unwrap();
}

#[test]
fn an_ended_contract_takes_nothing_more_and_is_struck_out_when_over() {
    let (mut owner, _) = both();
    let end = ending(&contract(OWNER, HOLDER, 500, 1), NOON);
    assert!(owner.enter_ending(end).unwrap().is_some());
    assert_eq!(owner.enter_ending(Ending { stamp: NOON + DAY_MS, ..end }), Ok(None), "the first word counts");
    assert_eq!(owner.send(at(NOON), HOLDER, piece(1, 0), 9), Err(Refused::NoContract));
    assert_eq!(owner.strike_contract(at(NOON), HOLDER, Side::Owner), Err(Refused::NoEntry));
    assert!(owner.strike_contract(at(NOON + KEEP_ENDED_MS), HOLDER, Side::Owner).unwrap().is_some());
    assert_eq!(owner.pair(&HOLDER), None);
    assert_eq!(owner.enter_ending(end), Err(Refused::NoContract));
}

#[test]
fn planted_differences_are_found() {
    let now = at(NOON);
    let (mut owner, mut holder) = both();
    for index in 0..5 {
        owner.send(now, HOLDER, piece(1, index), 10).unwrap();
        holder.reserve(now, OWNER, piece(1, index), 10, Basis::Contract).unwrap();
        holder.store(now, OWNER, piece(1, index)).unwrap();
        owner.confirm(now, HOLDER, piece(1, index)).unwrap();
    }
    assert_eq!(compare(&owner, &holder, Exactness::Settled), []);
    // The holder has forgotten one, keeps one that the owner has struck out, and one has two lengths.
    holder.drop(now, OWNER, piece(1, 0)).unwrap();
    holder.clear(OWNER, piece(1, 0)).unwrap();
    owner.strike(HOLDER, piece(1, 1)).unwrap();
    owner.strike(HOLDER, piece(1, 2)).unwrap();
    owner.adopt(now, HOLDER, piece(1, 2), 11).unwrap();
    // And one is on its way.
    owner.send(now, HOLDER, piece(1, 5), 10).unwrap();
    holder.drop(now, OWNER, piece(1, 3)).unwrap();
    owner.release(now, HOLDER, piece(1, 4)).unwrap();
    let hard = [
        "confirmed to the owner, and the holder does not have it",
        "stored for an owner who does not know of it",
        "one piece with two lengths",
    ];
    let found = compare(&owner, &holder, Exactness::InFlight);
    assert_eq!(names(&found), hard);
    assert!(matches!(found[0].matter, Matter::Piece(name, Some(_), None) if name == piece(1, 0)));
    let soft =
        ["the owner does not know that it was dropped", "released, and not struck out", "sent, and not confirmed"];
    assert_eq!(names(&compare(&owner, &holder, Exactness::Settled)), [&hard[..], &soft[..]].concat());
    owner.enter_contract(contract(OWNER, HOLDER, 600, 2)).unwrap();
    let found = compare(&owner, &holder, Exactness::InFlight);
    assert_eq!(found[0].what, "the owner has a contract that the holder does not know");
    assert_eq!(found[0].matter, Matter::Contract(Some(2), Some(1)));
    holder.enter_contract(contract(OWNER, HOLDER, 601, 2)).unwrap();
    assert_eq!(
        names(&compare(&owner, &holder, Exactness::InFlight))[0],
        "one revision of the contract with two contents"
    );
}

#[test]
fn golden_lines() {
    let now = at(0x0102_0304);
    let mut books = Books::new(OWNER, GROUP, CAPS);
    let entry = books.adopt(now, HOLDER, piece(7, 4), 0x0a0b).unwrap().unwrap();
    let key = [&[1][..], &[2; 32], &[7; 32], &[4, 4]].concat();
    let value = vec![1, 2, 0x0b, 0x0a, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1, 0, 0, 0, 0];
    assert_eq!(entry, Entry { key: key.clone(), value: Some(value) });
    let entry = books.strike(HOLDER, piece(7, 4)).unwrap().unwrap();
    assert_eq!(entry, Entry { key, value: None });
    let entry = books.keep(segment(7), 5).unwrap().unwrap();
    assert_eq!(entry, Entry { key: [&[5][..], &[7; 32]].concat(), value: Some(vec![1, 5, 0, 0, 0, 0, 0, 0, 0]) });
    let entry = books.reserve(now, OWNER, piece(7, 4), 3, Basis::Contract).unwrap().unwrap();
    assert_eq!((entry.key[0], entry.value.unwrap()[..3].to_vec()), (2, vec![1, 1, 3]));
    let entry = books.enter_contract(contract(OWNER, HOLDER, 5, 1)).unwrap().unwrap();
    let value = entry.value.unwrap();
    assert_eq!((entry.key, value[0], value[value.len() - 1]), ([&[3][..], &[2; 32]].concat(), 1, 0));
}

#[test]
fn damaged_lines_are_refused_and_never_panic() {
    let now = at(NOON);
    let (mut owner, mut holder) = both();
    owner.send(now, HOLDER, piece(1, 0), 10).unwrap();
    owner.keep(segment(1), 20).unwrap();
    owner.enter_ending(ending(&contract(OWNER, HOLDER, 500, 1), NOON)).unwrap();
    holder.reserve(now, OWNER, piece(1, 0), 10, Basis::Contract).unwrap();
    let mut dice = Dice(2);
    for books in [&owner, &holder] {
        let lines = books.lines();
        for line in &lines {
            let value = line.value.clone().unwrap();
            let open = |key: &[u8], value: &[u8]| Books::open(books.me(), GROUP, CAPS, [(key, value)]);
            (0..value.len()).for_each(|cut| assert!(open(&line.key, &value[..cut]).is_err()));
            (0..line.key.len()).for_each(|cut| assert!(open(&line.key[..cut], &value).is_err()));
            for _ in 0..500 {
                let (mut key, mut value) = (line.key.clone(), value.clone());
                if dice.below(3) == 0 {
                    let place = dice.below(key.len() as u64) as usize;
                    key[place] ^= 1 << dice.below(8);
                } else {
                    let place = dice.below(value.len() as u64) as usize;
                    value[place] ^= 1 << dice.below(8);
                }
                if let Ok(read) = open(&key, &value) {
                    read.recount();
                    assert_eq!(read.lines(), [Entry { key, value: Some(value) }]);
                }
            }
        }
    }
    let unknown = Books::open(OWNER, GROUP, CAPS, [(&[6_u8, 0][..], &[1_u8][..])]);
    assert_eq!(unknown, Err(EntryError::Kind { at: 0, kind: 6 }));
}
