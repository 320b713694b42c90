//! What a frame asks for.

/// An operation. Its number is for ever; a reply carries the same number with the upper bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Op {
    /// Opens a connection: versions, limits, who asks. Never changes.
    Hello = 0x01,
    /// Asks for nothing but an answer.
    Ping = 0x02,
    /// The last frame of a connection: its status and text say why.
    Goodbye = 0x03,
    /// Gets slices of blocks.
    Get = 0x10,
    /// Changes blocks.
    Put = 0x11,
    /// Lists occupied blocks.
    List = 0x12,
    /// Lists runs of occupied blocks.
    Runs = 0x13,
    /// Answered once everything put before is durable.
    Sync = 0x14,
    /// Asks for the descriptors of a grid's shared map.
    Map = 0x15,
    /// Opens a grid by name.
    GridOpen = 0x20,
    /// Makes a grid.
    GridCreate = 0x21,
    /// Drops a grid.
    GridDrop = 0x22,
    /// Lists the grids the asker may see.
    GridList = 0x23,
    /// What an open grid holds.
    GridStat = 0x24,
    /// Finds a record by name.
    RecordFind = 0x30,
    /// Lists records.
    RecordList = 0x31,
    /// Sets blocks aside for a record to be written.
    RecordReserve = 0x32,
    /// Gives a name to blocks.
    RecordBind = 0x33,
    /// Removes a record, its name and its blocks.
    RecordRemove = 0x34,
    /// Gives a record another name.
    RecordRename = 0x35,
    /// Gives reserved blocks back.
    RecordRelease = 0x36,
    /// Asks the other end to put everything here, and then what changes.
    Follow = 0x40,
    /// Asked by the one who is followed: how far the follower has come.
    Mark = 0x41,
    /// What the node is and does.
    NodeStatus = 0x50,
    /// Verifies everything stored.
    Verify = 0x51,
    /// Compacts the store.
    Compact = 0x52,
    /// How the node stands in its group.
    GroupStatus = 0x60,
    /// Makes a ticket by which one node may join.
    GroupInvite = 0x61,
    /// Joins the group of a ticket.
    GroupJoin = 0x62,
    /// Leaves the group.
    GroupLeave = 0x63,
    /// Changes how much disk is given.
    GroupGive = 0x64,
    /// Answered once everything put before lies safely with others.
    GroupSafe = 0x65,
    /// Counts a node of the group as lost for good.
    GroupLost = 0x66,
    /// Sets what a member may do with a grid.
    GrantSet = 0x70,
    /// Lists what members may do with grids.
    GrantList = 0x71,
    /// Joins the connection to a stream to another member's node.
    Route = 0x73,
    /// Gives another member's node the keys of grids that it may read.
    KeysGive = 0x74,
    /// Lists the deeds that a node has of another's segments.
    DeedsOf = 0x75,
    /// Reads a part of a shard.
    ShardRead = 0x76,
}

impl Op {
    /// The bit that makes an operation's number a reply's.
    pub const REPLY: u8 = 0x80;

    const ALL: [Self; 39] = [
        Self::Hello,
        Self::Ping,
        Self::Goodbye,
        Self::Get,
        Self::Put,
        Self::List,
        Self::Runs,
        Self::Sync,
        Self::Map,
        Self::GridOpen,
        Self::GridCreate,
        Self::GridDrop,
        Self::GridList,
        Self::GridStat,
        Self::RecordFind,
        Self::RecordList,
        Self::RecordReserve,
        Self::RecordBind,
        Self::RecordRemove,
        Self::RecordRename,
        Self::RecordRelease,
        Self::Follow,
        Self::Mark,
        Self::NodeStatus,
        Self::Verify,
        Self::Compact,
        Self::GroupStatus,
        Self::GroupInvite,
        Self::GroupJoin,
        Self::GroupLeave,
        Self::GroupGive,
        Self::GroupSafe,
        Self::GroupLost,
        Self::GrantSet,
        Self::GrantList,
        Self::Route,
        Self::KeysGive,
        Self::DeedsOf,
        Self::ShardRead,
    ];

    /// The operation a number (without the reply bit) stands for.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        if code < Self::REPLY { BY_CODE[code as usize] } else { None }
    }

    /// Bytes of one descriptor of an ask.
    #[must_use]
    pub const fn ask_bytes(self) -> usize {
        match self {
            Self::Get | Self::List | Self::Runs => 16,
            Self::Put => 32,
            _ => 0,
        }
    }

    /// Bytes of one descriptor of a reply.
    #[must_use]
    pub const fn reply_bytes(self) -> usize {
        match self {
            Self::Get | Self::Put | Self::List => 32,
            Self::Runs => 16,
            _ => 0,
        }
    }

    /// Whether doing it twice is as good as doing it once, so that it may be asked again after a broken link.
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        matches!(
            self,
            Self::Hello
                | Self::Ping
                | Self::Get
                | Self::List
                | Self::Runs
                | Self::Sync
                | Self::Map
                | Self::GridOpen
                | Self::GridList
                | Self::GridStat
                | Self::RecordFind
                | Self::RecordList
                | Self::NodeStatus
                | Self::Verify
                | Self::Compact
                | Self::GroupStatus
                | Self::GroupGive
                | Self::GroupSafe
                | Self::GroupLost
                | Self::GrantSet
                | Self::GrantList
                | Self::KeysGive
                | Self::DeedsOf
                | Self::ShardRead
        )
    }
}

/// Operations by their numbers: frames are taken apart by the million.
const BY_CODE: [Option<Op>; Op::REPLY as usize] = {
    let mut table = [None; Op::REPLY as usize];
    let mut at = 0;
    while at < Op::ALL.len() {
        table[Op::ALL[at] as usize] = Some(Op::ALL[at]);
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_stands_for_its_operation() {
        let known = (0..=0x7F).filter_map(Op::from_code).count();
        assert_eq!(known, Op::ALL.len());
        for op in Op::ALL {
            assert_eq!(Op::from_code(op as u8), Some(op));
            assert_eq!(op as u8 & Op::REPLY, 0);
        }
        assert_eq!(Op::from_code(0x7F), None);
    }
}
