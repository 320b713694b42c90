//! Nothing that comes from another member is believed: each thing that is wrong with a letter is refused by its name
//! and counted, changes nothing, and breaks nothing.

use crate::voice::{Voice, signed, stamp};
use crate::world::*;
use okapi_base::machine::Machine;
use okapi_base::{GroupId, NodeId, SegmentName, Shape};
use okapi_peers::limits::{FUTURE_TOLERANCE, LETTER_AGE_MAX, LETTER_MAX, PAYLOAD_MAX};
use okapi_peers::{Input, Peer, Refusal, ShardId};
use okapi_seal::SigningKey;
use okapi_timeline::members;
use okapi_wire::peer::contract::{Ending, Side, Terms};
use okapi_wire::peer::letter::{Body, Held, Letter, No};
use okapi_wire::peer::member::{Binding, MemberRecord};
use okapi_wire::peer::shard::{AmendedDeed, Amendment, Deed, Receipt, Release};

/// All of a peer that a letter must not change by the way.
fn state(peer: &Peer) -> String {
    let segments: Vec<_> = peer
        .segments()
        .map(|it| (it.name, it.deed.cloned(), it.live, it.safe, it.released, it.busy, it.survives))
        .collect();
    let held: Vec<_> = peer.held().collect();
    format!("{:?} {:?} {:?} {:?}", peer.members().version(), peer.books().lines(), held, segments)
}

/// A group of five: node 0 has a segment with three of the others, node 1 has some; node 4 is a voice.
fn world() -> (World, Voice, SegmentName) {
    let mut world = World::group(5);
    let name = world.put(0, 10_000);
    for _ in 0..8 {
        world.put(1, 9_000);
    }
    world.put(4, 8_000);
    world.settle(DAY);
    let voice = Voice::new(&mut world, 4);
    (world, voice, name)
}

fn deed(world: &World, owner: usize, name: SegmentName) -> Deed {
    let segment = world.peer(owner).segments().find(|segment| segment.name == name).expect("it is there");
    segment.deed.expect("it lies").clone()
}

fn forged(deed: &Deed, key: &SigningKey, change: fn(&mut Deed)) -> Deed {
    let mut deed = deed.clone();
    change(&mut deed);
    signed(deed, key, |deed, signature| deed.signature = signature)
}

/// Says it, and looks that it is refused by this name, once, and that nothing is changed by it.
fn is_refused(world: &mut World, voice: &mut Voice, what: &str, body: Body, by: Refusal) {
    let (before, counted) = (state(world.peer(0)), world.peer(0).refusals().of(by));
    voice.say(world, 0, body);
    let refused = world.peer(0).refusals().of(by) - counted;
    assert_eq!(refused, 1, "{what} is to be refused as {}: {:?}", by.word(), world.peer(0).refusals());
    assert_eq!(state(world.peer(0)), before, "{what} has changed something");
}

#[test]
fn the_envelope_is_refused_by_name() {
    let (mut world, mut voice, _) = world();
    let refused = |world: &World, by: Refusal| world.peer(0).refusals().of(by);
    let good = voice.letter(&world, Body::InventoryAsk(None)).to_bytes();
    for cut in 0..good.len() {
        voice.hand(&mut world, 0, good[..cut].to_vec(), [].into());
    }
    voice.hand(&mut world, 0, [good.clone(), vec![0]].concat(), [].into());
    assert_eq!(refused(&world, Refusal::Malformed), good.len() as u64 + 1);
    voice.hand(&mut world, 0, vec![0; LETTER_MAX + 1], [].into());
    voice.hand(&mut world, 0, good.clone(), vec![0; PAYLOAD_MAX + 1].into());
    assert_eq!(refused(&world, Refusal::Oversized), 2);
    voice.hand(&mut world, 0, good.clone(), [].into());
    voice.hand(&mut world, 0, good.clone(), [].into());
    assert_eq!(refused(&world, Refusal::Replayed), 1);
    let at = |voice: &mut Voice, world: &World, stamp: u64| {
        Letter { stamp, ..voice.letter(world, Body::InventoryAsk(None)) }.to_bytes()
    };
    let now = stamp(&world);
    let ahead = at(&mut voice, &world, now + FUTURE_TOLERANCE.as_millis() as u64 + 1);
    voice.hand(&mut world, 0, ahead, [].into());
    assert_eq!(refused(&world, Refusal::FromTheFuture), 1);
    let old = at(&mut voice, &world, now - LETTER_AGE_MAX.as_millis() as u64 - 1);
    voice.hand(&mut world, 0, old, [].into());
    assert_eq!(refused(&world, Refusal::TooOld), 1);
    // Under one's own name nobody else writes.
    let own = world.nodes[0].id;
    world.input(0, Input::Received { from: own, letter: good, payload: [].into() });
    assert_eq!(refused(&world, Refusal::NotYours), 1);
}

