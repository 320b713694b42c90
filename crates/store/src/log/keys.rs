//! The keys of segments: the node's own, and those of grids that others may read.
//!
//! A record of such a grid is sealed under a key that follows from the grid's, so that whoever has that one can read it
//! wherever it lies among others; all else is sealed under keys that follow from the node's alone. Which grids those are,
//! and under which of their keys, is the same for a whole segment: a table at its beginning tells.

use super::format::{Header, Label};
use super::parts::Table;
use okapi_base::GridId;
use okapi_seal::{GridKey, NodeKey, Sealer, Secret};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// The bit that parts a grid's companion, which has the same readers, from it.
const COMPANION: u32 = 1 << 31;
/// Keys of grids kept, so that the walk down their chain is not done for each segment.
const KEYS_KEPT: usize = 1024;

/// The grid that a grid or its companion belongs to.
pub(super) const fn home(grid: GridId) -> GridId {
    GridId(grid.0 & !COMPANION)
}

/// A grid and its companion.
pub(super) const fn both(grid: GridId) -> [GridId; 2] {
    [grid, GridId(grid.0 | COMPANION)]
}

/// Grids that others may read, in their order, and the numbers of their keys.
pub(super) type Numbers = Vec<(GridId, u16)>;

/// All keys of a store.
pub(super) struct Ring {
    pub(super) node: NodeKey,
    made: Mutex<HashMap<(GridId, u16), GridKey>>,
}

impl Ring {
    pub(super) fn new(node: &NodeKey) -> Arc<Self> {
        Arc::new(Self { node: node.clone(), made: Mutex::default() })
    }

    /// A key of a grid.
    pub(super) fn key(&self, grid: GridId, number: u16) -> GridKey {
        let mut made = self.made.lock();
        if made.len() >= KEYS_KEPT {
            made.clear();
        }
        made.entry((grid, number)).or_insert_with(|| self.node.grid_key(grid, number)).clone()
    }
}

/// The keys of a segment: one for records, each under its offset as nonce, one for footers and tables, under random
/// nonces, so that the two kinds of nonce never meet; and one for the records of each grid that others may read.
pub(super) struct SegmentKeys {
    records: Sealer,
    pub(super) footers: Sealer,
    /// What hides from those others what the record before is about.
    veil: Secret,
    salt: [u8; 32],
    given: Vec<Given>,
    ring: Arc<Ring>,
}

struct Given {
    grid: GridId,
    number: u16,
    sealer: OnceLock<Box<Sealer>>,
}

/// The key of a record.
#[derive(Clone, Copy)]
pub(super) struct RecordKey<'a> {
    pub(super) sealer: &'a Sealer,
    veil: Option<&'a Secret>,
}

impl SegmentKeys {
    pub(super) fn new(label: &Label, ring: &Arc<Ring>) -> Self {
        let derive = |context| ring.node.derive(context, &label.salt);
        Self {
            records: Sealer::new(&derive("okapi 2026 segment log: records of a segment")),
            footers: Sealer::new(&derive("okapi 2026 segment log: footer of a segment")),
            veil: derive("okapi 2026 segment log: what the record before is about"),
            salt: label.salt,
            given: Vec::new(),
            ring: Arc::clone(ring),
        }
    }

    /// Takes in which grids have keys of their own.
    pub(super) fn give(&mut self, numbers: &[(GridId, u16)]) {
        let given = |(grid, number): &(GridId, u16)| Given { grid: *grid, number: *number, sealer: OnceLock::new() };
        self.given = numbers.iter().map(given).collect();
    }

    /// The grids that have keys of their own here.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (GridId, u16)> {
        self.given.iter().map(|given| (given.grid, given.number))
    }

    /// Whether a grid has a key of its own here.
    pub(super) fn is_given(&self, grid: GridId) -> bool {
        self.find(grid).is_some()
    }

    fn find(&self, grid: GridId) -> Option<&Given> {
        let at = self.given.binary_search_by_key(&home(grid), |given| given.grid).ok()?;
        Some(&self.given[at])
    }

    /// The key of a grid's records.
    pub(super) fn of(&self, grid: GridId) -> RecordKey<'_> {
        match self.find(grid) {
            Some(given) => self.given_key(given),
            None => RecordKey { sealer: &self.records, veil: None },
        }
    }

    fn given_key<'a>(&'a self, given: &'a Given) -> RecordKey<'a> {
        let make = || Box::new(record_sealer(&self.ring.key(given.grid, given.number), &self.salt));
        RecordKey { sealer: given.sealer.get_or_init(make), veil: Some(&self.veil) }
    }

    /// The key that seals a grid's index in this segment, and the name that is found by it.
    pub(super) fn part(&self, grid: GridId, number: u16) -> PartKey {
        PartKey::new(&self.ring.key(grid, number), &self.salt)
    }

    /// The first header that some key makes of a record's first bytes, not authenticated: `peek` decrypts them.
    pub(super) fn peek(&self, peek: impl Fn(RecordKey<'_>) -> Option<Header>) -> Option<Header> {
        let own = peek(RecordKey { sealer: &self.records, veil: None });
        if let Some(own) = own.filter(|header| !self.is_given(header.entry.grid)) {
            return Some(own);
        }
        self.given
            .iter()
            .find_map(|given| peek(self.given_key(given)).filter(|header| home(header.entry.grid) == given.grid))
    }
}

impl RecordKey<'_> {
    /// What is laid over the bytes that tell of the record before, for the record at `offset`.
    pub(super) fn veil(&self, offset: u32) -> Option<Veil> {
        let secret = self.veil?.derive("okapi 2026 segment log: one veil", &offset.to_le_bytes());
        let mut veil = [0; VEIL];
        secret.fill(&mut veil);
        Some(veil)
    }
}

/// Bytes that tell of the record before: half a byte of its kind, its index, its grid.
pub(super) const VEIL: usize = 11;
pub(super) type Veil = [u8; VEIL];

/// The key of a grid's records in a segment.
pub(super) fn record_sealer(key: &GridKey, salt: &[u8; 32]) -> Sealer {
    Sealer::new(&key.derive("okapi 2026 segment log: records of a grid that others may read", salt))
}

/// The key of a grid's index in a segment.
pub(super) struct PartKey {
    pub(super) name: [u8; 16],
    pub(super) sealer: Sealer,
}

impl PartKey {
    pub(super) fn new(key: &GridKey, salt: &[u8; 32]) -> Self {
        let mut name = [0; 16];
        key.derive("okapi 2026 segment log: name of a grid's index", salt).fill(&mut name);
        Self { name, sealer: Sealer::new(&key.derive("okapi 2026 segment log: index of a grid in a segment", salt)) }
    }
}

/// A segment's table as it is sealed, and the keys.
pub(super) fn keys_with(
    label: &Label,
    ring: &Arc<Ring>,
    numbers: &[(GridId, u16)],
) -> (SegmentKeys, Option<Box<Table>>) {
    let mut keys = SegmentKeys::new(label, ring);
    keys.give(numbers);
    let table = label.has_parts().then(|| super::parts::seal_table(numbers, &keys.footers));
    (keys, table)
}

impl std::fmt::Debug for SegmentKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SegmentKeys(not shown, {} grids given)", self.given.len())
    }
}
