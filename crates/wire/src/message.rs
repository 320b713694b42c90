//! The messages about grids, records, following, the node and its group, grants and routes.

pub mod away;
pub mod follow;
pub mod grant;
pub mod grid;
pub mod group;
pub mod node;
pub mod record;
pub mod route;

pub use away::{DeedPage, DeedsOf, KeyGiven, KeysGive, RoutedAway, ShardPart, ShardRead};
pub use follow::{Follow, Followed, Mark};
pub use grant::{GrantList, GrantSet, Granted, Right};
pub use grid::{GridCreate, GridCreated, GridInfo, GridList, GridOpen, Named};
pub use group::{
    FindError, GroupData, GroupEvent, GroupGive, GroupHalves, GroupInvite, GroupJoin, GroupLeave, GroupLost,
    GroupMember, GroupRestore, GroupRisk, GroupState, GroupStatus, GroupStatusAsk, GroupWork, Invited, MemberGrade,
    MemberPresence, MemberState,
};
pub use node::{CompactReport, DamageReport, NodeStatus, VerifyReport};
pub use record::{
    Lease, RecordBind, RecordBound, RecordFind, RecordInfo, RecordList, RecordPage, RecordRemove, RecordRename,
    RecordReserve, Reserved,
};
pub use route::Route;
