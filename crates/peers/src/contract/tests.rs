use super::*;
use crate::books::{Basis, Caps, Piece};
use crate::pretend::{NOON, at, key, segment};
use alloc::string::ToString;
use okapi_base::Shape;

const GROUP: GroupId = GroupId([9; 32]);
const MB: u64 = 1 << 20;
const PLENTY: Allowance = Allowance { line: 1 << 40, proven: 0, elsewhere: 0, grade: Grade::Full };

fn owner() -> NodeId {
    NodeId(key(1).public())
}

fn holder() -> NodeId {
    NodeId(key(2).public())
}

fn books_of(me: NodeId, server: u64) -> Books {
    Books::new(me, GROUP, Caps { user: 1 << 40, server })
}

fn terms() -> Terms {
    Terms {
        group: GROUP,
        owner: owner(),
        holder: holder(),
        bytes: 100 * MB,
        from: NOON,
        until: NOON + TERM_MS,
        revision: 1,
    }
}

fn asked(books: &Books, allowance: &Allowance, terms: Terms) -> Result<(), Refusal> {
    may_grant(at(NOON), books, allowance, &propose(terms, &key(1)))
}

fn signed(terms: Terms) -> Contract {
    grant(propose(terms, &key(1)), &key(2))
}

/// Books of the holder with a contract and a piece of 30 MB under it.
fn used() -> Books {
    let mut books = books_of(holder(), 1000 * MB);
    books.enter_contract(signed(terms())).unwrap();
    let piece = Piece { segment: segment(1), shape: Shape::TwoOfSix, index: 3 };
    books.reserve(at(NOON), owner(), piece, 30 * MB, Basis::Contract).unwrap();
    books
}

#[test]
fn a_fair_proposal_is_granted_and_both_signatures_verify() {
    let books = books_of(holder(), 1000 * MB);
    assert_eq!(asked(&books, &PLENTY, terms()), Ok(()));
    let contract = signed(terms());
    assert!(verify_contract(&contract));
    assert!(!verify_contract(&Contract { terms: Terms { bytes: 101 * MB, ..terms() }, ..contract }));
    assert!(!verify_contract(&Contract { holder_signature: contract.owner_signature, ..contract }));
}

#[test]
fn each_refusal_by_its_name() {
    let fresh = books_of(holder(), 1000 * MB);
    let no = |terms: Terms| asked(&fresh, &PLENTY, terms).unwrap_err();
    assert_eq!(no(Terms { group: GroupId([8; 32]), ..terms() }), Refusal::NotMine);
    assert_eq!(no(Terms { holder: owner(), ..terms() }), Refusal::NotMine);
    assert_eq!(no(Terms { owner: holder(), ..terms() }), Refusal::NotMine);
    let term = Refusal::Term { most: TERM_MAX_MS };
    assert_eq!(no(Terms { from: NOON + SKEW_MAX_MS + 1, until: NOON + TERM_MS, ..terms() }), term);
    assert_eq!(no(Terms { from: NOON - 9, until: NOON, ..terms() }), term);
    assert_eq!(no(Terms { until: NOON + TERM_MAX_MS + 1, ..terms() }), term);
    assert_eq!(no(Terms { bytes: 1001 * MB, ..terms() }), Refusal::Full { most: 1000 * MB });
    assert_eq!(no(Terms { revision: 0, ..terms() }), Refusal::Stale { proposed: 0, known: 0 });
    // The owner's signature of something else.
    let mut forged = propose(terms(), &key(1));
    forged.terms.bytes += 1;
    assert_eq!(may_grant(at(NOON), &fresh, &PLENTY, &forged), Err(Refusal::Signature));
    assert_eq!(may_grant(at(NOON), &fresh, &PLENTY, &propose(terms(), &key(3))), Err(Refusal::Signature));
    let little = Allowance { line: 10 * MB, proven: 60 * MB, elsewhere: 5 * MB, grade: Grade::Full };
    assert_eq!(asked(&fresh, &little, terms()), Err(Refusal::Allowance { most: 65 * MB }));
    for grade in [Grade::NoNewData, Grade::Drain, Grade::Out] {
        let fallen = Allowance { grade, ..PLENTY };
        assert_eq!(asked(&fresh, &fallen, terms()), Err(Refusal::Standing { grade }));
    }
    let used = used();
    assert_eq!(asked(&used, &PLENTY, terms()), Err(Refusal::Stale { proposed: 1, known: 1 }));
    let small = Terms { bytes: 29 * MB, revision: 2, ..terms() };
    assert_eq!(asked(&used, &PLENTY, small), Err(Refusal::TooSmall { held: 30 * MB }));
    let mut draining = used;
    draining.set_draining(true);
    assert_eq!(asked(&draining, &PLENTY, Terms { revision: 2, ..terms() }), Err(Refusal::Draining));
}

#[test]
fn refusals_say_what_to_do() {
    assert!(Refusal::Full { most: 7 }.to_string().contains("room for a contract of 7 bytes; propose no more"));
    assert!(Refusal::Standing { grade: Grade::NoNewData }.to_string().contains("`no new data`; it must answer probes"));
}

