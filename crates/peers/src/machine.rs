//! What happens to a [`Peer`](crate::Peer) and what it asks to be done: its whole outside world.
//!
//! The driver promises:
//! - time given to the peer is since 1970-01-01 UTC and never goes back;
//! - batches of [`Output::Keep`] become durable in the order they were asked for, each wholly or not at all; what was
//!   reported [`Input::Kept`] survives a crash, what was not may or may not;
//! - each [`Output::Work`] is answered by exactly one [`Input::Worked`] with its ticket, in any order; work that
//!   writes (store a shard, restore a segment) is durable when it is answered, and what was not answered may be there,
//!   torn or missing after a crash: shards that an opened peer does not hold ([`crate::Peer::held`]) are then removed by
//!   the driver, before it hands over the first input;
//! - letters come from who they say they come from (the link is pinned to the node's key), but may be lost, doubled,
//!   delayed or reordered, and their content is whatever that node chose.

use crate::placement::{Map, Place};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use okapi_base::{Digest, GroupId, NodeId, SegmentName, Shape};
pub use okapi_wire::peer::shard::ShardId;

/// Bytes that several owners share without copying.
pub type Blob = Arc<[u8]>;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Nothing but that time went by.
    Wake,
    /// A letter came. `payload` is empty for most.
    Received {
        /// Whose node sent it.
        from: NodeId,
        /// The letter: at most [`crate::limits::LETTER_MAX`] bytes are looked at.
        letter: Vec<u8>,
        /// The bytes of a shard or proof that came with it.
        payload: Blob,
    },
    /// The batch of this ticket, and every batch before it, is durable.
    Kept {
        /// The ticket of the batch.
        ticket: u64,
    },
    /// Work is done.
    Worked {
        /// The ticket of the work.
        ticket: u64,
        /// What came of it.
        done: Done,
    },
    /// The local store closed a segment: it is to be made safe. Told again for every closed segment after a restart
    /// (the peer knows those it has seen).
    Closed {
        /// Its name.
        segment: SegmentName,
        /// Its length in bytes, at least 1.
        bytes: u64,
        /// Its data key as wrapped to its owner (an envelope, at most [`crate::limits::KEY_MAX`] bytes): it is kept
        /// beside every shard.
        key: Blob,
    },
    /// The local store no longer needs a segment (compaction): its shards are to be given back.
    Released {
        /// Its name.
        segment: SegmentName,
    },
    /// The driver's own scrub found a stored shard or a live segment damaged or missing.
    Damaged(Thing),
    /// The driver could not reach a node, and has tried for a while: what was sent to it lately is lost. Without this the
    /// node would be noticed to be away once it has missed its pings.
    Unreached {
        /// Which node.
        node: NodeId,
    },
    /// The driver has a new connection to a node: what was sent on the one before may be lost, though neither was started
    /// anew. Without this what is lost is sent again when its patience is over.
    Relinked {
        /// Which node.
        node: NodeId,
    },
    /// The user wants something.
    Order(Order),
}

/// A thing that lies on the local disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A live segment of one's own.
    Segment(SegmentName),
    /// A shard held for its owner.
    Shard(ShardId),
}

/// What the user wants of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Make a one-time ticket by which one node may join until `expires`, in milliseconds since 1970.
    Invite {
        /// The ticket's secret, drawn by the driver.
        secret: [u8; 32],
        /// When it expires.
        expires: u64,
    },
    /// Join the group of `via` with the ticket it gave.
    Join {
        /// The node that made the ticket.
        via: NodeId,
        /// Its group, as the ticket tells.
        group: GroupId,
        /// The ticket's secret.
        secret: [u8; 32],
    },
    /// A node whose disk is new asks `via` for everything it had.
    Restore {
        /// Any reachable member's node.
        via: NodeId,
    },
    /// Offer this many bytes to the others from now on.
    Promise {
        /// Bytes of the server half.
        bytes: u64,
    },
    /// Leave the group: move away what is held for others, then part.
    Leave,
    /// Leave the group at once: what is held for others is lost to them.
    LeaveNow,
    /// A person knows that a node is lost for good: what it held is repaired now, without waiting for it any longer. If
    /// it is heard after all it counts again. Forgotten when this node restarts.
    Lost {
        /// Which node.
        node: NodeId,
    },
}

/// Something to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send a letter, once.
    Send {
        /// To this node.
        to: NodeId,
        /// The letter.
        letter: Vec<u8>,
        /// What goes with it.
        payload: Blob,
    },
    /// Make writes durable, all or none; a value of `None` removes the key.
    Keep {
        /// Comes back in [`Input::Kept`].
        ticket: u64,
        /// Keys and values.
        writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    },
    /// Do heavy work.
    Work {
        /// Comes back in [`Input::Worked`].
        ticket: u64,
        /// What to do.
        work: Work,
    },
    /// Tell whoever wants to know.
    Event(Event),
}

