use super::*;
use alloc::vec;
use okapi_seal::{Secret, SigningKey};
use okapi_wire::body::{BodyWriter, Message};
use okapi_wire::peer::member::{Attestation, Pledge, Vouch};
use proptest::prelude::*;

const NOW: Moment = Moment(Duration::from_secs(1_800_000_000));
const STAMP: u64 = 1_700_000_000_000;

/// A member with one node.
struct Person {
    member: SigningKey,
    node: SigningKey,
}

impl Person {
    fn new(number: u8) -> Self {
        let key = |what| SigningKey::from_secret(&Secret::from_bytes([number; 32]).derive(what, b""));
        Self { member: key("okapi test: member"), node: key("okapi test: node") }
    }

    fn id(&self) -> NodeId {
        NodeId(self.node.public())
    }

    fn binding(&self, group: GroupId) -> Binding {
        let member = MemberId(self.member.public());
        Binding { group, node: self.id(), member, recipient: [7; 32], number: 0 }
    }

    fn pledge(&self, group: GroupId) -> Pledge {
        pledge(&self.node, self.binding(group), bind(&self.member, self.id(), [7; 32], 0))
    }

    fn found(&self) -> MemberRecord {
        let member_signature = bind(&self.member, self.id(), [7; 32], 0);
        found(&self.node, self.binding(GroupId([0; 32])), member_signature, standing(1 << 40), STAMP)
    }

    fn vouched_by(&self, voucher: &Self, serial: u64, group: GroupId) -> MemberRecord {
        let vouch = vouch(&voucher.node, serial, &self.binding(group), STAMP);
        join(&self.node, &self.pledge(group), vouch, standing(1 << 40), STAMP)
    }
}

fn standing(promise: u64) -> Standing {
    Standing { site: 1, promise, leaving: false, attestations: Vec::new() }
}

/// A founder's list with `count` nodes, each vouched for by the founder.
fn circle(count: u8) -> (Vec<Person>, MemberList) {
    let people: Vec<Person> = (0..count).map(Person::new).collect();
    let first = people[0].found();
    let group = first.binding.group;
    let mut list = MemberList::new(group);
    assert_eq!(list.merge(NOW, first), Ok(Merged::New));
    for (at, person) in people.iter().enumerate().skip(1) {
        assert_eq!(list.merge(NOW, person.vouched_by(&people[0], at as u64, group)), Ok(Merged::New));
    }
    (people, list)
}

fn resigned(mut record: MemberRecord, key: &SigningKey) -> MemberRecord {
    record.signature = key.sign(&check::record_digest(&record)).0;
    record
}

#[test]
fn a_group_grows_changes_and_shrinks() {
    let (people, mut list) = circle(3);
    let group = list.group();
    assert_eq!(list.len(), 3);
    assert_eq!(list.version().number, 3);
    assert_eq!(list.owner(people[1].id()), Some(MemberId(people[1].member.public())));
    let one = list.get(people[1].id()).unwrap().clone();
    assert_eq!(list.merge(NOW, one.clone()), Ok(Merged::Known));
    let leaving = revise(&people[1].node, &one, Standing { leaving: true, ..standing(5) }, STAMP + 1);
    let before = list.clone();
    assert_eq!(list.merge(NOW, leaving.clone()), Ok(Merged::Newer));
    assert_eq!(list.get(people[1].id()).unwrap().state, State::Leaving);
    assert_eq!(before.get(people[1].id()), Some(&one), "a clone stays as it is");
    assert_ne!(before.version(), list.version());
    assert_eq!(list.merge(NOW, one.clone()), Ok(Merged::Known));
    let parted = part(&people[1].node, &leaving, 0, STAMP + 2);
    assert_eq!(list.merge(NOW, parted.clone()), Ok(Merged::Newer));
    assert_eq!(list.active().count(), 2);
    assert_eq!(list.capacity(people[1].id()), 0);
    let back = revise(&people[1].node, &leaving, standing(6), STAMP + 9);
    let back = resigned(MemberRecord { revision: 99, ..back }, &people[1].node);
    assert_eq!(list.merge(NOW, back), Err(MemberRefusal::Parted));
    let late = Person::new(9).vouched_by(&people[1], 1, group);
    assert_eq!(list.merge(NOW, late), Err(MemberRefusal::VoucherParted));
    assert_eq!(list.next_serial(people[0].id()), 3);
}