#[test]
fn what_is_agreed_is_renewed_even_when_the_allowance_shrinks() {
    let books = used();
    let nothing = Allowance { line: 0, proven: 0, elsewhere: 0, grade: Grade::Full };
    let same = Terms { revision: 2, ..terms() };
    assert_eq!(asked(&books, &nothing, same), Ok(()));
    assert_eq!(asked(&books, &nothing, Terms { bytes: 101 * MB, ..same }), Err(Refusal::Allowance { most: 0 }));
    // Who may have no new data keeps what it has, but does not grow.
    let fallen = Allowance { grade: Grade::NoNewData, ..PLENTY };
    assert_eq!(asked(&books, &fallen, same), Ok(()));
    assert!(matches!(asked(&books, &fallen, Terms { bytes: 101 * MB, ..same }), Err(Refusal::Standing { .. })));
    let drained = Allowance { grade: Grade::Drain, ..PLENTY };
    assert_eq!(asked(&books, &drained, same), Err(Refusal::Standing { grade: Grade::Drain }));
}

#[test]
fn contracts_are_never_overbooked() {
    let mut books = books_of(holder(), 250 * MB);
    books.enter_contract(signed(terms())).unwrap();
    let third = NodeId(key(3).public());
    let other = Terms { owner: third, bytes: 151 * MB, ..terms() };
    assert_eq!(may_grant(at(NOON), &books, &PLENTY, &propose(other, &key(3))), Err(Refusal::Full { most: 150 * MB }));
    let fits = Terms { bytes: 150 * MB, ..other };
    assert_eq!(may_grant(at(NOON), &books, &PLENTY, &propose(fits, &key(3))), Ok(()));
    // The owner's own contract is replaced, so its room is its own.
    assert_eq!(asked(&books, &PLENTY, Terms { bytes: 250 * MB, revision: 2, ..terms() }), Ok(()));
}

#[test]
fn a_contract_goes_from_active_to_over() {
    let agreement = Agreement { contract: signed(terms()), ending: None };
    for (after, expected) in [
        (0, Phase::Active { renew: false }),
        (RENEW_AFTER_MS - 1, Phase::Active { renew: false }),
        (RENEW_AFTER_MS, Phase::Active { renew: true }),
        (TERM_MS, Phase::Lapsed { keep_until: NOON + TERM_MS + KEEP_LAPSED_MS }),
        (TERM_MS + KEEP_LAPSED_MS, Phase::Over),
    ] {
        assert_eq!(phase(at(NOON + after), &agreement), expected, "after {after} ms");
    }
    let ending = end(at(NOON + DAY_MS), &agreement.contract, Side::Holder, &key(2));
    let ended = Agreement { ending: Some(ending), ..agreement };
    let keep_until = NOON + DAY_MS + KEEP_ENDED_MS;
    assert_eq!(phase(at(NOON + DAY_MS), &ended), Phase::Draining { keep_until });
    assert_eq!(phase(at(keep_until), &ended), Phase::Over);
}

#[test]
fn an_ending_is_its_sides_word_and_nobody_elses() {
    let contract = signed(terms());
    let ending = end(at(NOON), &contract, Side::Owner, &key(1));
    assert!(verify_ending(at(NOON), GROUP, &ending));
    assert!(!verify_ending(at(NOON), GroupId([8; 32]), &ending));
    assert!(!verify_ending(at(NOON), GROUP, &Ending { side: Side::Holder, ..ending }));
    assert!(!verify_ending(at(NOON - 2 * SKEW_MAX_MS), GROUP, &ending), "from the future");
    assert!(!verify_ending(at(NOON), GROUP, &end(at(NOON), &contract, Side::Owner, &key(2))));
}

#[test]
fn an_owner_proposes_what_it_needs_and_renews_in_time() {
    let mut books = books_of(owner(), 0);
    assert_eq!(next_terms(at(NOON), &books, holder(), 0), None, "nothing is needed");
    let first = next_terms(at(NOON), &books, holder(), MB).unwrap();
    assert_eq!((first.bytes, first.revision, first.until - first.from), (MB + QUANTUM_MIN, 1, TERM_MS));
    books.enter_contract(signed(first)).unwrap();
    assert_eq!(next_terms(at(NOON), &books, holder(), MB), None, "it fits");
    let piece = Piece { segment: segment(1), shape: Shape::OneOfThree, index: 0 };
    books.send(at(NOON), holder(), piece, MB).unwrap();
    let more = next_terms(at(NOON), &books, holder(), QUANTUM_MIN + 1).unwrap();
    assert_eq!((more.bytes, more.revision), (MB + 2 * QUANTUM_MIN + 1, 2));
    let renewed = next_terms(at(NOON + RENEW_AFTER_MS), &books, holder(), 0).unwrap();
    assert_eq!((renewed.from, renewed.revision), (NOON + RENEW_AFTER_MS, 2));
    assert_eq!(next_terms(at(NOON), &books, holder(), u64::MAX), None, "no disk has that");
    assert_eq!([quantum(0), quantum(1 << 33), quantum(u64::MAX)], [QUANTUM_MIN, 1 << 30, QUANTUM_MAX]);
}

#[test]
fn what_is_signed_is_for_ever() {
    let digest = |digest: Digest| digest.to_string();
    let ending = Ending {
        group: GROUP,
        owner: NodeId([1; 32]),
        holder: NodeId([2; 32]),
        revision: 3,
        side: Side::Owner,
        stamp: 4,
        signature: [0; 64],
    };
    let fixed = Terms { owner: NodeId([1; 32]), holder: NodeId([2; 32]), ..terms() };
    assert_eq!(digest(terms_digest(&fixed)), "02bb0fdb6d8f7e6d88653b8a6a01ba37f5c2c28ccabe3445c49a30c1966372d4");
    assert_eq!(digest(ending_digest(&ending)), "4cc9e25455a926cc2735820151e6530ecdb2240bffaf27e485494133c28a1d66");
}