#[test]
fn deeds_and_shards_are_refused_by_name() {
    let (mut world, mut voice, name) = world();
    let key = voice.key();
    let (mine, me, stranger) = (deed(&world, 0, name), world.nodes[4].id, NodeId([77; 32]));
    let others_of = |segment: &okapi_peers::SegmentView<'_>| segment.deed.expect("it lies").slots.clone();
    let holds = |segment: &_, at: usize| others_of(segment).iter().any(|slot| slot.holder == Some(world.nodes[at].id));
    let of_zero = world.peer(1).segments().find(|segment| holds(segment, 0) && !holds(segment, 4));
    let other = of_zero.expect("node 0 holds one that node 4 does not").name;
    let others = deed(&world, 1, other);
    let shard = ShardId { owner: mine.owner, segment: name, k: 1, index: 0 };
    let own = |change: fn(&mut Deed)| {
        let mut deed = mine.clone();
        (deed.owner, deed.segment, deed.revision) = (me, SegmentName([5; 32]), 1);
        change(&mut deed);
        signed(deed, &key, |deed, signature| deed.signature = signature)
    };
    let offer = |deed: Deed| Body::Offer(deed, 0, None);
    let cases = [
        ("an offer of another's deed", offer(others.clone()), Refusal::NotYours),
        ("an offer for another group", offer(own(|deed| deed.group = GroupId([9; 32]))), Refusal::WrongGroup),
        (
            "an offer that is not signed by its owner",
            offer(forged(&others, &key, |deed| deed.bytes = 5)),
            Refusal::BadSignature,
        ),
        ("an offer of a stranger's deed", offer(own(|deed| deed.owner = NodeId([77; 32]))), Refusal::Stranger),
        ("a deed of another", Body::Revise(others.clone()), Refusal::NotYours),
        ("a deed for another group", Body::Revise(own(|deed| deed.group = GroupId([9; 32]))), Refusal::WrongGroup),
        ("a shard nobody wants", Body::Place(shard), Refusal::Unasked),
        ("a wish for a shard nobody offered", Body::Want(shard), Refusal::Unasked),
        ("a shard nobody fetches", Body::Shard(shard), Refusal::Unasked),
        ("a proof nobody asked for", Body::Proof(shard, 1), Refusal::Unasked),
        (
            "a fetch of what is not its business",
            Body::Fetch(ShardId { owner: others.owner, segment: other, k: 1, index: 0 }),
            Refusal::NotYours,
        ),
        (
            "a challenge for another's shard",
            Body::Challenge(ShardId { owner: others.owner, segment: other, k: 1, index: 0 }, 1, vec![0]),
            Refusal::NotYours,
        ),
        (
            "deeds nobody asked for",
            Body::Deeds(mine.owner, true, vec![AmendedDeed { deed: mine.clone(), amendments: vec![] }]),
            Refusal::Unasked,
        ),
        ("deeds of another", Body::Deeds(others.owner, false, vec![]), Refusal::Unasked),
        (
            "a vouch nobody asked for",
            Body::JoinYes(members::vouch(&key, 1, &binding(&world, stranger), 5)),
            Refusal::Unasked,
        ),
        ("a no nobody asked for", Body::JoinNo(1), Refusal::Unasked),
    ];
    for (what, body, by) in cases {
        is_refused(&mut world, &mut voice, what, body, by);
    }
    let release = |change: fn(&mut Release)| {
        let mut release = Release { group: mine.group, owner: me, segment: name, stamp: 5, signature: [0; 64] };
        change(&mut release);
        signed(release, &key, |release, signature| release.signature = signature)
    };
    let mut unsigned = release(|_| {});
    unsigned.signature[3] ^= 1;
    let receipt = |change: fn(&mut Receipt)| {
        let root = mine.slots[0].root;
        let mut receipt = Receipt { group: mine.group, shard, root, holder: me, stamp: 5, signature: [0; 64] };
        change(&mut receipt);
        signed(receipt, &key, |receipt, signature| receipt.signature = signature)
    };
    let cases = [
        ("a release of another's segment", Body::Release(release(|it| it.owner = NodeId([77; 32]))), Refusal::NotYours),
        ("a release in another group", Body::Release(release(|it| it.group = GroupId([9; 32]))), Refusal::WrongGroup),
        ("a release that is not signed", Body::Release(unsigned), Refusal::BadSignature),
        ("a receipt nobody waits for", Body::Receipt(receipt(|_| {})), Refusal::Unasked),
        ("a receipt of another", Body::Receipt(receipt(|it| it.holder = NodeId([77; 32]))), Refusal::BadSignature),
    ];
    for (what, body, by) in cases {
        is_refused(&mut world, &mut voice, what, body, by);
    }
}

