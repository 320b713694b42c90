//! The messages about grids, records, following, the node and its group.

pub mod follow;
pub mod grid;
pub mod group;
pub mod node;
pub mod record;

pub use follow::{Follow, Followed, Mark};
pub use grid::{GridCreate, GridCreated, GridInfo, GridList, GridOpen, Named};
pub use group::{
    GroupData, GroupEvent, GroupGive, GroupHalves, GroupInvite, GroupJoin, GroupLeave, GroupLost, GroupMember,
    GroupRestore, GroupRisk, GroupState, GroupStatus, GroupStatusAsk, GroupWork, Invited, MemberGrade, MemberPresence,
    MemberState,
};
pub use node::{CompactReport, DamageReport, NodeStatus, VerifyReport};
pub use record::{
    Lease, RecordBind, RecordBound, RecordFind, RecordInfo, RecordList, RecordPage, RecordRemove, RecordRename,
    RecordReserve, Reserved,
};
