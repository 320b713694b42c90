//! How a node stands in its group, in one message.

use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use alloc::string::String;
use alloc::vec::Vec;
use okapi_base::limits::{GRID_NAME_MAX, RECORD_NAME_MAX};
use okapi_base::{GroupId, MemberId, NodeId, SegmentName, Shape};

/// The version of [`GroupStatus`] that this crate writes, and the newest that it reads.
pub const STATUS_VERSION: u8 = 1;
/// Bytes of a node's name.
pub const NODE_NAME_MAX: usize = 64;
/// Bytes of a text that explains something.
pub const NOTE_MAX: usize = 1024;
/// Segments at risk that are listed.
pub const RISKS_MAX: usize = 256;
/// Records that are listed of a segment at risk.
pub const RISK_RECORDS_MAX: usize = 8;
/// Nodes of the group that are listed.
pub const MEMBERS_MAX: usize = 256;
/// Events that are listed.
pub const EVENTS_MAX: usize = 64;

/// Bytes of a record's name with its grid and a colon before it.
const RECORD_MAX: usize = GRID_NAME_MAX + 1 + RECORD_NAME_MAX;

/// How a node stands in its group. Body: version u8, state u8, note text, group 32, node 32, member 32, number u32,
/// name text, shape u8, [`GroupHalves`], [`GroupData`], list of [`GroupRisk`], [`GroupWork`], [`GroupRestore`], list
/// of [`GroupMember`], list of [`GroupEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// Where it stands.
    pub state: GroupState,
    /// Why it stands there, if that needs words: why a join failed, why the node has halted.
    pub note: String,
    /// The group.
    pub group: GroupId,
    /// This node.
    pub node: NodeId,
    /// Whose node it is.
    pub member: MemberId,
    /// Which of the member's nodes it is.
    pub number: u32,
    /// What people call it.
    pub name: String,
    /// As which shape its segments are to lie.
    pub shape: Shape,
    /// The disk that it gives.
    pub halves: GroupHalves,
    /// Its own data.
    pub own: GroupData,
    /// Its segments at risk, least days first.
    pub risks: Vec<GroupRisk>,
    /// What it is busy with.
    pub work: GroupWork,
    /// How far it has come with getting everything back.
    pub restore: GroupRestore,
    /// All nodes of the group, this one among them.
    pub members: Vec<GroupMember>,
    /// What happened lately, newest last.
    pub events: Vec<GroupEvent>,
}

impl GroupStatus {
    /// A node alone in its group, that has and does nothing yet.
    #[must_use]
    pub fn alone(group: GroupId, node: NodeId, member: MemberId) -> Self {
        Self {
            state: GroupState::Alone,
            note: String::new(),
            group,
            node,
            member,
            number: 0,
            name: String::new(),
            shape: Shape::OneOfOne,
            halves: GroupHalves::default(),
            own: GroupData::default(),
            risks: Vec::new(),
            work: GroupWork::default(),
            restore: GroupRestore::default(),
            members: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// What a byte of the message stands for.
macro_rules! coded {
    ($(#[$doc:meta])* $name:ident, $field:literal { $($(#[$what:meta])* $case:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$what])* $case = $code,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$case,)*];

            fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
                match body.u8()? {
                    $($code => Ok(Self::$case),)*
                    _ => Err(BodyError::BadValue { field: $field }),
                }
            }
        }
    };
}

coded! {
    /// Where a node stands.
    GroupState, "state" {
        /// It has an identity, and nobody else is in its group.
        Alone = 0,
        /// It is on its way into a group.
        Joining = 1,
        /// It is in a group with others.
        Member = 2,
        /// It is moving away what it holds for others, and then goes.
        Leaving = 3,
        /// It has left.
        Parted = 4,
        /// It is getting its data back from the others.
        Restoring = 5,
        /// It takes no part any more; the note says why.
        Halted = 6,
    }
}

coded! {
    /// Where another node stands.
    MemberState, "state of a member" {
        /// It takes part.
        Active = 0,
        /// It is about to go.
        Leaving = 1,
        /// It has left.
        Parted = 2,
    }
}

coded! {
    /// Whether a node can be reached.
    MemberPresence, "presence" {
        /// It is the one that tells this.
        This = 0,
        /// It answers.
        Here = 1,
        /// It has not been heard for a while, which may pass.
        Away = 2,
        /// It has not been heard for so long that what it held is replaced.
        Gone = 3,
    }
}

coded! {
    /// How far its failures have brought a member.
    MemberGrade, "standing" {
        /// All is well.
        Full = 0,
        /// It places nothing more, and nothing more is placed with it.
        NoNewData = 1,
        /// What it holds moves elsewhere.
        Drain = 2,
        /// It has no part in placement.
        Out = 3,
    }
}

/// The disk that a node gives, in two halves. Body: four u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupHalves {
    /// Bytes for its own data.
    pub user: u64,
    /// Bytes of them that are used.
    pub user_used: u64,
    /// Bytes for what it holds for others.
    pub server: u64,
    /// Bytes of them that are used.
    pub server_used: u64,
}

/// A node's own data. Body: eight u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupData {
    /// Closed segments.
    pub segments: u64,
    /// Those that lie safely with others.
    pub safe_segments: u64,
    /// Bytes of all closed segments.
    pub bytes: u64,
    /// Bytes of those that lie safely with others.
    pub safe_bytes: u64,
    /// Bytes that are only here yet, those of no closed segment included.
    pub local_bytes: u64,
    /// Days of safety of the least safe segment; [`GroupData::MANY_DAYS`] if it is more than can be told.
    pub least_days: u64,
    /// Days of safety of the middle one, likewise.
    pub median_days: u64,
    /// Segments at risk, listed or not.
    pub at_risk: u64,
}