fn binding(world: &World, node: NodeId) -> Binding {
    let record = world.peer(0).members().get(world.nodes[1].id).expect("it is a member");
    Binding { node, ..record.binding }
}

#[test]
fn amendments_are_refused_by_name_and_break_nothing() {
    let (mut world, mut voice, name) = world();
    let mine = deed(&world, 0, name);
    let outsider = (1..5).find(|at| !world.holders(0, name).contains(&Some(*at))).expect("three of four hold it");
    if outsider != 4 {
        // Whoever is not among the holders speaks.
        world.open(4);
        world.run(MINUTE);
        voice = Voice::new(&mut world, outsider);
    }
    let amendment = |voice: &Voice, change: fn(&mut Amendment)| {
        let (group, owner, holder, mender) = (mine.group, mine.owner, NodeId([77; 32]), NodeId(voice.key().public()));
        let revision = mine.revision;
        let mut it =
            Amendment { group, owner, segment: name, revision, index: 0, holder, mender, stamp: 5, signature: [0; 64] };
        change(&mut it);
        Body::Amended(signed(it, &voice.key(), |it, signature| it.signature = signature))
    };
    let outside = amendment(&voice, |_| {});
    is_refused(&mut world, &mut voice, "one who holds nothing amends", outside, Refusal::NotYours);
    let group = amendment(&voice, |it| it.group = GroupId([9; 32]));
    is_refused(&mut world, &mut voice, "an amendment in another group", group, Refusal::WrongGroup);
    let stranger = amendment(&voice, |it| it.mender = NodeId([77; 32]));
    is_refused(&mut world, &mut voice, "a stranger's amendment", stranger, Refusal::Stranger);
    // A holder may amend, but only indexes that there are.
    world.open(voice.at);
    world.run(MINUTE);
    let holder = (1..5).find(|at| world.holders(0, name).contains(&Some(*at))).expect("somebody holds it");
    let mut voice = Voice::new(&mut world, holder);
    let index = amendment(&voice, |it| it.index = 200);
    is_refused(&mut world, &mut voice, "an amendment of an index that is not", index, Refusal::Malformed);
    let Body::Amended(mut bad) = amendment(&voice, |_| {}) else { unreachable!() };
    bad.signature[9] ^= 1;
    is_refused(&mut world, &mut voice, "an amendment that is not signed", Body::Amended(bad), Refusal::BadSignature);
    // If the live segment is lost now, nothing that was said stands in the way.
    world.open(holder);
    world.nodes[0].disk.segments.remove(&name);
    world.input(0, Input::Damaged(okapi_peers::Thing::Segment(name)));
    assert!(world.run_until(HOUR, |world| world.nodes[0].disk.segments.contains_key(&name)));
}

