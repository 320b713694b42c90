//! Books against a model that keeps bare lists and counts everything anew at each step.

use super::*;
use alloc::collections::BTreeMap;

/// What the model keeps of a piece: bytes and state.
type Lines<S> = BTreeMap<(NodeId, Piece), (u64, S)>;

/// Books without any totals or indexes.
#[derive(Default)]
struct Model {
    me: Option<NodeId>,
    own: BTreeMap<SegmentName, u64>,
    placed: Lines<PlacedState>,
    held: Lines<HeldState>,
    /// Bytes of the contract with each other node, and whether it has ended: as its owner, as its holder.
    lent: BTreeMap<NodeId, (u64, bool)>,
    granted: BTreeMap<NodeId, (u64, bool)>,
}

impl Model {
    fn placed_with(&self, other: NodeId) -> u64 {
        self.placed.iter().filter(|((node, _), _)| *node == other).map(|(_, (bytes, _))| bytes).sum()
    }

    fn held_for(&self, other: NodeId) -> u64 {
        let counts = |state: &HeldState| *state != HeldState::Dropped;
        self.held.iter().filter(|((node, _), (_, s))| *node == other && counts(s)).map(|(_, (bytes, _))| bytes).sum()
    }

    fn held_in_all(&self) -> u64 {
        self.others().into_iter().map(|other| self.held_for(other)).sum()
    }

    fn others(&self) -> Vec<NodeId> {
        (1..=4).map(node).collect()
    }

    fn active(contracts: &BTreeMap<NodeId, (u64, bool)>, other: NodeId) -> Option<u64> {
        contracts.get(&other).filter(|(_, ended)| !ended).map(|(bytes, _)| *bytes)
    }

    fn promised(&self) -> u64 {
        let of = |other| self.held_for(other).max(Self::active(&self.granted, other).unwrap_or(0));
        self.others().into_iter().map(of).sum()
    }

    /// Whether the change may be entered.
    fn may(&self, op: Op) -> bool {
        let me = self.me.expect("it is somebody's");
        match op {
            Op::Keep(name, bytes) => match self.own.get(&name) {
                Some(there) => *there == bytes,
                None => self.own.values().sum::<u64>() + bytes <= CAPS.user,
            },
            Op::Unkeep(_) | Op::Strike(..) => true,
            Op::Send(to, it, bytes) => match self.placed.get(&(to, it)) {
                Some((there, state)) => *state != PlacedState::Released && *there == bytes,
                None if to == me => true,
                None => Self::active(&self.lent, to).is_some_and(|most| self.placed_with(to) + bytes <= most),
            },
            Op::Confirm(to, it) => self.placed.get(&(to, it)).is_some_and(|(_, s)| *s != PlacedState::Released),
            Op::Release(to, it) => self.placed.contains_key(&(to, it)),
            Op::Adopt(to, it, bytes) => self.placed.get(&(to, it)).is_none_or(|(there, _)| *there == bytes),
            Op::Reserve(from, it, bytes, mend) => self.may_reserve(from, it, bytes, mend),
            Op::Store(from, it) => self.held.get(&(from, it)).is_some_and(|(_, s)| *s != HeldState::Dropped),
            Op::Drop(from, it) => self.held.contains_key(&(from, it)),
            Op::Clear(from, it) => self.held.get(&(from, it)).is_none_or(|(_, s)| *s == HeldState::Dropped),
        }
    }

    fn may_reserve(&self, from: NodeId, it: Piece, bytes: u64, mend: bool) -> bool {
        match self.held.get(&(from, it)) {
            Some((there, _)) if *there != bytes => return false,
            Some((_, state)) if *state != HeldState::Dropped => return true,
            _ => {}
        }
        let within = self.promised() + bytes <= CAPS.server;
        let contract = Self::active(&self.granted, from).is_some_and(|most| self.held_for(from) + bytes <= most);
        let allowed = if Some(from) == self.me {
            within
        } else {
            contract || (mend && within && self.held_for(from) + bytes <= MEND_MOST)
        };
        allowed && self.held_in_all() + bytes <= CAPS.server
    }

    fn enter(&mut self, op: Op) {
        match op {
            Op::Keep(name, bytes) => drop(self.own.insert(name, bytes)),
            Op::Unkeep(name) => drop(self.own.remove(&name)),
            Op::Send(to, it, bytes) => drop(self.placed.entry((to, it)).or_insert((bytes, PlacedState::Sent))),
            Op::Confirm(to, it) => self.placed.get_mut(&(to, it)).unwrap().1 = PlacedState::Confirmed,
            Op::Release(to, it) => self.placed.get_mut(&(to, it)).unwrap().1 = PlacedState::Released,
            Op::Strike(to, it) => drop(self.placed.remove(&(to, it))),
            Op::Adopt(to, it, bytes) => drop(self.placed.insert((to, it), (bytes, PlacedState::Confirmed))),
            Op::Reserve(from, it, bytes, _) => {
                let line = self.held.entry((from, it)).or_insert((bytes, HeldState::Reserved));
                if line.1 == HeldState::Dropped {
                    line.1 = HeldState::Reserved;
                }
            }
            Op::Store(from, it) => self.held.get_mut(&(from, it)).unwrap().1 = HeldState::Stored,
            Op::Drop(from, it) => self.held.get_mut(&(from, it)).unwrap().1 = HeldState::Dropped,
            Op::Clear(from, it) => drop(self.held.remove(&(from, it))),
        }
    }
}

