//! What cannot be done at a host though its grids are whole, because they are not here: in whose words it is refused.

use crate::refusal::Refusal;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// See the module's text. Of a host whose data is here nothing is set.
#[derive(Default)]
pub(crate) struct Absence {
    /// Grids that should be here and cannot be read.
    grids: OnceLock<BTreeMap<String, Refusal>>,
    /// Why no grid can be read at all.
    all: RwLock<Option<Refusal>>,
    /// Why nothing can be changed, be it for the node's owner.
    changes: OnceLock<Refusal>,
}

impl Absence {
    /// Sets which grids should be here and cannot be read, once.
    pub(crate) fn set_grids(&self, grids: impl IntoIterator<Item = (String, Refusal)>) {
        let _ = self.grids.set(grids.into_iter().collect());
    }

    /// Sets why no grid is here.
    pub(crate) fn set_all(&self, why: Refusal) {
        *self.all.write() = Some(why);
    }

    /// Sets why nothing is changed, once.
    pub(crate) fn set_changes(&self, why: Refusal) {
        let _ = self.changes.set(why);
    }

    /// Why a grid is not here that should be.
    pub(crate) fn of_grid(&self, grid: &str) -> Option<Refusal> {
        let known = self.grids.get().and_then(|grids| grids.get(grid).cloned());
        known.or_else(|| self.all.read().clone())
    }

    /// Whether anything may be changed here.
    pub(crate) fn may_change(&self) -> Result<(), Refusal> {
        self.changes.get().map_or(Ok(()), |why| Err(why.clone()))
    }
}
