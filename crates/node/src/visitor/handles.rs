//! The grids a connection has open, and what it may do with each.
//!
//! What somebody may do is looked up when the grid is opened, and again at the next frame after any grant or the list of
//! members has changed: who is revoked is out at once, and who is not pays for one comparison a frame.

use crate::grid::Grid;
use crate::host::Host;
use okapi_base::NodeId;
use okapi_wire::Status;
use okapi_wire::message::Right;
use std::sync::Arc;

/// See the module's text.
#[derive(Clone, Default)]
pub(crate) struct Handles {
    /// The grid of handle `n` is at `n - 1`.
    list: Arc<Vec<Handle>>,
    /// The member's node at the other end, if one is.
    who: Option<NodeId>,
    /// The state of affairs that the rights are of.
    seen: u64,
}

#[derive(Clone)]
struct Handle {
    grid: Arc<Grid>,
    /// What may be done by whoever got this far: the owner, the holder of a token, anyone with a public grid.
    floor: Right,
    /// What may be done now.
    right: Right,
}

impl Handles {
    pub(crate) fn of(who: Option<NodeId>) -> Self {
        Self { who, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Grid>> {
        self.list.iter().map(|handle| &handle.grid)
    }

    /// The handle of a grid, if it is open.
    pub(crate) fn find(&self, grid: &Arc<Grid>) -> Option<u32> {
        let at = self.list.iter().position(|handle| Arc::ptr_eq(&handle.grid, grid))?;
        Some(u32::try_from(at + 1).expect("handles are few"))
    }

    /// What may be done with a grid whatever was granted.
    pub(crate) fn floor(&self, grid: &Arc<Grid>) -> Right {
        let handle = self.list.iter().find(|handle| Arc::ptr_eq(&handle.grid, grid));
        handle.map_or(Right::None, |handle| handle.floor)
    }

    /// Opens a grid with at least the right `floor`; it may be open already. Gives its handle.
    pub(crate) fn open(&mut self, grid: &Arc<Grid>, floor: Right, host: &Host) -> u32 {
        let right = floor.max(self.granted(grid, host));
        let list = Arc::make_mut(&mut self.list);
        match list.iter().position(|handle| Arc::ptr_eq(&handle.grid, grid)) {
            Some(at) => {
                let known = &mut list[at];
                known.floor = known.floor.max(floor);
                known.right = known.floor.max(right);
            }
            None => list.push(Handle { grid: Arc::clone(grid), floor, right }),
        }
        self.find(grid).expect("it is open now")
    }

    /// The grid of a handle, whatever may be done with it.
    #[inline]
    pub(crate) fn get(&self, handle: u32) -> Result<&Arc<Grid>, Status> {
        let grid = &self.at(handle)?.grid;
        if grid.is_dropped() { Err(Status::UnknownGrid) } else { Ok(grid) }
    }

    /// The grid of a handle, if `right` is had on it now.
    #[inline]
    pub(crate) fn with(&mut self, handle: u32, right: Right, host: &Host) -> Result<&Arc<Grid>, Status> {
        self.refresh(host);
        if self.at(handle)?.right < right {
            return Err(Status::Forbidden);
        }
        self.get(handle)
    }

    fn at(&self, handle: u32) -> Result<&Handle, Status> {
        (handle as usize).checked_sub(1).and_then(|at| self.list.get(at)).ok_or(Status::UnknownGrid)
    }

    fn refresh(&mut self, host: &Host) {
        if self.who.is_none() {
            return;
        }
        let now = host.rights_changes();
        if now == self.seen {
            return;
        }
        let rights: Vec<Right> =
            self.list.iter().map(|handle| handle.floor.max(self.granted(&handle.grid, host))).collect();
        self.seen = now;
        for (handle, right) in Arc::make_mut(&mut self.list).iter_mut().zip(rights) {
            handle.right = right;
        }
    }

    fn granted(&self, grid: &Grid, host: &Host) -> Right {
        self.who.map_or(Right::None, |node| host.right_of(&node, grid.definition.id))
    }
}