/// A change of the books.
#[derive(Debug, Clone, Copy)]
enum Op {
    Keep(SegmentName, u64),
    Unkeep(SegmentName),
    Send(NodeId, Piece, u64),
    Confirm(NodeId, Piece),
    Release(NodeId, Piece),
    Strike(NodeId, Piece),
    Adopt(NodeId, Piece, u64),
    Reserve(NodeId, Piece, u64, bool),
    Store(NodeId, Piece),
    Drop(NodeId, Piece),
    Clear(NodeId, Piece),
}

/// What a mender may place here for an owner.
const MEND_MOST: u64 = 300;

fn draw(dice: &mut Dice) -> Op {
    let other = node(1 + dice.below(4) as u8);
    let shape = *dice.of(&[Shape::OneOfThree, Shape::TwoOfSix]);
    let it = Piece { segment: segment(dice.below(6) as u8), shape, index: dice.below(3) as u8 };
    // Few lengths, so that most repetitions are of the same.
    let bytes = [60, 60, 60, 61][dice.below(4) as usize];
    match dice.below(13) {
        0 => Op::Keep(it.segment, 200 + dice.below(2)),
        1 => Op::Unkeep(it.segment),
        2 | 3 => Op::Send(other, it, bytes),
        4 => Op::Confirm(other, it),
        5 => Op::Release(other, it),
        6 => Op::Strike(other, it),
        7 => Op::Adopt(other, it, bytes),
        8 | 9 => Op::Reserve(other, it, bytes, dice.below(3) == 0),
        10 => Op::Store(other, it),
        11 => Op::Drop(other, it),
        _ => Op::Clear(other, it),
    }
}

fn apply(books: &mut Books, now: Moment, op: Op) -> Entered {
    match op {
        Op::Keep(name, bytes) => books.keep(name, bytes),
        Op::Unkeep(name) => Ok(books.unkeep(name)),
        Op::Send(to, it, bytes) => books.send(now, to, it, bytes),
        Op::Confirm(to, it) => books.confirm(now, to, it),
        Op::Release(to, it) => books.release(now, to, it),
        Op::Strike(to, it) => books.strike(to, it),
        Op::Adopt(to, it, bytes) => books.adopt(now, to, it, bytes),
        Op::Reserve(from, it, bytes, false) => books.reserve(now, from, it, bytes, Basis::Contract),
        Op::Reserve(from, it, bytes, true) => books.reserve(now, from, it, bytes, Basis::Mend { most: MEND_MOST }),
        Op::Store(from, it) => books.store(now, from, it),
        Op::Drop(from, it) => books.drop(now, from, it),
        Op::Clear(from, it) => books.clear(from, it),
    }
}

/// A store of key and value, as the driver has one.
#[derive(Default)]
struct Kept(BTreeMap<Vec<u8>, Vec<u8>>);

impl Kept {
    fn keep(&mut self, entry: Entry) {
        match entry.value {
            Some(value) => self.0.insert(entry.key, value),
            None => self.0.remove(&entry.key),
        };
    }

    fn open(&self) -> Books {
        let lines = self.0.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        Books::open(OWNER, GROUP, CAPS, lines).expect("what was kept is read")
    }
}

/// Signs or ends a contract now and then, on both sides' part.
fn agree(dice: &mut Dice, books: &mut Books, model: &mut Model, kept: &mut Kept) {
    let other = node(2 + dice.below(3) as u8);
    let as_owner = dice.below(2) == 0;
    let side = if as_owner { Side::Owner } else { Side::Holder };
    let (owner, holder) = if as_owner { (OWNER, other) } else { (other, OWNER) };
    let known = books.pair(&other).and_then(|pair| pair.agreement(side)).copied();
    let contracts = if as_owner { &mut model.lent } else { &mut model.granted };
    let entered = match known {
        Some(it) if dice.below(3) == 0 => {
            contracts.get_mut(&other).unwrap().1 = true;
            books.enter_ending(ending(&it.contract, NOON))
        }
        _ => {
            // A holder has room for what it signs.
            let room = if as_owner { 400 } else { books.room_for(at(NOON), &other).min(400) };
            let bytes = dice.below(room + 1);
            contracts.insert(other, (bytes, false));
            books.enter_contract(contract(owner, holder, bytes, known.map_or(0, |it| it.revision()) + 1))
        }
    };
    if let Some(entry) = entered.unwrap() {
        kept.keep(entry);
    }
}

