//! Opens a peer from what it kept.

use super::join::{parse_record, parse_ticket};
use super::*;
use crate::books::{Caps, EntryError};
use crate::history::GRACE_DEFAULT_MS;
use crate::limits::MENDING;
use okapi_wire::Message;
use okapi_wire::peer::member::State;
use okapi_wire::peer::shard::{AmendedDeed, Deed};

/// Why a peer cannot be opened from its records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A record cannot be read.
    #[error(
        "the record under key {key:02x?} cannot be read; the records were damaged, restore from the recovery phrase"
    )]
    Record {
        /// Its key.
        key: Vec<u8>,
    },
}

impl Peer {
    /// A peer as its durable `records` (every key and value kept so far) leave it; none for a new one, which then is a
    /// group of its own until it is ordered to join another or to restore.
    ///
    /// `entropy` is the driver's dice for this run: secret, never used twice.
    ///
    /// # Errors
    /// [`OpenError`] if a record is not one.
    pub fn open(
        identity: Identity,
        settings: Settings,
        entropy: [u8; 32],
        now: Moment,
        records: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<Self, OpenError> {
        let mut peer = Self::empty(identity, settings, entropy, now);
        let key = Vec::from([kept::kind::GROUP]);
        match records.iter().find(|(found, _)| *found == key) {
            None if records.is_empty() => peer.found_group(),
            // A node that takes the loss of its group for a first start would write over what is left.
            None => return Err(OpenError::Record { key }),
            Some((_, value)) => {
                peer.group = GroupId(value.as_slice().try_into().map_err(|_| OpenError::Record { key })?);
                peer.take_records(records)?;
                peer.follow_members();
                peer.forget_what_was_under_way();
                peer.audit_all_from_now();
                peer.mine.all_dirty();
            }
        }
        peer.open_logs();
        peer.outputs.extend(peer.keeper.flush());
        Ok(peer)
    }

    fn empty(identity: Identity, settings: Settings, entropy: [u8; 32], now: Moment) -> Self {
        let node = NodeId(identity.signing.public());
        let group = GroupId([0; 32]);
        let caps = Caps { user: settings.user_half, server: settings.server_half };
        let ask_head = settings.care.ask_head;
        Self {
            node,
            identity,
            settings,
            now,
            outputs: VecDeque::new(),
            dice: Dice::new(entropy),
            keeper: Keeper::default(),
            post: Post::new(now),
            refusals: Refusals::default(),
            jobs: BTreeMap::new(),
            last_work: 0,
            group,
            members: MemberList::new(group),
            list_changed_at: now,
            join: Join::Settled,
            tickets: BTreeMap::new(),
            last_serial: 0,
            part: Part::Staying,
            pulses: Pulses::default(),
            histories: Histories::new(now),
            listening_kept: now,
            speeds: Speeds::new(),
            pace: Pace { notice_ms: GRACE_DEFAULT_MS, repair_ms: MENDING.as_millis() as u64 },
            mine: Mine::default(),
            ready: BTreeSet::new(),
            resting: BTreeSet::new(),
            awaiting_map: BTreeSet::new(),
            safe_when_kept: BTreeSet::new(),
            maps: Maps::default(),
            theirs: Theirs::default(),
            gathers: BTreeMap::new(),
            mends: Mends::default(),
            restore: Restore::No,
            audits: Audits::default(),
            books: Books::new(node, group, caps),
            pacts: Pacts::default(),
            standings: Standings::default(),
            attested: BTreeMap::new(),
            logs: Logs::open(node, Vec::new(), Vec::new(), ask_head, now).expect("no record is a good record"),
        }
    }

    fn take_records(&mut self, records: &[(Vec<u8>, Vec<u8>)]) -> Result<(), OpenError> {
        let mut members = Vec::new();
        let mut lines = Vec::new();
        let (mut own_log, mut other_logs) = (Vec::new(), Vec::new());
        let mut seen = Vec::new();
        for (key, value) in records {
            let bad = || OpenError::Record { key: key.clone() };
            let (kind, rest) = key.split_first().ok_or_else(bad)?;
            match *kind {
                kept::kind::MEMBER => members.push(parse_record(value).ok_or_else(bad)?),
                kept::kind::LEDGER => lines.push((rest, value.as_slice())),
                kept::kind::AUTHOR => own_log.push((rest, value.as_slice())),
                kept::kind::WITNESS => other_logs.push((rest, value.as_slice())),
                kept::kind::HISTORY => seen.push((key, value.as_slice())),
                _ => self.take_record(*kind, rest, value).ok_or_else(bad)?,
            }
        }
        self.members = MemberList::open(self.group, members);
        self.logs = Logs::open(self.node, own_log, other_logs, self.settings.care.ask_head, self.now)
            .map_err(|kind| OpenError::Record { key: Vec::from([kind]) })?;
        let books = Books::open(self.node, self.group, self.caps(), lines.iter().copied());
        self.books = books.map_err(|why| {
            let (EntryError::Kind { at, .. } | EntryError::Line { at, .. }) = why;
            OpenError::Record { key: kept::prefixed(kept::kind::LEDGER, lines[at].0) }
        })?;
        self.take_histories(&seen)?;
        let records: Vec<_> = self.members.iter().cloned().collect();
        for record in records {
            self.note_conduct(record.binding.member, &record);
        }
        self.part = match self.members.get(self.node).map(|own| own.state) {
            Some(State::Leaving) => Part::Draining,
            Some(State::Parted) => Part::Parted,
            _ => Part::Staying,
        };
        self.books.set_draining(self.part != Part::Staying);
        Ok(())
    }

    /// What was seen of others before this node went down.
    fn take_histories(&mut self, seen: &[(&Vec<u8>, &[u8])]) -> Result<(), OpenError> {
        let mut head = None;
        let mut lines = Vec::new();
        for (key, value) in seen {
            match <[u8; 32]>::try_from(&key[1..]) {
                Ok(node) => lines.push((NodeId(node), *value)),
                Err(_) if key.len() == 1 => head = Some(*value),
                Err(_) => return Err(OpenError::Record { key: (*key).clone() }),
            }
        }
        let read = Histories::read(self.now, head, lines);
        self.histories = read.map_err(|_| OpenError::Record { key: Vec::from([kept::kind::HISTORY]) })?;
        self.histories.resume(self.now);
        self.pace = self.present_pace();
        Ok(())
    }

    fn take_record(&mut self, kind: u8, key: &[u8], value: &[u8]) -> Option<()> {
        let node = |key: &[u8]| <[u8; 32]>::try_from(key).ok().map(NodeId);
        match kind {
            kept::kind::GROUP => {}
            kept::kind::SEGMENT => {
                let (name, mut segment, untold) = kept::parse_segment(key, value).ok()?;
                segment.will_tell(untold, self.now);
                let told = segment.untold.is_empty() && segment.release.is_none();
                self.mine.segments.insert(name, segment);
                self.mine.tell_at(name, (!told).then_some(self.now));
            }
            kept::kind::HELD => {
                let (shard, held) = kept::parse_held(key, value).ok()?;
                self.theirs.shards.insert(shard, held);
            }
            kept::kind::DEED => {
                let amended = AmendedDeed::parse(value).ok()?;
                let at = (amended.deed.owner, amended.deed.segment);
                self.theirs.deeds.entry(at).or_default().amended = Some(amended);
            }
            kept::kind::DRAFT => {
                let deed = Deed::parse(value).ok()?;
                let at = (deed.owner, deed.segment);
                self.theirs.deeds.entry(at).or_default().draft = Some(deed);
            }
            kept::kind::TICKET => {
                self.tickets.insert(key.try_into().ok()?, parse_ticket(value)?);
            }
            kept::kind::SERIAL => self.last_serial = u64::from_le_bytes(value.try_into().ok()?),
            kept::kind::ATTESTED => {
                self.attested.insert(node(key)?, Attestation::parse(value).ok()?);
            }
            _ => return None,
        }
        Some(())
    }
}