impl GroupData {
    /// More days of safety than can be told.
    pub const MANY_DAYS: u64 = u64::MAX;
}

/// A segment at risk. Body: segment 32, bytes u64, survives u8, days u64, list of record text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRisk {
    /// Which.
    pub segment: SegmentName,
    /// Its length.
    pub bytes: u64,
    /// How many more losses it survives.
    pub survives: u8,
    /// Its days of safety, as in [`GroupData`].
    pub days: u64,
    /// Records that lie in it, as `grid:name`: the first few.
    pub records: Vec<String>,
}

/// What a node is busy with. Body: placing u32, mending u32, five u64, paused text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupWork {
    /// Own segments whose shards are being placed.
    pub placing: u32,
    /// Segments whose missing shards are being made anew.
    pub mending: u32,
    /// Shards made anew since the node started.
    pub repaired_shards: u64,
    /// Their bytes.
    pub repaired_bytes: u64,
    /// Bytes sent to other members since the node started.
    pub sent_bytes: u64,
    /// Bytes received from them.
    pub received_bytes: u64,
    /// Bytes of shards that others took in, of those sent.
    pub placed_bytes: u64,
    /// Why it pauses; empty while it does not.
    pub paused: String,
}

/// How far a node has come with getting everything back. Body: segments u64, restored u64, bytes u64, restored bytes
/// u64, waiting u64, members needed u32, members silent u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupRestore {
    /// Segments that there are to be got back; 0 while that is not known.
    pub segments: u64,
    /// Those that are back.
    pub restored: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes that are back.
    pub restored_bytes: u64,
    /// Segments that wait for members who cannot be reached.
    pub waiting: u64,
    /// How many more members must be reachable before all of them can be had.
    pub members_needed: u32,
    /// Members that have not told yet what they know of them: segments that only they know of are not counted here.
    pub members_silent: u32,
}

/// One node of the group. Body: member 32, node 32, number u32, name text, site u64, state u8, presence u8, heard u64,
/// promise u64, proven u64, holds for us u64, held for it u64, standing u8, link text, round trip u32, upload u64,
/// download u64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Whose node it is.
    pub member: MemberId,
    /// The node.
    pub node: NodeId,
    /// Which of the member's nodes it is.
    pub number: u32,
    /// What people call it.
    pub name: String,
    /// Where it is: nodes of one site are lost together.
    pub site: u64,
    /// Where it stands.
    pub state: MemberState,
    /// Whether it can be reached.
    pub presence: MemberPresence,
    /// Milliseconds since it was heard last; all ones: never.
    pub heard_ms_ago: u64,
    /// Bytes that it promises to hold for others.
    pub promise: u64,
    /// Bytes of them that others have verified.
    pub proven: u64,
    /// Bytes that it holds for the node that tells this.
    pub holds_for_us: u64,
    /// Bytes that this one holds for it.
    pub held_for_it: u64,
    /// How it stands with the group.
    pub grade: MemberGrade,
    /// The address it is reached at, or why it is not.
    pub link: String,
    /// The usual round trip, in microseconds; 0: not measured.
    pub round_trip_us: u32,
    /// Bytes a second to it, measured; 0: not measured.
    pub upload: u64,
    /// Bytes a second from it, likewise.
    pub download: u64,
}

/// Something that happened. Body: stamp u64, text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEvent {
    /// When: milliseconds since 1970-01-01 UTC.
    pub stamp: u64,
    /// What.
    pub text: String,
}

impl Message for GroupStatus {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(STATUS_VERSION);
        body.u8(self.state as u8);
        body.text(&self.note);
        body.bytes(&self.group.0);
        body.bytes(&self.node.0);
        body.bytes(&self.member.0);
        body.u32(self.number);
        body.text(&self.name);
        body.u8(self.shape.code());
        self.halves.encode(body);
        self.own.encode(body);
        body.list(&self.risks);
        self.work.encode(body);
        self.restore.encode(body);
        body.list(&self.members);
        body.list(&self.events);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        if body.u8()? != STATUS_VERSION {
            return Err(BodyError::BadValue { field: "version" });
        }
        Ok(Self {
            state: GroupState::decode(body)?,
            note: body.text(NOTE_MAX)?,
            group: GroupId(body.array()?),
            node: NodeId(body.array()?),
            member: MemberId(body.array()?),
            number: body.u32()?,
            name: body.text(NODE_NAME_MAX)?,
            shape: Shape::from_code(body.u8()?).ok_or(BodyError::BadValue { field: "shape" })?,
            halves: GroupHalves::decode(body)?,
            own: GroupData::decode(body)?,
            risks: body.list(RISKS_MAX)?,
            work: GroupWork::decode(body)?,
            restore: GroupRestore::decode(body)?,
            members: body.list(MEMBERS_MAX)?,
            events: body.list(EVENTS_MAX)?,
        })
    }
}

