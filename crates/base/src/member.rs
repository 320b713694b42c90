//! Who is who in a group: the public names of members, their nodes, and the group itself.
//!
//! All of them are 32 bytes that this crate only carries; what makes them true (keys, hashes) is in `seal`.

use core::fmt;

macro_rules! name_of_32_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "("))?;
                self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str(")")
            }
        }
    };
}

name_of_32_bytes! {
    /// A member, a person or an organisation: its Ed25519 public key.
    MemberId
}
name_of_32_bytes! {
    /// A node, a process of a member: its own Ed25519 public key.
    NodeId
}
name_of_32_bytes! {
    /// A group of members: the BLAKE3 hash of its founder's first member record.
    GroupId
}
name_of_32_bytes! {
    /// A closed segment: the BLAKE3 hash of its bytes.
    SegmentName
}
name_of_32_bytes! {
    /// A BLAKE3 hash of something.
    Digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn names_are_written_in_hex() {
        let node = NodeId(core::array::from_fn(|at| at as u8));
        assert_eq!(format!("{node}"), "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        assert_eq!(format!("{node:?}"), "NodeId(00010203)");
    }
}