#[test]
fn contracts_and_records_are_refused_by_name() {
    let (mut world, mut voice, _) = world();
    let (key, other, now) = (voice.key(), identity(2).signing, stamp(&world));
    let (group, me, to) = (world.group_name(), world.nodes[4].id, world.nodes[0].id);
    let terms = Terms { group, owner: me, holder: to, bytes: 20_000, from: now, until: now + 5_000, revision: 900 };
    let propose = |terms: Terms| okapi_peers::contract::propose(terms, &key);
    let mut bad = propose(terms);
    bad.owner_signature[0] ^= 1;
    let granted = okapi_peers::contract::grant(propose(Terms { owner: to, holder: me, ..terms }), &key);
    let elsewhere = okapi_peers::contract::grant(propose(Terms { holder: world.nodes[1].id, ..terms }), &other);
    let ending = |change: fn(&mut Ending)| {
        let mut it =
            Ending { group, owner: to, holder: me, revision: 1, side: Side::Holder, stamp: now, signature: [0; 64] };
        change(&mut it);
        it.signature = key.sign(&okapi_peers::contract::ending_digest(&it)).0;
        Body::End(it)
    };
    let Body::End(mut unsigned) = ending(|_| {}) else { unreachable!() };
    unsigned.signature[0] ^= 1;
    let record = world.peer(0).members().get(me).expect("it is a member").clone();
    let attest = |subject: NodeId, group: GroupId| members::attest(&key, &group, subject, 5, (1, 0), now);
    let passed_on = members::attest(&other, &group, world.nodes[2].id, 5, (1, 0), now);
    let mut altered = attest(world.nodes[1].id, group);
    altered.failed = 1000;
    let foreign = MemberRecord { binding: Binding { group: GroupId([9; 32]), ..record.binding }, ..record.clone() };
    let mut changed = record.clone();
    changed.revision += 1;
    let standing = members::Standing { site: 0, promise: 5, leaving: false, attestations: vec![] };
    let future = members::revise(&key, &record, standing, now + 2 * FUTURE_TOLERANCE.as_millis() as u64);
    let cases = [
        (
            "a proposal of another",
            Body::Propose(propose(Terms { owner: NodeId([77; 32]), ..terms })),
            Refusal::NotYours,
        ),
        (
            "a proposal to another",
            Body::Propose(propose(Terms { holder: NodeId([77; 32]), ..terms })),
            Refusal::NotYours,
        ),
        (
            "a proposal in another group",
            Body::Propose(propose(Terms { group: GroupId([9; 32]), ..terms })),
            Refusal::WrongGroup,
        ),
        ("a proposal that is not signed", Body::Propose(bad), Refusal::BadSignature),
        ("a contract that was never proposed", Body::Agree(granted), Refusal::BadSignature),
        (
            "a contract that this node is reminded of and never signed",
            Body::Agree(okapi_peers::contract::grant(propose(terms), &key)),
            Refusal::BadSignature,
        ),
        ("a contract of another", Body::Agree(elsewhere), Refusal::NotYours),
        ("a no to what was not proposed", Body::Decline(7, 7), Refusal::Unasked),
        ("an ending by another", ending(|it| it.side = Side::Owner), Refusal::NotYours),
        ("an ending in another group", ending(|it| it.group = GroupId([9; 32])), Refusal::WrongGroup),
        ("an ending that is not signed", Body::End(unsigned), Refusal::BadSignature),
        ("an attestation by another", Body::Attest(passed_on), Refusal::NotYours),
        ("an attestation about a stranger", Body::Attest(attest(NodeId([77; 32]), group)), Refusal::Stranger),
        ("an attestation about another that is not signed", Body::Attest(altered), Refusal::BadSignature),
        ("an attestation for another group", Body::Attest(attest(to, GroupId([9; 32]))), Refusal::BadSignature),
        ("a record of another group", Body::Records(vec![foreign]), Refusal::WrongGroup),
        ("a record that is not signed", Body::Records(vec![changed]), Refusal::BadSignature),
        ("a record from the future", Body::Records(vec![future]), Refusal::FromTheFuture),
    ];
    for (what, body, by) in cases {
        is_refused(&mut world, &mut voice, what, body, by);
    }
    // What a member has seen of another itself is listened to, and is one voice.
    let (before, refused) = (state(world.peer(0)), format!("{:?}", world.peer(0).refusals()));
    let word = attest(world.nodes[1].id, group);
    voice.say(&mut world, 0, Body::Attest(word));
    assert_eq!((state(world.peer(0)), format!("{:?}", world.peer(0).refusals())), (before, refused));
}

