//! The grids that could be found of a member that is away, as an engine that says no to every write.

use crate::catalog::{COMPANION, Definition, Head, Home, encode_definition, encode_head};
use crate::names::{Entry, decode};
use okapi_base::{Durability, Generation, GridId, Index, Ticket, crc32c};
use okapi_store::log::GrantedGrid;
use okapi_store::{
    Block, Blocks, Broken, Change, Compacted, Damage, Engine, Got, GridUsage, Listed, Patience, Payload, Placed,
    ReadError, Shape, StoreUsage, Verified, Watcher, WriteError,
};
use okapi_wire::Token;
use okapi_wire::message::KeyGiven;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names read of a companion at a time.
const PAGE: usize = 1024;

/// See the module's text.
pub(super) struct AwayEngine {
    grids: BTreeMap<GridId, Arc<dyn Blocks>>,
}

impl AwayEngine {
    pub(super) fn new(found: Vec<(&KeyGiven, GrantedGrid)>) -> Self {
        let mut grids = BTreeMap::new();
        let mut catalog = BTreeMap::from([(0, encode_head(&Head { node: [0; 16], next: COMPANION }).to_vec())]);
        for (key, grid) in found {
            let definition = Definition {
                id: GridId(key.grid),
                name: key.name.clone(),
                shape: Shape { block_size: key.block_size, durability: Durability::Always },
                public: false,
                home: Home::Log,
                token: Token::NONE,
                made: key.made,
                dropping: false,
            };
            catalog.insert(key.grid.into(), encode_definition(&definition).to_vec());
            let [id, names] = [GridId(key.grid), GridId(key.grid | COMPANION)];
            grids.insert(id, grid.blocks(id).expect("it is the grid that was opened"));
            let names = grid.blocks(names).expect("and its companion");
            let marks = marks(&*names);
            grids.insert(GridId(key.grid | COMPANION), Arc::new(Unmarked { names, marks }));
        }
        grids.insert(GridId(0), Arc::new(Fixed(catalog)));
        Self { grids }
    }
}

/// The slots of a companion that are marks: what they tell of is for its owner to tidy up.
fn marks(names: &dyn Blocks) -> BTreeSet<u64> {
    let (mut marks, mut next) = (BTreeSet::new(), Some(Index::MIN));
    while let Some(from) = next {
        let mut page = Vec::new();
        // It lists from memory.
        let _ = names.list(from, PAGE, false, &mut page);
        for listed in &page {
            if let Ok(Got::Block(block)) = names.get(listed.index, Patience::Waiting)
                && let Ok(Entry::Mark(_)) = decode(block.payload.as_ref())
            {
                marks.insert(listed.index.get());
            }
        }
        next = page.last().and_then(|last| last.index.next());
    }
    marks
}

fn read_only() -> WriteError {
    Broken { why: "it is read from what others hold of it, while its owner is away".to_owned() }.into()
}

impl Engine for AwayEngine {
    fn name(&self) -> &'static str {
        "away"
    }

    fn open_grid(&self, id: GridId, _: Shape) -> Result<Arc<dyn Blocks>, WriteError> {
        Ok(self.grids.get(&id).map_or_else(|| Arc::new(Fixed(BTreeMap::new())) as Arc<dyn Blocks>, Arc::clone))
    }

    fn drop_grid(&self, _: GridId) -> Result<(), WriteError> {
        Err(read_only())
    }

    fn durable(&self) -> Result<Ticket, Broken> {
        Ok(Ticket::NOW)
    }

    fn watch(&self, _: Watcher) {}

    fn flush(&self) -> Result<(), WriteError> {
        Ok(())
    }

    fn verify(&self, _: &mut dyn FnMut(Damage)) -> Verified {
        Verified::default()
    }

    fn compact(&self) -> Result<Compacted, WriteError> {
        Err(read_only())
    }

    fn usage(&self) -> StoreUsage {
        StoreUsage::default()
    }
}

/// A few blocks in memory.
struct Fixed(BTreeMap<u64, Vec<u8>>);

impl Blocks for Fixed {
    fn get(&self, index: Index, _: Patience) -> Result<Got, ReadError> {
        let Some(bytes) = self.0.get(&index.get()) else { return Ok(Got::Absent) };
        let payload = Payload::Owned(bytes.clone());
        Ok(Got::Block(Block { generation: Generation(1), crc: crc32c(bytes), payload }))
    }

    fn put(&self, _: Index, _: &Change<'_>) -> Result<Placed, WriteError> {
        Err(read_only())
    }

    fn list(&self, from: Index, limit: usize, _: bool, out: &mut Vec<Listed>) -> Result<(), ReadError> {
        out.extend(self.0.range(from.get()..).take(limit).map(|(at, bytes)| Listed {
            index: Index::new(*at).expect("only indexes are put in"),
            length: bytes.len() as u32,
            crc: crc32c(bytes),
            generation: Generation(1),
        }));
        Ok(())
    }

    fn next_occupied(&self, from: Index) -> Option<Index> {
        self.0.range(from.get()..).next().and_then(|(at, _)| Index::new(*at))
    }

    fn usage(&self) -> GridUsage {
        GridUsage { blocks: self.0.len() as u64, bytes: self.0.values().map(|bytes| bytes.len() as u64).sum() }
    }
}

/// A companion without its marks.
struct Unmarked {
    names: Arc<dyn Blocks>,
    marks: BTreeSet<u64>,
}

impl Blocks for Unmarked {
    fn get(&self, index: Index, patience: Patience) -> Result<Got, ReadError> {
        if self.marks.contains(&index.get()) { Ok(Got::Absent) } else { self.names.get(index, patience) }
    }

    fn put(&self, _: Index, _: &Change<'_>) -> Result<Placed, WriteError> {
        Err(read_only())
    }

    fn list(&self, from: Index, limit: usize, detail: bool, out: &mut Vec<Listed>) -> Result<(), ReadError> {
        let (first, mut next) = (out.len(), Some(from));
        // A page of nothing but marks is not the end.
        while let Some(from) = next.filter(|_| out.len() == first) {
            self.names.list(from, limit, detail, out)?;
            next = out[first..].last().and_then(|last| last.index.next());
            let listed = out.split_off(first);
            out.extend(listed.into_iter().filter(|listed| !self.marks.contains(&listed.index.get())));
        }
        Ok(())
    }

    fn next_occupied(&self, from: Index) -> Option<Index> {
        let mut at = self.names.next_occupied(from)?;
        while self.marks.contains(&at.get()) {
            at = self.names.next_occupied(at.next()?)?;
        }
        Some(at)
    }

    fn usage(&self) -> GridUsage {
        self.names.usage()
    }
}
