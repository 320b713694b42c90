//! Reading and authenticating everything there is.

use super::blocks::place_of;
use super::disk::read_to_end;
use super::format::{Entry, FIRST_RECORD, HEADER, Header, Kind, TRAILER, record_nonce};
use super::index::{Location, SEGMENT_BYTES_MAX};
use super::keys::RecordKey;
use super::reader::Unread;
use super::shelf::{SegmentFile, segment_name};
use super::{Inner, checkpoint, damage, identity};
use crate::engine::{Damage, Verified};
use okapi_base::{GridId, Index, crc32c};
use okapi_seal::TAG_BYTES;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

/// Hands damages on and counts them.
struct Report<'a> {
    to: &'a mut dyn FnMut(Damage),
    seen: Verified,
}

impl Report<'_> {
    fn add(&mut self, damage: Damage) {
        self.seen.damages += 1;
        (self.to)(damage);
    }
}

impl Inner {
    pub(super) fn verify(&self, to: &mut dyn FnMut(Damage)) -> Verified {
        let mut report = Report { to, seen: Verified::default() };
        // What is still in memory is verified once it is on the disk. A broken store keeps it in memory.
        if let Err(error) = self.flush_all() {
            tracing::warn!("verifying without what is not written yet: {error}");
        }
        match identity::verify(&*self.disk, &self.ring.node, self.store) {
            Ok(None) => {}
            Ok(Some(at)) => report.add(damage(format!("{}+{at}", identity::NAME), "the store's identity is damaged")),
            Err(error) => report.add(damage(identity::NAME.to_owned(), format!("it cannot be read: {error}"))),
        }
        match checkpoint::load(&*self.disk, &self.ring.node, &self.store) {
            Ok(None | Some(Ok(_))) => {}
            Ok(Some(Err(bad))) => report.add(damage(format!("{}+{}", checkpoint::NAME, bad.offset), bad.what)),
            Err(error) => report.add(damage(checkpoint::NAME.to_owned(), format!("it cannot be read: {error}"))),
        }
        let numbers: Vec<u32> = self.writer.lock().segments.keys().copied().collect();
        for &number in &numbers {
            self.verify_segment(number, &mut report);
        }
        self.verify_places(&numbers, &mut report);
        report.seen
    }

    /// Reports blocks that the index has in segments there are not.
    fn verify_places(&self, numbers: &[u32], report: &mut Report<'_>) {
        let is_known = |number| numbers.binary_search(&number).is_ok();
        let missing =
            self.blocks_where(|location| !is_known(location.segment()) && !self.is_segment(location.segment()));
        for (grid, index, location) in missing {
            let what = "the segment's file is missing".to_owned();
            report.add(Damage { block: Some((grid, index)), place: place_of(location), what });
        }
    }

    fn is_segment(&self, number: u32) -> bool {
        self.writer.lock().segments.contains_key(&number)
    }

    fn blocks_where(&self, wanted: impl Fn(Location) -> bool) -> Vec<(GridId, Index, Location)> {
        let mut found = Vec::new();
        let grids: Vec<_> = self.grids.read().values().cloned().collect();
        for grid in grids {
            // The places are copied first: `wanted` may ask for the writer, whose lock comes before the index.
            let all: Vec<_> = grid.index.read().blocks(0).collect();
            let wanted = all.into_iter().filter(|(_, location)| wanted(*location));
            found.extend(wanted.filter_map(|(at, location)| Some((grid.id, Index::new(at)?, location))));
        }
        found
    }

    fn verify_segment(&self, number: u32, report: &mut Report<'_>) {
        let name = segment_name(number);
        let read = self.segment_file(number).and_then(|segment| {
            let bytes = read_to_end(&*segment.file, 0, SEGMENT_BYTES_MAX.into()).map_err(Unread::Io)?;
            Ok((segment, bytes))
        });
        let (segment, bytes) = match read {
            Ok(read) => read,
            // Compaction was quicker.
            Err(_) if !self.is_segment(number) => return,
            Err(unread) => {
                let what = match unread {
                    Unread::Io(error) => format!("it cannot be read: {error}"),
                    Unread::Corrupted(what) => what.to_owned(),
                    Unread::Gone | Unread::NotNow => "the segment's file is missing".to_owned(),
                };
                report.add(damage(name, what.clone()));
                for (grid, index, location) in self.blocks_where(|location| location.segment() == number) {
                    let block = Some((grid, index));
                    report.add(Damage { block, place: place_of(location), what: what.clone() });
                }
                return;
            }
        };
        report.seen.segments += 1;
        let mut page = vec![0; FIRST_RECORD as usize];
        segment.label.write_page(segment.table.as_deref(), &mut page);
        if let Some(at) = (0..page.len()).find(|at| bytes.get(*at) != Some(&page[*at])) {
            report.add(damage(format!("{name}+{at}"), "a copy of the segment's label is damaged"));
        }
        let mut seen = HashSet::new();
        for entry in &*self.entries_to_verify(&segment, &bytes, report) {
            seen.insert(entry.offset);
            self.verify_record(&segment, &bytes, entry, report);
        }
        let unseen = |location: Location| location.segment() == number && !seen.contains(&location.offset());
        for (grid, index, location) in self.blocks_where(unseen) {
            if location.offset() >= bytes.len() as u32 || self.frontier_of(number) > location.offset() {
                let what = "the record cannot be found any more".to_owned();
                report.add(Damage { block: Some((grid, index)), place: place_of(location), what });
            }
        }
    }

