//! Entries that go together in one message, as many as fit.

use alloc::vec::Vec;
use okapi_wire::peer::entry::{ENTRIES_BYTES_MAX, ENTRIES_MAX, Entry, SIGNED_HEADER_BYTES, SignedHeader};

/// Entries for one message. One always fits, however long it is.
#[derive(Debug, Default)]
pub(crate) struct Pack {
    pub(crate) entries: Vec<Entry>,
    bytes: usize,
}

impl Pack {
    /// Adds an entry, if it fits.
    pub(crate) fn add(&mut self, head: &SignedHeader, body: &[u8]) -> bool {
        let bytes = self.bytes + SIGNED_HEADER_BYTES + body.len();
        let fits = self.entries.is_empty() || (self.entries.len() < ENTRIES_MAX && bytes <= ENTRIES_BYTES_MAX);
        if fits {
            self.bytes = bytes;
            self.entries.push(Entry { head: *head, body: body.to_vec() });
        }
        fits
    }
}
