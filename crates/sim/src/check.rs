//! Checkers: what must be so, looked at once an hour by somebody who sees everything. Each has its own file.

mod books;
mod caps;
pub(crate) mod floor;
mod held;
mod loss;
mod placement;
mod secrecy;
mod storm;
mod timeline;
mod wholeness;

use crate::story::BEGIN;
use crate::world::World;
use std::fmt;
use std::time::Duration;

/// Something that must never be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Who saw it.
    pub checker: &'static str,
    /// When.
    pub at: Duration,
    /// What.
    pub what: String,
}

impl Breach {
    /// A breach.
    #[must_use]
    pub const fn new(checker: &'static str, at: Duration, what: String) -> Self {
        Self { checker, at, what }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = (self.at - BEGIN).as_secs() / 3600;
        write!(f, "{} (day {}, hour {}): {}", self.checker, hours / 24, hours % 24, self.what)
    }
}

/// All checkers, and what they remember from one look to the next.
#[derive(Debug, Default)]
pub struct Checks {
    looks: u64,
    pub(crate) floor: floor::Floor,
    held: held::Held,
    storm: storm::Storm,
}

impl Checks {
    /// The hourly look.
    pub(crate) fn look(&mut self, world: &mut World) -> Result<(), Breach> {
        self.looks += 1;
        loss::look(world)?;
        caps::look(world)?;
        self.floor.look(world);
        self.held.look(world)?;
        if self.looks.is_multiple_of(6) {
            placement::look(world)?;
            timeline::look(world)?;
        }
        if self.looks.is_multiple_of(24) {
            secrecy::look(world)?;
        }
        self.storm.look(world)
    }

    /// Why not all is well, if it is not.
    pub(crate) fn ill(&self, world: &World) -> Option<String> {
        wholeness::ill(world)
            .or_else(|| timeline::ill(world))
            .or_else(|| books::ill(world))
            .or_else(|| self.storm.ill())
    }

    /// The look at the end.
    pub(crate) fn last_look(&mut self, world: &mut World) -> Result<(), Breach> {
        placement::look(world)?;
        timeline::look(world)?;
        secrecy::look(world)?;
        wholeness::last_look(world)
    }
}