#[test]
fn books_are_what_the_model_says() {
    let (mut entered, mut refused) = (0, 0);
    for seed in 0..30 {
        let mut dice = Dice(seed);
        let mut books = Books::new(OWNER, GROUP, CAPS);
        let mut model = Model { me: Some(OWNER), ..Model::default() };
        let mut kept = Kept::default();
        for step in 0..1500 {
            if step % 40 == 0 {
                agree(&mut dice, &mut books, &mut model, &mut kept);
            }
            let (now, op) = (at(NOON + step), draw(&mut dice));
            let before = books.clone();
            let result = apply(&mut books, now, op);
            assert_eq!(result.is_ok(), model.may(op), "seed {seed}, step {step}: {op:?} gave {result:?}");
            match result {
                Ok(entry) => {
                    model.enter(op);
                    entry.into_iter().for_each(|entry| kept.keep(entry));
                    entered += 1;
                }
                Err(_) => {
                    assert_eq!(books, before, "seed {seed}, step {step}: a refusal changes nothing");
                    refused += 1;
                }
            }
            check(&books, &model);
            if step % 100 == 0 {
                books.recount();
                assert_eq!(kept.open(), books, "seed {seed}, step {step}: opened from what was kept");
            }
        }
        let lines: Vec<Entry> = books.lines();
        assert_eq!(lines.len(), kept.0.len());
        assert!(lines.iter().all(|line| kept.0.get(&line.key) == line.value.as_ref()));
    }
    assert!(entered > 10_000 && refused > 5_000, "{entered} entered, {refused} refused");
}

fn check(books: &Books, model: &Model) {
    let sums = books.sums();
    assert!(sums.held() <= CAPS.server && books.own_bytes() <= CAPS.user, "caps are hard");
    assert_eq!(books.own_bytes(), model.own.values().sum::<u64>());
    assert_eq!(sums.held(), model.held_in_all());
    for other in model.others() {
        let of_pair = books.pair(&other).map_or(Sums::ZERO, Pair::sums);
        assert_eq!((of_pair.placed(), of_pair.held()), (model.placed_with(other), model.held_for(other)));
    }
    assert_eq!(books.unpromised(at(NOON)), CAPS.server.saturating_sub(model.promised()));
}

/// A letter between the two sides.
#[derive(Debug, Clone, Copy)]
enum Letter {
    Place(Piece),
    Stored(Piece),
    No(Piece),
    Release(Piece),
    Gone(Piece),
}

#[test]
fn two_sides_agree_at_all_times_whatever_the_order() {
    for seed in 0..40 {
        let mut dice = Dice(100 + seed);
        let (mut owner, mut holder) = both();
        let mut letters: Vec<Letter> = Vec::new();
        let now = at(NOON);
        for step in 0..400 {
            let it = piece(dice.below(8) as u8, dice.below(6) as u8);
            match dice.below(3) {
                0 if step < 300 && owner.pair(&HOLDER).unwrap().placed_piece(&it).is_none() => {
                    let sent = owner.send(now, HOLDER, it, 60);
                    letters.extend(sent.is_ok().then_some(Letter::Place(it)));
                }
                1 if step < 300 => {
                    let there = owner.pair(&HOLDER).unwrap().placed_piece(&it);
                    if there.is_some_and(|there| there.state == PlacedState::Confirmed) {
                        owner.release(now, HOLDER, it).unwrap();
                        letters.push(Letter::Release(it));
                    }
                }
                _ if !letters.is_empty() => {
                    let letter = letters.swap_remove(dice.below(letters.len() as u64) as usize);
                    read(letter, &mut owner, &mut holder, &mut letters);
                }
                _ => {}
            }
            let differences = compare(&owner, &holder, Exactness::InFlight);
            assert!(differences.is_empty(), "seed {seed}, step {step}: {differences:?}");
        }
        while let Some(letter) = letters.pop() {
            read(letter, &mut owner, &mut holder, &mut letters);
        }
        let differences = compare(&owner, &holder, Exactness::Settled);
        assert!(differences.is_empty(), "seed {seed}: {differences:?}");
        assert!(holder.sums().stored > 0, "seed {seed}: nothing happened");
    }
}

fn read(letter: Letter, owner: &mut Books, holder: &mut Books, letters: &mut Vec<Letter>) {
    let now = at(NOON);
    match letter {
        Letter::Place(it) => {
            let taken = holder.reserve(now, OWNER, it, 60, Basis::Contract).is_ok();
            if taken {
                holder.store(now, OWNER, it).unwrap();
            }
            letters.push(if taken { Letter::Stored(it) } else { Letter::No(it) });
        }
        Letter::Stored(it) => drop(owner.confirm(now, HOLDER, it).unwrap()),
        Letter::No(it) => drop(owner.strike(HOLDER, it).unwrap()),
        Letter::Release(it) => {
            holder.drop(now, OWNER, it).unwrap();
            letters.push(Letter::Gone(it));
        }
        Letter::Gone(it) => {
            owner.strike(HOLDER, it).unwrap();
            holder.clear(OWNER, it).unwrap();
        }
    }
}
