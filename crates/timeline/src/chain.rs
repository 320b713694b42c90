//! Hashes and signatures of entries, and paths read as what they mean: a chain of headers with their hashes.

use crate::act::Hashed;
use alloc::vec::Vec;
use okapi_base::{Digest, NodeId};
use okapi_seal::{Hasher, Signature, SigningKey, verify};
use okapi_wire::peer::SignatureBytes;
use okapi_wire::peer::entry::{Entry, EntryHeader, PATH_MAX, Path, SignedHeader, Step};

/// The hash that names an entry.
#[must_use]
pub fn entry_hash(header: &EntryHeader) -> Digest {
    Hasher::new("okapi 2026 timeline: entry").add(&header.hashed_bytes()).digest()
}

/// A header, signed.
#[must_use]
pub fn sign(key: &SigningKey, header: EntryHeader) -> SignedHeader {
    SignedHeader { header, signature: key.sign(&entry_hash(&header)).0 }
}

/// Whether `signature` of an entry's hash is that of the log's author.
#[must_use]
pub fn is_by_author(log: NodeId, hash: &Digest, signature: &SignatureBytes) -> bool {
    verify(&log.0, hash, &Signature(*signature))
}

/// Whether a header is signed by its author.
#[must_use]
pub fn is_signed(head: &SignedHeader) -> bool {
    is_by_author(head.header.log, &entry_hash(&head.header), &head.signature)
}

/// Whether an entry's body is the one its header names. (That it has the length the header says is in its form.)
#[must_use]
pub fn has_its_body(entry: &Entry) -> bool {
    okapi_seal::hash(&entry.body) == entry.head.header.body
}

/// Headers of one log that follow one another, with their hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain(Vec<Hashed>);

impl Chain {
    /// What a path means. Nothing if it runs over the end of all sequences.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let mut before = (path.first, entry_hash(&path.first));
        let mut chain = Vec::from([before]);
        for step in &path.rest {
            let header = step.after(&before.0, before.1)?;
            before = (header, entry_hash(&header));
            chain.push(before);
        }
        Some(Self(chain))
    }

    /// Its first header.
    #[must_use]
    pub fn first(&self) -> &Hashed {
        &self.0[0]
    }

    /// Its last header.
    #[must_use]
    pub fn last(&self) -> &Hashed {
        &self.0[self.0.len() - 1]
    }

    /// The header of this sequence, if it is in it.
    #[must_use]
    pub fn at(&self, sequence: u64) -> Option<&Hashed> {
        let at = sequence.checked_sub(self.first().0.sequence)?;
        self.0.get(usize::try_from(at).ok()?)
    }

    /// The part from one sequence to another, both of which are in it, as a path.
    #[must_use]
    pub fn path(&self, from: u64, to: u64) -> Path {
        let skip = (from - self.first().0.sequence) as usize;
        path_of(self.0[skip..=skip + (to - from) as usize].iter().map(|(header, _)| *header))
            .expect("a part of a path is one")
    }

    /// All headers, the first first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Hashed> {
        self.0.iter()
    }
}

/// The path of headers that follow one another. Nothing if there are none or too many.
///
/// # Panics
/// If one does not come right behind the one before.
#[must_use]
pub fn path_of(headers: impl IntoIterator<Item = EntryHeader>) -> Option<Path> {
    let mut headers = headers.into_iter();
    let first = headers.next()?;
    let mut sequence = first.sequence;
    let mut rest = Vec::new();
    for header in headers {
        sequence += 1;
        assert_eq!(header.sequence, sequence, "a path has no gaps");
        rest.push(Step::of(&header));
    }
    (rest.len() < PATH_MAX).then_some(Path { first, rest })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use okapi_seal::Secret;
    use okapi_wire::peer::member::Version;

    pub(crate) fn key(number: u8) -> SigningKey {
        SigningKey::from_secret(&Secret::from_bytes([number; 32]))
    }

    /// Signed entries of a log from `from` to `to`, behind `previous`; `salt` makes the bodies.
    pub(crate) fn entries(key: &SigningKey, previous: Digest, from: u64, to: u64, salt: u8) -> Vec<Entry> {
        let mut previous = previous;
        let entry = |sequence: u64| {
            let body = Vec::from([salt, sequence as u8]);
            let header = EntryHeader {
                log: NodeId(key.public()),
                sequence,
                previous,
                list: Version { number: 1, digest: Digest([1; 32]) },
                stamp: sequence,
                kind: 9,
                body_bytes: 2,
                body: okapi_seal::hash(&body),
            };
            previous = entry_hash(&header);
            Entry { head: sign(key, header), body }
        };
        (from..=to).map(entry).collect()
    }

    pub(crate) fn path(entries: &[Entry]) -> Path {
        path_of(entries.iter().map(|entry| entry.head.header)).expect("a path")
    }

    #[test]
    fn a_path_means_the_headers_it_was_made_of() {
        let key = key(1);
        let all = entries(&key, Digest([0; 32]), 1, 9, 0);
        let chain = Chain::of(&path(&all[2..])).unwrap();
        assert!(chain.iter().map(|(header, _)| *header).eq(all[2..].iter().map(|entry| entry.head.header)));
        assert_eq!(chain.at(2), None);
        assert_eq!(chain.at(10), None);
        assert_eq!(chain.at(9), Some(chain.last()));
        assert_eq!(chain.path(4, 6), path(&all[3..6]));
        assert!(all.iter().all(|entry| is_signed(&entry.head) && has_its_body(entry)));
        let mut other = all[3].clone();
        other.body[0] ^= 1;
        assert!(!has_its_body(&other));
        other.head.header.stamp += 1;
        assert!(!is_signed(&other.head));
    }

    #[test]
    fn the_hash_of_an_entry_never_changes() {
        let key = key(1);
        let first = &entries(&key, Digest([0; 32]), 1, 1, 7)[0];
        let hash = alloc::format!("{}", entry_hash(&first.head.header));
        assert_eq!(hash, "fbf9d0748a0c607411e95538f096a6e94042b08887c3a94c6a702e88f1ab60e8");
        let signature = alloc::format!("{}", Digest(first.head.signature[..32].try_into().unwrap()));
        assert_eq!(signature, "57ef6853e77ae3f18b6d84e422ad0b4d40d194ca948ba8ea57a146800bfe3d83");
    }
}
