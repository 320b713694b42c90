//! What a visitor answers that is not about blocks: hello, grids, records, following, the node itself.

use super::{Access, End, Visitor};
use crate::follow::Stream;
use crate::grid::Grid;
use crate::records::Changed;
use crate::refusal::Refusal;
use okapi_base::Durability;
use okapi_base::limits::GRIDS_MAX;
use okapi_grid::Control;
use okapi_link::Kind;
use okapi_wire::frame::VERSION;
use okapi_wire::message::{
    Follow, Followed, GridCreate, GridInfo, GridList, GridOpen, Lease, Named, NodeStatus, RecordBind, RecordBound,
    RecordFind, RecordList, RecordRemove, RecordRename, RecordReserve, Reserved, Right,
};
use okapi_wire::{BodyWriter, Frame, Hello, Limits, Message, Op, Status, Welcome};
use std::sync::Arc;

/// Grids one connection may follow.
const FOLLOWS_MAX: usize = 16;

impl Visitor {
    pub(super) fn carry_out(&mut self, ask: &Frame<'_>, body: &mut Vec<u8>) -> Result<Control, End> {
        let op = ask.header.operation().ok_or(Status::UnknownOp)?;
        if op == Op::Hello {
            return self.hello(ask, body);
        }
        self.ready()?;
        if let Op::GridCreate | Op::GridDrop | Op::GrantSet | Op::KeysGive | Op::Verify | Op::Compact = op {
            self.host.absence.may_change()?;
        }
        match op {
            Op::Ping => Ok(Control::Done(Status::Ok)),
            Op::Goodbye => Ok(Control::Last(Status::Ok)),
            Op::Sync => self.sync(ask),
            Op::Map => self.map(ask, body),
            Op::GridOpen | Op::GridCreate | Op::GridDrop | Op::GridList | Op::GridStat => self.of_grids(op, ask, body),
            Op::RecordFind
            | Op::RecordList
            | Op::RecordReserve
            | Op::RecordBind
            | Op::RecordRemove
            | Op::RecordRename
            | Op::RecordRelease => self.record(op, ask, body),
            Op::Follow => self.follow(ask, body),
            // A node follows nobody by itself.
            Op::Mark => Err(Status::Unsupported.into()),
            Op::NodeStatus | Op::Verify | Op::Compact => {
                self.owner()?;
                empty(ask)?;
                self.of_node(op, ask, body)
            }
            Op::GroupStatus
            | Op::GroupInvite
            | Op::GroupJoin
            | Op::GroupLeave
            | Op::GroupLost
            | Op::GroupGive
            | Op::GroupSafe => {
                self.owner()?;
                Ok(self.group(op, ask)?)
            }
            Op::GrantSet => self.set_grant(ask),
            Op::GrantList => self.list_grants(ask),
            Op::Route => self.route(ask),
            Op::KeysGive | Op::DeedsOf | Op::ShardRead => self.among_members(op, ask),
            Op::Hello | Op::Get | Op::Put | Op::List | Op::Runs => unreachable!("answered elsewhere"),
        }
    }

    /// What is asked of whole grids.
    fn of_grids(&mut self, op: Op, ask: &Frame<'_>, body: &mut Vec<u8>) -> Result<Control, End> {
        let done = Ok(Control::Done(Status::Ok));
        match op {
            Op::GridOpen => {
                let info = self.open_grid(&read(ask)?)?;
                write(body, &info);
                done
            }
            Op::GridCreate => {
                self.owner()?;
                let wanted: GridCreate = read(ask)?;
                Ok(self.later(&ask.header, false, move |host| host.create_grid(&wanted).map(|made| bytes(&made)))?)
            }
            Op::GridDrop => {
                let named: Named = read(ask)?;
                self.may_drop(&named.name)?;
                Ok(self.later(&ask.header, false, move |host| {
                    host.drop_grid(&named.name)?;
                    host.give_keys();
                    Ok(Vec::new())
                })?)
            }
            Op::GridList => {
                empty(ask)?;
                write(body, &self.list_grids());
                done
            }
            _ => {
                empty(ask)?;
                write(body, &self.open(ask.header.grid, Right::Read)?.info(ask.header.grid));
                done
            }
        }
    }

    /// What only the owner asks, of the node itself.
    fn of_node(&mut self, op: Op, ask: &Frame<'_>, body: &mut Vec<u8>) -> Result<Control, End> {
        match op {
            Op::NodeStatus => {
                write(body, &NodeStatus { facts: self.host.status() });
                Ok(Control::Done(Status::Ok))
            }
            Op::Verify => Ok(self.later(&ask.header, true, |host| Ok(bytes(&host.verify())))?),
            _ => Ok(self.later(&ask.header, true, |host| Ok(bytes(&host.compact()?)))?),
        }
    }