#[test]
fn nobody_but_the_sender_ends_a_transfer() {
    let mut world = World::group(5);
    let name = world.put(0, 10_000);
    let mut voice = Voice::new(&mut world, 4);
    // A holder waits for its shard; somebody else says that this is it.
    let waits = |world: &World| (1..4).find(|at| world.peer(*at).books().sums().reserved > 0);
    assert!(world.run_until(HOUR, |world| waits(world).is_some()));
    let holder = waits(&world).expect("it was just seen");
    for index in 0..3 {
        let shard = ShardId { owner: world.nodes[0].id, segment: name, k: 1, index };
        let before = state(world.peer(holder));
        voice.say(&mut world, holder, Body::Place(shard));
        assert_eq!(state(world.peer(holder)), before);
    }
    let refused = world.peer(holder).refusals().of(Refusal::Unasked);
    assert_eq!(refused, 3);
    assert!(world.run_until(3 * HOUR, |world| world.is_complete(0, name, Shape::OneOfThree)));
    assert_eq!(world.peer(holder).refusals().of(Refusal::Unasked), refused, "the real one was expected still");
}

#[test]
fn strangers_and_the_parted_are_not_listened_to() {
    let (mut world, mut voice, name) = world();
    let stranger = world.add();
    let before = state(world.peer(0));
    let mut strange = Voice::new(&mut world, stranger);
    let bodies =
        [Body::InventoryAsk(None), Body::DeedsAsk(world.nodes[0].id, None), Body::Records(vec![]), Body::JoinNo(2)];
    for body in bodies {
        is_refused(&mut world, &mut strange, "what a stranger says", body, Refusal::Stranger);
    }
    let last = world.peer(0).members().get(world.nodes[4].id).expect("it is a member").clone();
    let parted = members::part(&voice.key(), &last, 0, stamp(&world));
    voice.say(&mut world, 0, Body::Records(vec![parted]));
    assert!(!world.peer(0).members().is_active(world.nodes[4].id));
    assert_ne!(state(world.peer(0)), before);
    is_refused(&mut world, &mut voice, "what a parted node asks", Body::InventoryAsk(None), Refusal::Parted);
    let old = deed(&world, 0, name);
    is_refused(&mut world, &mut voice, "what a parted node offers", Body::Revise(old), Refusal::Parted);
    is_refused(&mut world, &mut voice, "a parted node's record", Body::Records(vec![last]), Refusal::Parted);
}

/// Letters of a whole run in which everything happens: joining, growth, repair, mending, audits, restore, parting.
fn recorded() -> Vec<Sent> {
    let mut world = World::new();
    world.sent = Some(Vec::new());
    world.add();
    for _ in 1..8 {
        world.welcome();
    }
    let names: Vec<SegmentName> = (0..3).map(|at| world.put(at, 3_000)).collect();
    world.run(6 * HOUR);
    world.nodes[0].disk.segments.remove(&names[0]);
    world.input(0, Input::Released { segment: names[0] });
    let holder = world.holders(1, names[1])[0].expect("it lies");
    let shard = ShardId { owner: world.nodes[1].id, segment: names[1], k: 2, index: 0 };
    world.damage(holder, shard);
    world.run(2 * DAY);
    world.crash(1);
    world.crash(7);
    world.nodes[7].disk.shards.clear();
    world.run(9 * DAY);
    world.open(7);
    world.nodes[1].disk.segments.clear();
    world.burn(1);
    let via = world.nodes[3].id;
    world.order(1, okapi_peers::Order::Restore { via });
    world.run(DAY);
    world.order(6, okapi_peers::Order::Leave);
    world.run(DAY);
    let mut sent = world.sent.take().expect("letters were seen");
    let key = identity(2).signing;
    let granted = world.peer(2).books().pair(&world.nodes[1].id).and_then(|pair| pair.granted()).map(|it| it.contract);
    // What no flow sends by itself yet is added by hand.
    let by_hand = granted.map(|contract| okapi_peers::contract::end(world.now, &contract, Side::Owner, &key));
    let stamp = stamp(&world);
    if let Some(ending) = by_hand {
        let letter = Letter { session: stamp, number: 1, stamp, body: Body::End(ending) }.to_bytes();
        sent.push(Sent { from: 1, to: 2, letter, payload: [].into() });
    }
    let shard = ShardId { owner: world.nodes[1].id, segment: names[1], k: 2, index: 1 };
    for body in [Body::FetchNo(shard, No::Missing), Body::JoinNo(3), Body::Decline(1, 5)] {
        let letter = Letter { session: stamp, number: 1, stamp, body }.to_bytes();
        sent.push(Sent { from: 1, to: 2, letter, payload: [].into() });
    }
    sent
}