impl Message for GroupHalves {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        for bytes in [self.user, self.user_used, self.server, self.server_used] {
            body.u64(bytes);
        }
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { user: body.u64()?, user_used: body.u64()?, server: body.u64()?, server_used: body.u64()? })
    }
}

impl Message for GroupData {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        for value in [self.segments, self.safe_segments, self.bytes, self.safe_bytes] {
            body.u64(value);
        }
        for value in [self.local_bytes, self.least_days, self.median_days, self.at_risk] {
            body.u64(value);
        }
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self {
            segments: body.u64()?,
            safe_segments: body.u64()?,
            bytes: body.u64()?,
            safe_bytes: body.u64()?,
            local_bytes: body.u64()?,
            least_days: body.u64()?,
            median_days: body.u64()?,
            at_risk: body.u64()?,
        })
    }
}

/// The name of a record in a list.
struct RecordName(String);

impl Message for RecordName {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.text(&self.0);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self(body.text(RECORD_MAX)?))
    }
}

impl Message for GroupRisk {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.segment.0);
        body.u64(self.bytes);
        body.u8(self.survives);
        body.u64(self.days);
        body.u32(u32::try_from(self.records.len()).expect("a risk lists few records"));
        self.records.iter().for_each(|record| body.text(record));
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (segment, bytes) = (SegmentName(body.array()?), body.u64()?);
        let (survives, days) = (body.u8()?, body.u64()?);
        let records: Vec<RecordName> = body.list(RISK_RECORDS_MAX)?;
        Ok(Self { segment, bytes, survives, days, records: records.into_iter().map(|record| record.0).collect() })
    }
}

impl Message for GroupWork {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u32(self.placing);
        body.u32(self.mending);
        body.u64(self.repaired_shards);
        body.u64(self.repaired_bytes);
        body.u64(self.sent_bytes);
        body.u64(self.received_bytes);
        body.u64(self.placed_bytes);
        body.text(&self.paused);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self {
            placing: body.u32()?,
            mending: body.u32()?,
            repaired_shards: body.u64()?,
            repaired_bytes: body.u64()?,
            sent_bytes: body.u64()?,
            received_bytes: body.u64()?,
            placed_bytes: body.u64()?,
            paused: body.text(NOTE_MAX)?,
        })
    }
}

impl GroupRestore {
    /// So many members may be silent without hiding anything that was told to be safe: that lies with at least three
    /// others, or with all that there are.
    pub const SILENT_MAX: u32 = 2;
}

impl Message for GroupRestore {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        for value in [self.segments, self.restored, self.bytes, self.restored_bytes, self.waiting] {
            body.u64(value);
        }
        body.u32(self.members_needed);
        body.u32(self.members_silent);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self {
            segments: body.u64()?,
            restored: body.u64()?,
            bytes: body.u64()?,
            restored_bytes: body.u64()?,
            waiting: body.u64()?,
            members_needed: body.u32()?,
            members_silent: body.u32()?,
        })
    }
}

impl Message for GroupMember {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.member.0);
        body.bytes(&self.node.0);
        body.u32(self.number);
        body.text(&self.name);
        body.u64(self.site);
        body.u8(self.state as u8);
        body.u8(self.presence as u8);
        for value in [self.heard_ms_ago, self.promise, self.proven, self.holds_for_us, self.held_for_it] {
            body.u64(value);
        }
        body.u8(self.grade as u8);
        body.text(&self.link);
        body.u32(self.round_trip_us);
        body.u64(self.upload);
        body.u64(self.download);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self {
            member: MemberId(body.array()?),
            node: NodeId(body.array()?),
            number: body.u32()?,
            name: body.text(NODE_NAME_MAX)?,
            site: body.u64()?,
            state: MemberState::decode(body)?,
            presence: MemberPresence::decode(body)?,
            heard_ms_ago: body.u64()?,
            promise: body.u64()?,
            proven: body.u64()?,
            holds_for_us: body.u64()?,
            held_for_it: body.u64()?,
            grade: MemberGrade::decode(body)?,
            link: body.text(NOTE_MAX)?,
            round_trip_us: body.u32()?,
            upload: body.u64()?,
            download: body.u64()?,
        })
    }
}

impl Message for GroupEvent {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.stamp);
        body.text(&self.text);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { stamp: body.u64()?, text: body.text(NOTE_MAX)? })
    }
}