    fn hello(&mut self, ask: &Frame<'_>, body: &mut Vec<u8>) -> Result<Control, End> {
        if self.host.is_stopping() {
            return Err(End::Last(Status::Stopping.into()));
        }
        if self.access.is_some() {
            return Err(Refusal::new(Status::Malformed, "the connection has said hello already").into());
        }
        let hello: Hello = read(ask).map_err(End::Last)?;
        if !(hello.oldest..=hello.newest).contains(&VERSION) {
            let text = format!(
                "the asker speaks versions {} to {} and the node version {VERSION}; bring the older one up to date",
                hello.oldest, hello.newest
            );
            return Err(End::Last(Refusal::new(Status::WrongVersion, text)));
        }
        if !self.proven && !hello.token.is_none() && !hello.token.matches(&self.host.token) {
            return Err(End::Last(Status::WrongToken.into()));
        }
        let owner = self.proven || !hello.token.is_none();
        self.access = Some(Access { owner, limits: hello.limits });
        write(body, &Welcome { version: VERSION, owner, limits: Limits::default(), node: self.host.node });
        Ok(Control::Done(Status::Ok))
    }

    pub(super) fn is_owner(&self) -> bool {
        self.access.is_some_and(|access| access.owner)
    }

    pub(super) fn owner(&self) -> Result<(), Status> {
        if self.is_owner() { Ok(()) } else { Err(Status::Forbidden) }
    }

    fn open_grid(&mut self, ask: &GridOpen) -> Result<GridInfo, Refusal> {
        let found = self.host.grid(&ask.name);
        let floor = found.as_ref().map_or(Err(Status::UnknownGrid), |grid| self.floor(grid, ask));
        let (grid, floor) = match (found, floor) {
            (Some(grid), Ok(floor)) => (grid, floor),
            // To a member it makes no difference whether the grid is there.
            (_, Err(Status::UnknownGrid)) if self.node.is_some() => {
                return Err(self.host.no_right(self.node, Right::Read, &ask.name));
            }
            (_, floor) => {
                let unreadable = self.host.absence.of_grid(&ask.name).filter(|_| self.is_owner());
                return Err(unreadable.unwrap_or_else(|| floor.err().unwrap_or(Status::UnknownGrid).into()));
            }
        };
        if self.handles.find(&grid).is_none() && self.handles.len() >= GRIDS_MAX {
            return Err(Refusal::new(Status::Busy, "the connection has opened 4,096 grids; connect again"));
        }
        let handle = self.handles.open(&grid, floor, &self.host);
        Ok(grid.info(handle))
    }

    /// What may be done with a grid whatever was granted: by its owner, by anyone if it is public, by whoever has its
    /// token.
    fn floor(&self, grid: &Grid, ask: &GridOpen) -> Result<Right, Status> {
        let granted = self.node.is_some_and(|node| self.host.right_of(&node, grid.definition.id) > Right::None);
        if self.is_owner() {
            Ok(Right::Own)
        } else if grid.definition.public || ask.token.matches(&grid.definition.token) {
            Ok(Right::Write)
        } else if granted {
            Ok(Right::None)
        } else if ask.token.is_none() {
            Err(Status::UnknownGrid)
        } else {
            Err(Status::WrongToken)
        }
    }

    /// Whether it is the asker's business that a grid is there.
    fn may_know(&self, grid: &Grid) -> bool {
        let granted = || self.node.map_or(Right::None, |node| self.host.right_of(&node, grid.definition.id));
        self.is_owner() || grid.definition.public || granted() > Right::None
    }

    fn may_drop(&self, name: &str) -> Result<(), Refusal> {
        let right =
            |node| self.host.grid(name).map_or(Right::None, |grid| self.host.right_of(&node, grid.definition.id));
        if self.is_owner() || self.node.map(right) == Some(Right::Own) {
            return Ok(());
        }
        Err(self.host.no_right(self.node, Right::Own, name))
    }

    fn list_grids(&self) -> GridList {
        let all = self.host.all_grids();
        let opened = |grid: &Arc<Grid>| self.handles.find(grid).unwrap_or(0);
        // Opened by a token: a member's handle is worth no more than its right.
        let shown = |grid: &&Arc<Grid>| self.may_know(grid) || self.handles.floor(grid) > Right::None;
        GridList { grids: all.iter().filter(shown).map(|grid| grid.info(opened(grid))).collect() }
    }

    fn sync(&mut self, ask: &Frame<'_>) -> Result<Control, End> {
        empty(ask)?;
        if ask.header.grid == 0 {
            self.owner()?;
            return Ok(self.later(&ask.header, false, |host| Ok(host.stores.flush().map(|()| Vec::new())?))?);
        }
        let grid = Arc::clone(self.open(ask.header.grid, Right::Read)?);
        if grid.definition.shape.durability == Durability::Memory {
            return Ok(Control::Done(Status::Ok));
        }
        Ok(self.later(&ask.header, false, move |_| Ok(grid.engine.flush().map(|()| Vec::new())?))?)
    }