/// A letter with another head, so that it is not refused for that.
fn reheaded(letter: &[u8], voice: &mut Voice, world: &World) -> Vec<u8> {
    voice.number += 1;
    let mut letter = letter.to_vec();
    letter[8..16].copy_from_slice(&voice.session.to_le_bytes());
    letter[16..24].copy_from_slice(&voice.number.to_le_bytes());
    letter[24..32].copy_from_slice(&stamp(world).to_le_bytes());
    letter
}

#[test]
fn every_kind_cut_and_flipped_at_every_byte_breaks_nothing() {
    let all = recorded();
    let mut kinds: Vec<u8> = all.iter().map(|sent| sent.letter[1]).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let known: Vec<u8> = (1..=4).chain(6..=8).chain(10..=28).chain(30..=33).collect();
    let seen: Vec<u8> = kinds.iter().copied().filter(|kind| *kind != 5).collect();
    assert_eq!(seen, known, "every kind but those of logs was sent");
    let (mut world, mut voice, _) = world();
    for kind in kinds {
        // The shortest of its kind says it all.
        let sample =
            all.iter().filter(|sent| sent.letter[1] == kind).min_by_key(|sent| sent.letter.len()).expect("it was seen");
        let malformed = world.peer(0).refusals().of(Refusal::Malformed);
        for cut in 0..sample.letter.len() {
            voice.hand(&mut world, 0, sample.letter[..cut].to_vec(), sample.payload.clone());
        }
        let counted = world.peer(0).refusals().of(Refusal::Malformed) - malformed;
        assert_eq!(counted, sample.letter.len() as u64, "kind {kind}: each cut is malformed");
        let before = state(world.peer(0));
        for at in 32..sample.letter.len() {
            for bit in [1, 0x80] {
                let mut letter = reheaded(&sample.letter, &mut voice, &world);
                letter[at] ^= bit;
                voice.hand(&mut world, 0, letter, sample.payload.clone());
            }
        }
        // What a node says of its own shards is believed: that it has lost one, or what it has.
        let of_its_own = [14, 20, 26].contains(&kind);
        assert!(of_its_own || state(world.peer(0)) == before, "kind {kind}: something was believed");
    }
    world.peer(0).books().recount();
}

#[test]
fn a_whole_run_bent_by_dice_breaks_nothing_and_the_group_goes_on() {
    let all = recorded();
    let (mut world, mut voice, name) = world();
    let mut dice = Dice(7);
    let from = world.nodes[4].id;
    for round in 0..6_000 {
        let sent = &all[dice.below(all.len())];
        let mut letter = reheaded(&sent.letter, &mut voice, &world);
        // Names of the recorded world are the same here: what was said of others there may hit something.
        for _ in 0..dice.below(4) {
            let at = 32 + dice.below((letter.len() - 32).max(1));
            match dice.below(5) {
                0 if at < letter.len() => letter[at] = dice.throw() as u8,
                1 if at < letter.len() => letter[at] ^= 1 << dice.below(8),
                2 => letter.truncate(at),
                3 => letter.insert(at.min(letter.len()), dice.throw() as u8),
                _ if at + 32 <= letter.len() => {
                    let node = world.nodes[dice.below(5)].id;
                    letter[at..at + 32].copy_from_slice(&node.0);
                }
                _ => {}
            }
        }
        let mut payload = sent.payload.to_vec();
        if !payload.is_empty() && dice.below(2) == 0 {
            let at = dice.below(payload.len());
            payload[at] ^= 1;
        }
        let to = dice.below(4);
        world.input(to, Input::Received { from, letter, payload: payload.into() });
        if round % 50 == 0 {
            world.run(SECOND);
        }
    }
    for at in 0..4 {
        world.peer(at).books().recount();
        assert!(world.nodes[at].disk.used <= world.nodes[at].disk.room);
    }
    // The node itself comes back, and all is well again.
    world.open(4);
    world.settle(5 * DAY);
    assert_eq!(world.survives(0, name), Some(2));
}

