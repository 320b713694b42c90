//! The messages about grids, records, following and the node.

pub mod follow;
pub mod grid;
pub mod node;
pub mod record;

pub use follow::{Follow, Followed, Mark};
pub use grid::{GridCreate, GridCreated, GridInfo, GridList, GridOpen, Named};
pub use node::{CompactReport, DamageReport, NodeStatus, VerifyReport};
pub use record::{
    Lease, RecordBind, RecordBound, RecordFind, RecordInfo, RecordList, RecordPage, RecordRemove, RecordRename,
    RecordReserve, Reserved,
};