#[test]
fn a_lost_node_is_parted_by_its_member_for_good() {
    let (people, mut list) = circle(3);
    let group = list.group();
    let kept = Person::new(10).vouched_by(&people[1], 1, group);
    let dropped = Person::new(11).vouched_by(&people[1], 2, group);
    let hanging = Person::new(12).vouched_by(&Person::new(11), 1, group);
    for record in [&kept, &dropped, &hanging] {
        assert_eq!(list.merge(NOW, record.clone()), Ok(Merged::New));
    }
    let one = list.get(people[1].id()).unwrap().clone();
    let parted = part(&people[1].member, &one, 1, STAMP + 2);
    assert_eq!(parted.signer, Signer::Member);
    assert_eq!(list.merge(NOW, parted.clone()), Ok(Merged::Newer));
    assert!(list.get(kept.binding.node).is_some());
    assert!(list.get(dropped.binding.node).is_none() && list.get(hanging.binding.node).is_none());
    assert_eq!(list.merge(NOW, hanging), Err(MemberRefusal::UnknownVoucher));
    // The thief of the node's key can do nothing about it, whatever its revision.
    let stolen = part(&people[1].node, &MemberRecord { revision: u32::MAX, ..one.clone() }, 9, STAMP + 3);
    assert_eq!(list.merge(NOW, stolen), Ok(Merged::Known));
    assert_eq!(list.merge(NOW, dropped), Err(MemberRefusal::VoucherParted));
    let active = resigned(MemberRecord { signer: Signer::Member, ..one }, &people[1].member);
    assert_eq!(list.merge(NOW, active), Err(MemberRefusal::Malformed("signer")));
}

#[test]
fn everything_bad_has_a_name() {
    let (people, mut list) = circle(2);
    let group = list.group();
    let one = list.get(people[1].id()).unwrap().clone();
    let newcomer = Person::new(20);
    let good = newcomer.vouched_by(&people[1], 1, group);
    let key = &newcomer.node;
    let try_record = |list: &MemberList, record: MemberRecord| {
        let before = list.version();
        let mut list = list.clone();
        let refusal = list.merge(NOW, record).unwrap_err();
        assert_eq!(list.version(), before);
        refusal
    };
    let mut wrong = good.clone();
    wrong.binding.group = GroupId([1; 32]);
    assert_eq!(try_record(&list, wrong), MemberRefusal::WrongGroup);
    let stranger = newcomer.vouched_by(&Person::new(21), 1, group);
    assert_eq!(try_record(&list, stranger), MemberRefusal::UnknownVoucher);
    let mut forged = good.clone();
    forged.promise += 1;
    assert_eq!(try_record(&list, forged), MemberRefusal::BadSignature("record"));
    let mut forged = good.clone();
    forged.vouch.signature[3] ^= 1;
    assert_eq!(try_record(&list, resigned(forged, key)), MemberRefusal::BadSignature("vouch"));
    let mut forged = good.clone();
    forged.member_signature[3] ^= 1;
    assert_eq!(try_record(&list, resigned(forged, key)), MemberRefusal::BadSignature("binding"));
    let mut forged = good.clone();
    forged.binding.member = MemberId(people[1].member.public());
    assert_eq!(try_record(&list, resigned(forged, key)), MemberRefusal::BadSignature("binding"));
    let late = MemberRecord { stamp: NOW.0.as_millis() as u64 + 600_001, ..good.clone() };
    assert_eq!(try_record(&list, resigned(late, key)), MemberRefusal::FromTheFuture);
    let early = MemberRecord { stamp: STAMP - 1, ..good.clone() };
    assert_eq!(try_record(&list, resigned(early, key)), MemberRefusal::Malformed("stamp"));
    let zeroth = MemberRecord { revision: 0, ..good.clone() };
    assert_eq!(try_record(&list, resigned(zeroth, key)), MemberRefusal::Malformed("revision"));
    let boast = MemberRecord { proven: 1 << 40, ..good.clone() };
    assert_eq!(try_record(&list, resigned(boast, key)), MemberRefusal::Malformed("proven"));
    let own = vouch(key, 0, &newcomer.binding(group), STAMP);
    let founder = resigned(MemberRecord { vouch: own, ..good.clone() }, key);
    assert_eq!(try_record(&list, founder), MemberRefusal::NotTheFounder);
    let mut liar = attest(&people[0].node, &group, good.binding.node, 64, (1, 0), STAMP);
    liar.bytes = 128;
    let boast = MemberRecord { proven: 128, attestations: vec![liar], ..good.clone() };
    assert_eq!(try_record(&list, resigned(boast, key)), MemberRefusal::BadSignature("attestation"));
    let elsewhere = attest(&people[0].node, &group, people[0].id(), 64, (1, 0), STAMP);
    let boast = MemberRecord { proven: 64, attestations: vec![elsewhere], ..good.clone() };
    assert_eq!(try_record(&list, resigned(boast, key)), MemberRefusal::Malformed("attestations"));
    let taken = newcomer.vouched_by(&people[0], 1, group);
    let lower = taken.binding.node < one.binding.node;
    let mut other = list.clone();
    assert_eq!(other.merge(NOW, taken).is_ok(), lower, "one serial number is one node's");
    list.merge(NOW, good.clone()).unwrap();
    list.merge(NOW, Person::new(23).vouched_by(&newcomer, 1, group)).unwrap();
    let farther = newcomer.vouched_by(&Person::new(23), 2, group);
    assert_eq!(try_record(&list, farther), MemberRefusal::AnotherVouch);
}

