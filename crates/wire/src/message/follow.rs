//! Messages about following a grid: replication as a stream.
//!
//! The follower asks [`Follow`] once. From then on the roles are turned round on the same connection: the followed end
//! asks Put, RecordBind, RecordRemove and [`Mark`], with the handle the follower opened the grid by, and the follower
//! answers each once it has made it durable.

use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use okapi_base::Index;

/// Asks for everything and then what changes. Body: epoch u64, sequence u64. Answered by a [`Followed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follow {
    /// The epoch of the last mark the follower has, or 0.
    pub epoch: u64,
    /// The sequence of that mark, or 0.
    pub sequence: u64,
}

/// The answer to [`Follow`]. Body: epoch u64, sequence u64, resumed u8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// The present epoch: it changes when the followed node starts anew.
    pub epoch: u64,
    /// The change the stream begins after.
    pub sequence: u64,
    /// True: only what changed since the follower's mark will come. False: everything will.
    pub resumed: bool,
}

/// How far the stream has come. Body: epoch u64, sequence u64, head u64, swept u8, from u64, to u64, behind u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The epoch of the sequences.
    pub epoch: u64,
    /// Once this mark is answered the follower may resume after this change. 0 while everything is being sent: there
    /// is nothing to resume from yet.
    pub sequence: u64,
    /// The newest change there is: head minus sequence is the lag in changes.
    pub head: u64,
    /// All blocks from the first to the second index (both included) have been sent since the last mark: the follower
    /// deletes others that it holds there.
    pub swept: Option<(Index, Index)>,
    /// Blocks still to be sent before the follower has everything.
    pub behind: u64,
}

impl Message for Follow {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.epoch);
        body.u64(self.sequence);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { epoch: body.u64()?, sequence: body.u64()? })
    }
}

impl Message for Followed {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.epoch);
        body.u64(self.sequence);
        body.u8(u8::from(self.resumed));
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (epoch, sequence) = (body.u64()?, body.u64()?);
        match body.u8()? {
            resumed @ (0 | 1) => Ok(Self { epoch, sequence, resumed: resumed == 1 }),
            _ => Err(BodyError::BadValue { field: "resumed" }),
        }
    }
}

impl Message for Mark {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.epoch);
        body.u64(self.sequence);
        body.u64(self.head);
        body.u8(u8::from(self.swept.is_some()));
        let (from, to) = self.swept.unwrap_or_default();
        body.u64(from.get());
        body.u64(to.get());
        body.u64(self.behind);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (epoch, sequence, head, swept) = (body.u64()?, body.u64()?, body.u64()?, body.u8()?);
        let (from, to) = (Index::new(body.u64()?), Index::new(body.u64()?));
        let swept = match (swept, from, to) {
            (0, _, _) => None,
            (1, Some(from), Some(to)) if from <= to => Some((from, to)),
            _ => return Err(BodyError::BadValue { field: "swept" }),
        };
        Ok(Self { epoch, sequence, head, swept, behind: body.u64()? })
    }
}
