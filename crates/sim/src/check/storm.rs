//! Work stops when nothing changes, and what moves is bounded by what failed.

use super::Breach;
use crate::world::World;

/// Bytes of shards that may move for each byte ever written or lost, all reshaping of a growing group included.
const MOVED_PER_BYTE: u64 = 60;
/// What may move in any case.
const MOVED_FREE: u64 = 4 << 20;

/// Bytes of shards that repair may fetch and send for each byte ever written or lost: sleepers who are away together
/// may be in danger, and then are not waited for.
const REPAIRED_PER_BYTE: u64 = 1;
/// What repair may fetch and send in any case.
const REPAIRED_FREE: u64 = 512 << 10;

/// What was moved up to the last look.
#[derive(Debug, Default)]
pub(crate) struct Storm {
    moved: u64,
    moves: bool,
}

impl Storm {
    pub(super) fn look(&mut self, world: &World) -> Result<(), Breach> {
        let moved = world.tally.placed_bytes + world.tally.fetched_bytes;
        self.moves = moved != self.moved;
        self.moved = moved;
        let cause = world.written() + world.tally.failed_bytes.iter().sum::<u64>();
        let most = MOVED_FREE + cause * MOVED_PER_BYTE;
        if moved > most {
            let what = format!("{moved} bytes of shards were moved for {cause} bytes written or lost");
            return Err(Breach::new("storm", world.now, what));
        }
        let (_, read, sent) = world.tally.repaired;
        if read + sent > REPAIRED_FREE + cause * REPAIRED_PER_BYTE {
            let what = format!("{} bytes of shards were moved to repair, for {cause} written or lost", read + sent);
            return Err(Breach::new("storm", world.now, what));
        }
        Ok(())
    }

    pub(super) fn ill(&self) -> Option<String> {
        self.moves.then(|| "shards still move".to_owned())
    }
}
