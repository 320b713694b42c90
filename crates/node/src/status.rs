//! What a node tells of itself.

use crate::host::Host;
use okapi_store::{Damage, Verified};
use okapi_wire::message::node::DAMAGES_LISTED_MAX;
use okapi_wire::message::{CompactReport, DamageReport, VerifyReport};

/// Bytes of one text in a report.
const TEXT_MAX: usize = 1024;

impl Host {
    /// What the node is and holds, as names and values.
    #[must_use]
    pub fn status(&self) -> Vec<(String, String)> {
        let mut facts = vec![
            ("node.id".to_owned(), self.node.iter().map(|byte| format!("{byte:02x}")).collect()),
            ("node.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ];
        if let Some(more) = self.facts.lock().clone() {
            facts.extend(more());
        }
        for (home, engine) in self.stores.open() {
            let mut fact = |name: &str, value: String| facts.push((format!("{}.{name}", home.word()), value));
            let state = engine.durable().map_or_else(|broken| broken.why, |_| "writable".to_owned());
            let usage = engine.usage();
            fact("state", state);
            fact("live_bytes", usage.live_bytes.to_string());
            fact("held_bytes", usage.held_bytes.to_string());
            fact("limit_bytes", usage.limit_bytes.to_string());
            fact("segments", usage.segments.to_string());
            fact("put_bytes", usage.put_bytes.to_string());
            fact("written_bytes", usage.written_bytes.to_string());
            fact("moved_bytes", usage.moved_bytes.to_string());
            fact("freed_bytes", usage.freed_bytes.to_string());
            fact("moving_segments", usage.moving.to_string());
        }
        let grids = self.all_grids();
        facts.push(("grids".to_owned(), grids.len().to_string()));
        let records: usize = grids.iter().map(|grid| grid.records.read().len()).sum();
        facts.push(("records".to_owned(), records.to_string()));
        facts.push(("keys_received".to_owned(), self.received.count().to_string()));
        facts
    }

    /// Verifies everything in every engine.
    pub(crate) fn verify(&self) -> VerifyReport {
        let mut list = Vec::new();
        let mut total = Verified::default();
        let grids = self.all_grids();
        for (_, engine) in self.stores.open() {
            let seen = engine.verify(&mut |damage: Damage| {
                if list.len() < DAMAGES_LISTED_MAX {
                    list.push(told(damage, &grids));
                }
            });
            total.segments += seen.segments;
            total.records += seen.records;
            total.blocks += seen.blocks;
            total.bytes += seen.bytes;
            total.damages += seen.damages;
        }
        let Verified { segments, records, blocks, bytes, damages } = total;
        VerifyReport { segments, records, blocks, bytes, damages, list }
    }

    /// Compacts every engine.
    pub(crate) fn compact(&self) -> Result<CompactReport, okapi_store::WriteError> {
        let mut total = CompactReport::default();
        for (_, engine) in self.stores.open() {
            let gained = engine.compact()?;
            total.segments += gained.segments;
            total.moved_bytes += gained.moved_bytes;
            total.held_before += gained.held_before;
            total.held_after += gained.held_after;
        }
        Ok(total)
    }
}

/// A damage with its grid's name. A damaged name is told as one of the grid it names records of.
fn told(damage: Damage, grids: &[std::sync::Arc<crate::grid::Grid>]) -> DamageReport {
    let mut what = damage.what;
    let block = damage.block.map(|(id, index)| {
        let plain = id.0 & !crate::catalog::COMPANION;
        let name = grids.iter().find(|grid| grid.definition.id.0 == plain).map(|grid| grid.definition.name.clone());
        let mut name = name.unwrap_or_default();
        if id.0 != plain {
            what = format!("the name of a record: {what}");
        } else if id.0 == 0 {
            name = "(catalog)".to_owned();
        }
        (plain, name, index.get())
    });
    DamageReport { block, place: cut(damage.place), what: cut(what) }
}

fn cut(mut text: String) -> String {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
