//! What an edit makes of a block, for engines that write whole blocks.

use crate::engine::{Change, Edit, Placed, WriteError};
use okapi_base::{Generation, Index, Ticket};

/// What an edit comes to for a block of some length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The block stays as it is.
    Nothing,
    /// The block goes.
    Delete,
    /// The block gets new content of this many bytes, from 1 to the block size.
    Write(u32),
}

impl Plan {
    /// The plan for a block of now `length` bytes in a grid whose blocks have `capacity`.
    ///
    /// # Errors
    /// [`WriteError::PastBlock`].
    pub(crate) fn of(edit: &Edit<'_>, index: Index, length: u32, capacity: u32) -> Result<Self, WriteError> {
        let (end, keeps_tail, empty) = match *edit {
            Edit::Whole { bytes, .. } => (bytes.len() as u64, false, false),
            Edit::Slice { offset, bytes } => (u64::from(offset) + bytes.len() as u64, true, bytes.is_empty()),
            Edit::Zeroes { offset, length } => (u64::from(offset) + u64::from(length), true, length == 0),
            Edit::Truncate { length } => (length.into(), false, false),
        };
        let end = u32::try_from(end).ok().filter(|end| *end <= capacity).ok_or(WriteError::PastBlock {
            index,
            wanted: end,
            capacity,
        })?;
        let wanted = if keeps_tail { end.max(length) } else { end };
        Ok(match wanted {
            _ if empty => Self::Nothing,
            0 => Self::Delete,
            wanted => Self::Write(wanted),
        })
    }
}

/// Fills `room`, as long as the plan says, with what `edit` makes of `old`.
pub(crate) fn fill(edit: &Edit<'_>, old: &[u8], room: &mut [u8]) {
    if let Edit::Whole { bytes, .. } = *edit {
        return room.copy_from_slice(bytes);
    }
    let kept = old.len().min(room.len());
    room[..kept].copy_from_slice(&old[..kept]);
    room[kept..].fill(0);
    match *edit {
        Edit::Slice { offset, bytes } => room[offset as usize..][..bytes.len()].copy_from_slice(bytes),
        Edit::Zeroes { offset, length } => room[offset as usize..][..length as usize].fill(0),
        Edit::Whole { .. } | Edit::Truncate { .. } => {}
    }
}

impl Change<'_> {
    /// Refuses if the change expects another generation than the one found.
    ///
    /// # Errors
    /// [`WriteError::Stale`].
    pub(crate) fn check(&self, index: Index, found: Generation, length: u32) -> Result<(), WriteError> {
        match self.expect {
            Some(expected) if expected != found => Err(WriteError::Stale { index, found, length }),
            _ => Ok(()),
        }
    }
}

impl Placed {
    /// What a put says that found nothing to change.
    pub(crate) fn unchanged(generation: Generation, length: u32) -> Self {
        Self { generation, length, ticket: Ticket::NOW }
    }
}
