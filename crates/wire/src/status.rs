//! How an ask, or one descriptor of it, ended.

use core::fmt;

macro_rules! statuses {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// The end of an ask or of one of its descriptors. Numbers are for ever.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Status { $($(#[doc = $doc])* $name = $code,)* }

        impl Status {
            /// Every status there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The status a number stands for. A number this version does not know is [`Status::Failed`].
            #[must_use]
            pub const fn from_code(code: u16) -> Self {
                match code { $($code => Self::$name,)* _ => Self::Failed }
            }

            /// What the status means, and a hint.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

statuses! {
    /// It was done.
    Ok = 0, "done";
    /// Nothing is stored there.
    Absent = 1, "nothing is stored there";
    /// The frame breaks a rule of the format.
    Malformed = 2, "the frame breaks a rule of the format";
    /// The versions of the two ends have nothing in common.
    WrongVersion = 3, "the two ends speak no common version; bring the older one up to date";
    /// The operation is not known.
    UnknownOp = 4, "the operation is not known here; is the other end older?";
    /// There is no such grid, or the asker may not know of it.
    UnknownGrid = 5, "there is no such grid, or it is private; see `okapi grid ls`, or give its token";
    /// The token opens nothing.
    WrongToken = 6, "the token is wrong";
    /// The asker may not do this.
    Forbidden = 7, "not allowed over this connection; the node's owner or a token is needed";
    /// The index needs more than 48 bits.
    BadIndex = 8, "the index is not below 2^48";
    /// The slice reaches past the block.
    PastBlock = 9, "the slice reaches past the end of the block";
    /// The payload is not what its checksum says.
    BadChecksum = 10, "the payload does not match its CRC-32C; it was damaged on the way, send it again";
    /// The block or record is not at the expected generation.
    Stale = 11, "it has changed meanwhile; get it again and decide anew";
    /// The store has no room.
    Full = 12, "the store has no room; delete something, or give it more";
    /// The store takes no more writes.
    ReadOnly = 13, "the store is read-only after a failed write; mend the disk and start the node again";
    /// What is stored is not what was written.
    Corrupted = 14, "what is stored there is corrupted; `okapi fsck` shows what else is";
    /// The operating system could not read it.
    Unreadable = 15, "the disk could not read it";
    /// The reply would be longer than the asker gave credit for.
    NoCredit = 16, "the reply would be longer than the credit given; ask for it in a frame of its own";
    /// Too many descriptors in one frame.
    TooMany = 17, "too many descriptors in one frame";
    /// Something is longer than its limit.
    TooLong = 18, "longer than the limit";
    /// It is there already.
    Exists = 19, "it exists already";
    /// There is no such record.
    UnknownRecord = 20, "there is no record of that name";
    /// The name breaks a rule.
    BadName = 21, "the name is empty, too long or has characters that names may not have";
    /// A limit on how much may go on at once is reached.
    Busy = 22, "the node is at its limit; try again";
    /// The node is stopping.
    Stopping = 23, "the node is stopping";
    /// It cannot be done on this link or by this engine.
    Unsupported = 24, "not to be had over this link or with this engine";
    /// The block belongs to a record.
    InRecord = 25, "the block belongs to a record; change the record, or remove it first";
    /// The blocks were not reserved, or no longer are.
    NoReservation = 26, "the blocks are not reserved (any more); begin the record again";
    /// The connection has not said hello.
    NoHello = 27, "the connection must begin with a hello";
    /// It failed for a reason without a number of its own.
    Failed = 28, "it failed";
    /// The node has no identity, so it can be in no group.
    NoGroup = 29, "this node is in no group: `okapi init` makes it ready for one";
    /// The ticket opens no group, or not any more.
    BadTicket = 30, "the ticket opens nothing; ask for a new one, made by `okapi invite`";
    /// The member's node cannot be reached.
    Away = 31, "the member is away; what is its own can be read once it is back";
}

impl Status {
    /// Whether it was done.
    #[inline]
    #[must_use]
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Ok)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_strangers_are_failures() {
        for status in Status::ALL {
            assert_eq!(Status::from_code(*status as u16), *status);
        }
        assert_eq!(Status::from_code(999), Status::Failed);
    }
}