#[test]
fn records_that_were_damaged_are_named_and_never_break_an_opening() {
    let (mut world, _, _) = world();
    let _ = world.ticket(0, 3);
    for at in 1..4 {
        world.put(at, 5_000);
        world.put(at, 6_000);
    }
    world.run(3 * DAY);
    let kept = world.nodes[0].kept.clone();
    let kinds: Vec<u8> = kept.keys().map(|key| key[0]).collect();
    assert!(b"gmshdtnlvawu".iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    let settings = &world.nodes[0].settings;
    let open = |records: &[(Vec<u8>, Vec<u8>)]| Peer::open(identity(1), settings.clone(), [1; 32], world.now, records);
    let whole: Vec<(Vec<u8>, Vec<u8>)> = kept.clone().into_iter().collect();
    assert!(open(&whole).is_ok());
    // One of each kind, cut anywhere, is named.
    let mut seen = Vec::new();
    for (at, (key, value)) in whole.iter().enumerate() {
        if seen.contains(&(key[0], value.len())) {
            continue;
        }
        seen.push((key[0], value.len()));
        for cut in 0..value.len() {
            let mut records = whole.clone();
            records[at].1.truncate(cut);
            let Err(why) = open(&records) else { panic!("record {key:02x?} cut to {cut} bytes was believed") };
            // Of logs and histories only the kind is named.
            let named = if b"awu".contains(&key[0]) { vec![key[0]] } else { key.clone() };
            assert_eq!(why, okapi_peers::peer::OpenError::Record { key: named });
        }
        let mut records = whole.clone();
        records[at].1.push(0);
        assert!(open(&records).is_err(), "record {key:02x?} with a byte too many was believed");
    }
    let mut records = whole.clone();
    records.retain(|(key, _)| key[0] != b'g');
    assert!(open(&records).is_err(), "what has lost its group does not begin anew");
    records.push((b"?".to_vec(), vec![]));
    assert!(open(&records).is_err());
    // Bytes flipped by dice: an error or not, but no panic; nor when it then runs for a while.
    let mut dice = Dice(11);
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..1_500 {
        let mut records = whole.clone();
        for _ in 0..=dice.below(3) {
            let (key, value) = &mut records[dice.below(whole.len())];
            let part = if dice.below(4) == 0 { key } else { value };
            if !part.is_empty() {
                let at = dice.below(part.len());
                part[at] ^= 1 << dice.below(8);
            }
        }
        match open(&records) {
            Ok(mut peer) => {
                opened += 1;
                while peer.poll().is_some() {}
                peer.handle(world.now, Input::Wake);
                while peer.poll().is_some() {}
            }
            Err(_) => refused += 1,
        }
    }
    assert!(opened > 100 && refused > 100, "{opened} opened, {refused} refused");
}

#[test]
fn an_inventory_full_of_nonsense_costs_one_answer_a_line() {
    let (mut world, mut voice, name) = world();
    let line = |at: u16| Held { segment: SegmentName([at as u8; 32]), revision: u32::MAX, k: 255, index: at as u8 };
    let mut lines: Vec<Held> = (0..1000).map(line).collect();
    lines.push(Held { segment: name, revision: 9, k: 1, index: 255 });
    let before = world.traffic.clone();
    voice.say(&mut world, 0, Body::Inventory(Some(SegmentName([0xff; 32])), true, lines));
    let more = |kind: u8| world.traffic.get(&kind).map_or(0, |it| it.0) - before.get(&kind).map_or(0, |it| it.0);
    assert!(more(25) <= 1, "a page that goes backwards is the last, and what is not known is asked for once");
    world.run(DAY);
    assert_eq!(world.peer(0).refusals().of(Refusal::Malformed), 0);
    assert!(world.peer(0).segments().all(|segment| world.survives(0, segment.name) >= Some(2)));
}