    /// The part of a grid's shared map from a segment on. Body: segment u32, or nothing for the first.
    fn map(&mut self, ask: &Frame<'_>, body: &mut Vec<u8>) -> Result<Control, End> {
        let from = match ask.descriptors {
            [] => 0,
            bytes => u32::from_le_bytes(bytes.try_into().map_err(|_| Status::Malformed)?),
        };
        let grid = Arc::clone(self.open(ask.header.grid, Right::Read)?);
        // Only a unix socket carries descriptors.
        if self.link != Kind::Unix || !self.host.shared_maps {
            return Err(Status::Unsupported.into());
        }
        let map = grid.blocks.shared_map().ok_or(Status::Unsupported)?;
        let (layout, fds) = map.part(from);
        let fds: std::io::Result<Vec<_>> = fds.iter().map(std::os::fd::BorrowedFd::try_clone_to_owned).collect();
        let fds = fds.map_err(|error| Refusal::new(Status::Busy, format!("no descriptors to be had: {error}")))?;
        let mut bytes = [0; okapi_base::map::Layout::BYTES_MAX];
        let length = layout.encode(&mut bytes);
        body.extend_from_slice(&bytes[..length]);
        self.fds = fds;
        Ok(Control::Done(Status::Ok))
    }

    fn record(&mut self, op: Op, ask: &Frame<'_>, body: &mut Vec<u8>) -> Result<Control, End> {
        let right = if matches!(op, Op::RecordFind | Op::RecordList) { Right::Read } else { Right::Write };
        let grid = Arc::clone(self.open(ask.header.grid, right)?);
        let done = Ok(Control::Done(Status::Ok));
        match op {
            Op::RecordFind => {
                let wanted: RecordFind = read(ask)?;
                write(body, &grid.find_record(&wanted.name)?.info);
                done
            }
            Op::RecordList => {
                let wanted: RecordList = read(ask)?;
                write(body, &grid.list_records(&wanted));
                done
            }
            Op::RecordReserve => {
                let wanted: RecordReserve = read(ask)?;
                let (lease, extents) = grid.reserve(self.id, &wanted, &self.host.leases)?;
                write(body, &Reserved { lease, extents });
                done
            }
            Op::RecordRelease => {
                let Lease { lease } = read(ask)?;
                if let Some(doom) = grid.release(self.id, lease, &self.host.leases)? {
                    self.host.doom(&grid, doom);
                }
                done
            }
            Op::RecordBind => {
                let wanted: RecordBind = read(ask)?;
                let changed = grid.bind(self.id, wanted, self.host.records_max)?;
                write(body, &RecordBound { generation: changed.generation });
                Ok(self.changed(&grid, changed))
            }
            Op::RecordRemove => {
                let wanted: RecordRemove = read(ask)?;
                let changed = grid.remove(&wanted)?;
                Ok(self.changed(&grid, changed))
            }
            _ => {
                let wanted: RecordRename = read(ask)?;
                let changed = grid.rename(&wanted)?;
                Ok(self.changed(&grid, changed))
            }
        }
    }

    fn changed(&self, grid: &Arc<Grid>, changed: Changed) -> Control {
        if let Some(doom) = changed.doom {
            self.host.doom(grid, doom);
        }
        changed.hold.map_or(Control::Done(Status::Ok), Control::Held)
    }

    fn follow(&mut self, ask: &Frame<'_>, body: &mut Vec<u8>) -> Result<Control, End> {
        let wanted: Follow = read(ask)?;
        let handle = ask.header.grid;
        let grid = Arc::clone(self.open(handle, Right::Read)?);
        if self.streams.iter().any(|stream| stream.handle() == handle) {
            return Err(Refusal::new(Status::Exists, "the connection follows this grid already").into());
        }
        if self.streams.len() >= FOLLOWS_MAX {
            return Err(Refusal::new(Status::Busy, "the connection follows 16 grids, and that is the limit").into());
        }
        let limits = self.access.expect("only after a hello").limits;
        let needed = grid.definition.shape.block_size.bytes().max(crate::follow::MESSAGE_MAX as u32) + 64;
        if limits.body_max < needed {
            let text = format!("a follower of this grid must take bodies of {needed} bytes");
            return Err(Refusal::new(Status::TooLong, text).into());
        }
        let epoch = grid.changes.epoch;
        // One watcher for each connection and grid.
        let after = (wanted.epoch, wanted.sequence);
        let (stream, resumed) = Stream::begin(grid, handle, self.id, after, limits, &self.later.wake);
        write(body, &Followed { epoch, sequence: stream.position(), resumed });
        self.streams.push(stream);
        (self.later.wake)();
        Ok(Control::Done(Status::Ok))
    }
}

pub(super) fn read<M: Message>(ask: &Frame<'_>) -> Result<M, Refusal> {
    Ok(M::parse(ask.descriptors)?)
}

/// Makes sure that an ask without a body has none.
pub(super) fn empty(ask: &Frame<'_>) -> Result<(), Refusal> {
    if ask.descriptors.is_empty() {
        Ok(())
    } else {
        Err(Refusal::new(Status::Malformed, "the ask has a body, and this operation takes none"))
    }
}

fn write(body: &mut Vec<u8>, message: &impl Message) {
    message.encode(&mut BodyWriter::new(body));
}

pub(super) fn bytes(message: &impl Message) -> Vec<u8> {
    let mut body = Vec::new();
    write(&mut body, message);
    body
}