    /// Up to where segment `number` is written.
    fn frontier_of(&self, number: u32) -> u32 {
        let frontier = self.frontier.load(Acquire);
        match (frontier >> 32).cmp(&u64::from(number)) {
            std::cmp::Ordering::Greater => u32::MAX,
            std::cmp::Ordering::Equal => frontier as u32,
            std::cmp::Ordering::Less => 0,
        }
    }

    /// The records a segment should have; reports where its footer does not say so, or bytes belong to none.
    fn entries_to_verify(&self, segment: &SegmentFile, bytes: &[u8], report: &mut Report<'_>) -> Arc<Vec<Entry>> {
        let number = segment.label.number;
        let name = segment_name(number);
        {
            let w = self.writer.lock();
            if let Some(active) = w.active.as_ref().filter(|active| active.segment.label.number == number) {
                let written = self.frontier_of(number);
                let entries = active.entries.iter().filter(|entry| entry.offset < written);
                return Arc::new(entries.copied().collect());
            }
            if !w.segments.get(&number).is_some_and(|state| state.closed) {
                // Its footer is on its way, which only a broken store can have after a flush.
                return Arc::default();
            }
        }
        let (entries, end) = match segment.footer() {
            Ok(Some((trailer, footer))) => {
                let sealed_end = (trailer.footer_at + trailer.footer_bytes + trailer.tail_bytes) as usize;
                if bytes
                    .get(sealed_end..bytes.len().saturating_sub(TRAILER))
                    .is_none_or(|pad| pad.iter().any(|b| *b != 0))
                {
                    report.add(damage(format!("{name}+{sealed_end}"), "the bytes after the footer are not zero"));
                }
                (footer.entries, trailer.footer_at)
            }
            Ok(None) => {
                let what = "the segment's footer is damaged; its records are found without it";
                report.add(damage(format!("{name}+{}", bytes.len().saturating_sub(TRAILER)), what));
                let found = super::scan::scan(segment).map(|scan| scan.found).unwrap_or_default();
                (Arc::new(found.iter().map(|found| found.header.entry).collect()), 0)
            }
            Err(error) => {
                report.add(damage(name.clone(), format!("it cannot be read: {error}")));
                return Arc::default();
            }
        };
        let mut next = FIRST_RECORD;
        for (offset, length) in entries.iter().map(|entry: &Entry| (entry.offset, entry.bytes())).chain([(end, 0)]) {
            if offset > next {
                let what = format!("{} bytes belong to no record", offset - next);
                report.add(damage(format!("{name}+{next}"), what));
            }
            next = offset + length;
        }
        entries
    }

    fn verify_record(&self, segment: &SegmentFile, bytes: &[u8], entry: &Entry, report: &mut Report<'_>) {
        let location = Location::new(segment.label.number, entry.offset, entry.bytes());
        let lives = entry.kind == Kind::Put
            && self
                .grids
                .read()
                .get(&entry.grid)
                .is_some_and(|grid| grid.index.read().get(entry.index.get()) == location);
        report.seen.records += 1;
        let wrong = match bytes.get(entry.offset as usize..(entry.offset + entry.bytes()) as usize) {
            None => Some("the file ends before the record does"),
            Some(sealed) => {
                let mut plain = vec![0; sealed.len() - TAG_BYTES];
                let key = segment.keys.of(entry.grid);
                match key.sealer.open(record_nonce(entry.offset), sealed, &mut plain) {
                    Err(_) => Some("the record's seal is broken"),
                    Ok(()) => contradiction(&plain, entry, key),
                }
            }
        };
        if let Some(what) = wrong {
            let block = lives.then_some((entry.grid, entry.index));
            report.add(Damage { block, place: place_of(location), what: what.to_owned() });
        } else if lives {
            report.seen.blocks += 1;
            report.seen.bytes += u64::from(entry.length);
        }
    }
}

/// What in an authentic record does not agree with the segment's index.
fn contradiction(plain: &[u8], entry: &Entry, key: RecordKey<'_>) -> Option<&'static str> {
    let head = plain.first_chunk::<HEADER>()?;
    match Header::read(head, entry.offset, entry.offset + entry.bytes(), key) {
        None => Some("the record's header makes no sense"),
        Some(header) if header.entry != *entry => Some("the record is not the one the segment's index tells of"),
        Some(_) => {
            let payload = &plain[HEADER..HEADER + entry.length as usize];
            let is_block = entry.kind == Kind::Put;
            (is_block && crc32c(payload) != entry.crc).then_some("the block's checksum does not match its bytes")
        }
    }
}
