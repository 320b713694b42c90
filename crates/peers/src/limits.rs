//! Every limit and every span of time of the peers' protocol, with its unit.

use core::time::Duration;

/// Bytes of a letter without its payload.
pub const LETTER_MAX: usize = 256 << 10;
/// Bytes of a payload: one shard of the largest segment in the narrowest shape.
pub const PAYLOAD_MAX: usize = 16 << 20;
/// Bytes of a wrapped data key.
pub const KEY_MAX: usize = 1024;
/// Segments of one owner.
pub const SEGMENTS_MAX: usize = 1 << 20;
/// Shards one node holds for others.
pub const SHARDS_MAX: usize = 1 << 20;
/// Segments a node spatters, moves or repairs at a time: each may have all its shards in memory.
pub const PLANS_MAX: usize = 4;
/// Shards a node lets others send it at a time.
pub const INBOUND_MAX: usize = 4;
/// Shards of one owner among them, as soon as more than one could send: then all get equal portions.
pub const INBOUND_EACH: usize = 1;
/// Offers of shards that wait for their turn, for each owner.
pub const OFFERS_MAX: usize = 64;
/// Amendments to one deed.
pub const AMENDMENTS_MAX: usize = okapi_wire::peer::shard::AMENDMENTS_MAX;
/// Segments looked at in one turn, before something else gets its turn.
pub const REVIEWS_PER_TURN: usize = 256;
/// Deeds in one letter.
pub const DEEDS_PER_LETTER: usize = 64;
/// Tickets to join that are out at a time.
pub const TICKETS_MAX: usize = 64;

/// How far ahead of this node's clock a letter's stamp may be.
pub const FUTURE_TOLERANCE: Duration = Duration::from_secs(10 * 60);
/// How old a letter may be when it comes.
pub const LETTER_AGE_MAX: Duration = Duration::from_secs(60 * 60);
pub use okapi_timeline::limits::{RETRY_FIRST, RETRY_MAX, retry_after};
/// When a node that is away is looked at again by those who have something to tell it, if it does not come back before.
pub const TELL_AWAY: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a shard that was asked for may take to come.
pub const INBOUND_PATIENCE: Duration = Duration::from_secs(10 * 60);
/// The first rest of a segment for which nothing could be done; each further one is twice as long.
pub const REST_FIRST: Duration = Duration::from_secs(10 * 60);
/// When a segment of which something is missing is looked at again, if nothing is heard before.
pub const LOOK_AGAIN: Duration = Duration::from_secs(6 * 60 * 60);
/// How often that rest is doubled, at most.
pub const FRUITLESS_MAX: u32 = 6;
/// How long a holder that was chosen for a shard may be silent before another is taken instead.
pub const HOLDER_PATIENCE: Duration = Duration::from_secs(60 * 60);
/// How long the member list must have rested before shards are moved for it.
pub const LIST_REST: Duration = Duration::from_secs(5 * 60);
/// How long the member list must have rested before the placement is computed anew: people join one after the other.
pub const MAP_REST: Duration = Duration::from_secs(2);
/// Time between two pings of the same node, for each node in the group; see [`PING_MIN`] and [`PING_MAX`].
pub const PING_PER_NODE: Duration = Duration::from_secs(30);
/// The shortest time between two pings of the same node.
pub const PING_MIN: Duration = Duration::from_secs(5 * 60);
/// The longest time between two pings of the same node.
pub const PING_MAX: Duration = Duration::from_secs(60 * 60);
/// The shortest time between two pings of a node that the driver could not reach.
pub const REACH_MIN: Duration = Duration::from_secs(15);
/// Time between two audits of the same holder.
pub const AUDIT_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// Leaves asked for in one audit.
pub const AUDIT_LEAVES: usize = 4;

/// The part of a holder's promise that is asked for at a time beyond what is needed now.
pub const CONTRACT_PART: u64 = 64;
/// How long a holder that will not sign for more is left alone.
pub const DECLINED_REST: Duration = Duration::from_secs(6 * 60 * 60);
/// Time between two rounds of upkeep: renewing contracts, revising one's own record.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// Pings in a row that may be lost before a node counts as away.
pub const MISSED_PINGS: u32 = 3;
/// How long a shard that is fetched may take to come, at least, from a node of which it is not known how quick it is.
pub const FETCH_PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long a gathering rests when there is nobody left to ask; each further time twice as long.
pub const GATHER_REST: Duration = Duration::from_secs(30 * 60);
/// How often that rest is doubled, at most: to a little more than a day.
pub const GATHER_REST_DOUBLINGS: u32 = 6;
/// The same from any node, however quick it has been.
pub const FETCH_PATIENCE_MIN: Duration = Duration::from_secs(30);
/// How often a node keeps until when it has listened.
pub const HISTORY_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long it takes to mend what was noticed to be lost, as far as days of safety are concerned.
pub const MENDING: Duration = Duration::from_secs(24 * 60 * 60);
/// The grace of a node that takes no care ([`crate::Care::grace`]).
pub const NAIVE_GRACE: Duration = Duration::from_secs(60);
/// Segments a node mends at a time.
pub const MENDS_MAX: usize = 2;
/// How much longer each further holder waits before it mends, so that they do not all begin.
pub const MEND_STAGGER: Duration = Duration::from_secs(2 * 60 * 60);
/// Segments that are brought back at a time.
pub const RESTORES_MAX: usize = 4;
/// When a restoring node asks a member again that did not answer.
pub const ASK_AGAIN: Duration = Duration::from_secs(5 * 60);
/// How often a holder of segments that this node does not know is asked to show their deeds.
pub const DOUBT_EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a restoring node waits for members that do not answer before it begins with what it has.
pub const RESTORE_PATIENCE: Duration = Duration::from_secs(10 * 60);
/// How long an answer to an audit may take before it is asked again.
pub const AUDIT_PATIENCE: Duration = Duration::from_secs(3 * 60);
/// How often the same is asked before an audit counts as unanswered.
pub const AUDIT_ASKS: u32 = 4;
/// Time between two audits of a holder that failed one.
pub const AUDIT_AGAIN: Duration = Duration::from_secs(60);
/// How long a holder that failed an audit is given nothing more; for each further one in a row twice as long.
pub const DISTRUST_FIRST: Duration = Duration::from_secs(24 * 60 * 60);
/// How often that is doubled, at most.
pub const DISTRUST_DOUBLINGS: u32 = 6;
/// Unanswered audits in a row, of a holder that is here, that count as a failed one.
pub const AUDITS_UNANSWERED: u32 = 5;
/// Audits in a row that came to nothing because the holder was just away, after which what it should have counts as lost:
/// one that is heard now and then, and never when it is asked, proves nothing.
pub const AUDITS_MISSED: u32 = 14;
/// How often a member says anew what it attests another.
pub const ATTEST_EVERY: Duration = Duration::from_secs(7 * 24 * 60 * 60);