#[test]
fn capacity_is_what_others_attest() {
    let (people, mut list) = circle(4);
    let group = list.group();
    let subject = people[1].id();
    let mut capacity = |promise: u64, bytes: &[(usize, u64)]| {
        let attest = |(by, bytes): &(usize, u64)| attest(&people[*by].node, &group, subject, *bytes, (1, 0), STAMP);
        let attestations = bytes.iter().map(attest).collect();
        let last = list.get(subject).unwrap();
        let next = revise(&people[1].node, last, Standing { attestations, ..standing(promise) }, STAMP);
        assert_eq!(list.merge(NOW, next), Ok(Merged::Newer));
        list.capacity(subject)
    };
    assert_eq!(capacity(8000, &[]), 1000);
    assert_eq!(capacity(8000, &[(2, 100)]), 1000);
    assert_eq!(capacity(8000, &[(2, 500), (3, 200)]), 2048, "4 x 512");
    assert_eq!(capacity(8000, &[(2, 5000), (3, u64::MAX)]), 8000);
    assert_eq!(capacity(8000, &[(2, 400), (2, 400)]), 1024, "each attester counts once");
    let other = list.get(people[2].id()).unwrap().clone();
    list.merge(NOW, part(&people[2].node, &other, 0, STAMP)).unwrap();
    assert_eq!(list.capacity(subject), 1000, "one that parted holds nothing there any more");
    assert_eq!(list.capacity(NodeId([0; 32])), 0);
}

#[test]
fn two_lists_meet() {
    let (people, full) = circle(30);
    let group = full.group();
    let mut full = full;
    let hanging = Person::new(100).vouched_by(&people[29], 1, group);
    full.merge(NOW, hanging).unwrap();
    let mut other = MemberList::new(group);
    let mut letters = 0;
    while other.version() != full.version() {
        let records = full.missing_from(&other.summary(), 4096);
        assert!(!records.is_empty());
        assert!(records.iter().map(|record| check::record_bytes(record)).sum::<usize>() <= 4096);
        for record in records {
            assert_eq!(other.merge(NOW, (*record).clone()), Ok(Merged::New));
        }
        letters += 1;
    }
    assert!(letters < 6);
    assert!(full.missing_from(&other.summary(), 4096).is_empty());
    assert_eq!(MemberList::open(group, other.iter().rev_cloned()).version(), full.version());
}

trait RevCloned {
    fn rev_cloned(self) -> Vec<MemberRecord>;
}

impl<'a, I: Iterator<Item = &'a MemberRecord>> RevCloned for I {
    fn rev_cloned(self) -> Vec<MemberRecord> {
        let mut records: Vec<_> = self.cloned().collect();
        records.reverse();
        records
    }
}

#[test]
fn golden_names() {
    let (_, list) = circle(2);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect::<alloc::string::String>();
    assert_eq!(hex(&list.group().0), "30ab5b43f112b070983432e23020adfc33e4955ba98f690320d2e6290025abd4");
    assert_eq!(hex(&list.version().digest.0), "47647f8246c498d37aa04a9003e8922c8bc27853ec8701e2b58ff654111a916b");
}

/// What one pretend record says; small numbers, so that they collide.
#[derive(Debug, Clone)]
struct Claim {
    node: usize,
    by: usize,
    serial: u64,
    vouched_at: u64,
    revision: u32,
    parted: Option<(bool, u64)>,
    promise: u64,
}

fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let parted = prop::option::weighted(0.4, (any::<bool>(), 0_u64..4));
    let claim = (0_usize..7, 0_usize..7, 1_u64..4, 0_u64..2, 1_u32..4, parted, 0_u64..2);
    let claim = claim.prop_map(|(node, by, serial, vouched_at, revision, parted, promise)| Claim {
        node,
        by,
        serial,
        vouched_at,
        revision,
        parted,
        promise,
    });
    prop::collection::vec(claim, 1..40)
}

fn records_of(people: &[Person], claims: &[Claim]) -> Vec<MemberRecord> {
    let first = people[0].found();
    let group = first.binding.group;
    let mut records = vec![first.clone()];
    for claim in claims {
        let person = &people[claim.node];
        let mut record = if claim.node == claim.by {
            if claim.node != 0 {
                continue;
            }
            first.clone()
        } else {
            let word: Vouch =
                vouch(&people[claim.by].node, claim.serial, &person.binding(group), STAMP + claim.vouched_at);
            join(&person.node, &person.pledge(group), word, standing(claim.promise), STAMP)
        };
        record.revision = claim.revision;
        let key = if claim.parted.is_some_and(|(by_member, _)| by_member) { &person.member } else { &person.node };
        records.push(match claim.parted {
            Some((_, honoured)) => part(key, &record, honoured, STAMP),
            None => resigned(record, key),
        });
    }
    records
}

/// Offers all records again and again until nothing changes.
fn merged(group: GroupId, most: usize, records: &[MemberRecord]) -> MemberList {
    let mut list = MemberList::with_most(group, most);
    for _ in 0..100 {
        let before = list.version();
        let mut moved = false;
        for record in records {
            let then = list.version();
            let _ = list.merge(NOW, record.clone());
            moved |= list.version() != then;
        }
        if list.version() == before && !moved {
            return list;
        }
    }
    panic!("the list never comes to rest");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_order_gives_the_same_list(
        claims in claims(),
        most in prop::sample::select(vec![3_usize, 5, NODES_MAX]),
        shuffles in prop::collection::vec(prop::collection::vec(any::<u32>(), 80), 4),
    ) {
        let people: Vec<Person> = (0..7).map(Person::new).collect();
        let records = records_of(&people, &claims);
        let group = records[0].binding.group;
        let expected = merged(group, most, &records);
        if most == NODES_MAX {
            prop_assert_eq!(MemberList::open(group, records.clone()).version(), expected.version());
        }
        for shuffle in &shuffles {
            // Doubled, then in another order.
            let mut order: Vec<(u32, &MemberRecord)> = shuffle.iter().copied().zip(records.iter().cycle()).collect();
            order.truncate(records.len() * 2);
            order.sort_by_key(|(key, _)| *key);
            let shuffled: Vec<MemberRecord> =
                order.into_iter().map(|(_, record)| record.clone()).chain(records.first().cloned()).collect();
            let missing = records.iter().filter(|record| !shuffled.contains(record)).cloned();
            let shuffled: Vec<MemberRecord> = shuffled.iter().cloned().chain(missing).collect();
            let list = merged(group, most, &shuffled);
            prop_assert_eq!(list.version(), expected.version());
        }
    }
}

#[test]
fn mangled_records_are_refused() {
    let (people, list) = circle(3);
    let record = Person::new(9).vouched_by(&people[1], 1, list.group());
    let mut good = Vec::new();
    record.encode(&mut BodyWriter::new(&mut good));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let Ok(bad) = MemberRecord::parse(&bad) else { continue };
        let mut other = list.clone();
        assert!(other.merge(NOW, bad).is_err(), "byte {at}");
        assert_eq!(other.version(), list.version());
    }
}

#[test]
fn a_pledge_needs_both_keys() {
    let group = GroupId([1; 32]);
    let good = Person::new(1).pledge(group);
    assert!(is_pledge_good(&good));
    let bad = Pledge { binding: Binding { group: GroupId([2; 32]), ..good.binding }, ..good };
    assert!(!is_pledge_good(&bad));
    let bad = Pledge { binding: Binding { number: 1, ..good.binding }, ..good };
    assert!(!is_pledge_good(&bad));
    let attestation = attest(&Person::new(1).node, &group, NodeId([3; 32]), 5, (1, 0), STAMP);
    assert!(is_attestation_good(&attestation, &group));
    assert!(!is_attestation_good(&Attestation { failed: 1, ..attestation }, &group));
}