/// Heavy work: reading, coding, hashing, writing of whole shards.
#[derive(Debug, Clone)]
pub enum Work {
    /// Compute the placement of a member list.
    Place {
        /// The places.
        places: Arc<[Place]>,
        /// The seed.
        seed: Digest,
        /// For segments of this shape.
        shape: Shape,
    },
    /// Read a live segment of one's own and code it; all roots are told, and the bytes of the shards in `wanted`.
    Code {
        /// Which segment.
        segment: SegmentName,
        /// Into which shape.
        shape: Shape,
        /// Indexes of shards whose bytes are wanted.
        wanted: Vec<u8>,
    },
    /// Compute missing shards from `k` others.
    Rebuild {
        /// The segment's length in bytes.
        bytes: u64,
        /// Its shape.
        shape: Shape,
        /// At least `k` shards, checked against their roots already.
        have: Vec<(u8, Blob)>,
        /// Indexes of shards that are wanted.
        wanted: Vec<u8>,
    },
    /// Join `k` shards to a segment, check it against its name and put it into the local store.
    Restore {
        /// Its name.
        segment: SegmentName,
        /// Its length in bytes.
        bytes: u64,
        /// Its shape.
        shape: Shape,
        /// At least `k` shards.
        have: Vec<(u8, Blob)>,
    },
    /// Check a shard against its root and write it to the server half.
    StoreShard {
        /// Which.
        shard: ShardId,
        /// Its root.
        root: Digest,
        /// Its bytes.
        bytes: Blob,
    },
    /// Check bytes that came against a root.
    Check {
        /// The root they should have.
        root: Digest,
        /// The bytes.
        bytes: Blob,
    },
    /// Read a shard of the server half and check it against its root.
    ReadShard {
        /// Which.
        shard: ShardId,
        /// Its root.
        root: Digest,
    },
    /// Remove a shard from the server half.
    DropShard {
        /// Which.
        shard: ShardId,
    },
    /// Prove that leaves of a shard are there. The shard is checked against its root first: damage is admitted.
    Prove {
        /// Which shard.
        shard: ShardId,
        /// Its root.
        root: Digest,
        /// Which leaves.
        leaves: Vec<u32>,
    },
}

/// What came of work.
#[derive(Debug, Clone)]
pub enum Done {
    /// The placement.
    Placed(Arc<Map>),
    /// Shards, each with its index, and for [`Work::Code`] the roots of all of the shape.
    Shards {
        /// The wanted shards.
        shards: Vec<(u8, Blob)>,
        /// All roots, or none.
        roots: Vec<Digest>,
    },
    /// Written, removed, restored or checked: all is well.
    Well,
    /// A shard's bytes.
    Bytes(Blob),
    /// Proofs, one after the other as they travel.
    Proofs(Blob),
    /// It is not there, or not what its root or name says.
    Lost,
    /// There is no room on the disk.
    Full,
}

/// Something worth telling the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This node is in the group now.
    Joined,
    /// It could not join.
    JoinFailed {
        /// Why, in words.
        why: String,
    },
    /// The segment now is as safe as the group can make it.
    Safe {
        /// Which.
        segment: SegmentName,
        /// As which shape it lies with the others.
        shape: Shape,
    },
    /// The user half is full: the segment is not made safe, and no more should be written.
    UserHalfFull {
        /// Which.
        segment: SegmentName,
    },
    /// All shards of a released segment are given back.
    Gone {
        /// Which.
        segment: SegmentName,
    },
    /// Shards of a segment were missing and are there again.
    Repaired {
        /// Whose segment.
        owner: NodeId,
        /// Which.
        segment: SegmentName,
        /// How many shards.
        shards: u32,
        /// How many bytes of shards were fetched for it.
        read: u64,
        /// How many bytes of shards were sent.
        sent: u64,
    },
    /// A segment came back from the others.
    Restored {
        /// Which.
        segment: SegmentName,
        /// Its wrapped data key.
        key: Blob,
    },
    /// Everything that can be restored has been: so many segments are back, and of these there are not enough shards
    /// reachable (it is tried again by itself).
    RestoreDone {
        /// Segments that are back.
        restored: u32,
        /// Segments that wait for more members.
        waiting: Vec<SegmentName>,
    },
    /// A member holds less than it signed for: found by audit or by its own word.
    Caught {
        /// Which node.
        node: NodeId,
        /// Which shard.
        shard: ShardId,
    },
    /// Two entries of one log at one place: the log's author, or a copy of its key, lies.
    Forked {
        /// Whose log.
        log: NodeId,
    },
    /// This node has left the group; nothing is held for others any more.
    Parted,
    /// The ticket is ready to be handed on.
    Invited {
        /// Its secret.
        secret: [u8; 32],
        /// The group it opens.
        group: GroupId,
    },
    /// A node has been away for longer than is usual for it; what it holds counts as lost until it comes back.
    Missing {
        /// Which node.
        node: NodeId,
    },
}
