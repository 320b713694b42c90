//! Where shards of others lie: a file each, with its root behind its bytes, so that anyone can check it.

use super::segments::Segments;
use okapi_base::{Digest, NodeId, SegmentName};
use okapi_peers::labour::{NoRoom, Yard};
use okapi_peers::{Blob, ShardId};
use okapi_seal::hash;
use okapi_seal::proof::group_hashes;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::iter::repeat_n;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a root.
const ROOT_BYTES: usize = 32;

/// The server half: a directory for each owner.
#[derive(Debug)]
pub(crate) struct Shards {
    folder: PathBuf,
}

impl Shards {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, shard: ShardId) -> PathBuf {
        let ShardId { owner, segment, k, index } = shard;
        self.folder.join(hex(&owner.0)).join(format!("{}.{k}.{index}", hex(&segment.0)))
    }

    /// A shard's bytes, and the root that was written with them.
    pub(crate) fn read(&self, shard: ShardId) -> Option<(Blob, Digest)> {
        let mut file = File::open(self.path(shard)).ok()?;
        let bytes = file.metadata().ok()?.len().checked_sub(ROOT_BYTES as u64)?;
        let bytes = blob(&mut file, bytes).ok()?;
        let mut root = [0; ROOT_BYTES];
        file.read_exact(&mut root).ok()?;
        Some((bytes, Digest(root)))
    }

    /// Some bytes of a shard, with the hashes of its groups if `tree` wants them; nothing if it has no such bytes. They are
    /// not checked: whoever asks does that.
    pub(crate) fn read_part(
        &self,
        shard: ShardId,
        offset: u64,
        length: u32,
        tree: bool,
    ) -> Option<(Vec<Digest>, Vec<u8>)> {
        if tree {
            let (bytes, _) = self.read(shard)?;
            let from = usize::try_from(offset).ok()?;
            let part = bytes.get(from..from.checked_add(length as usize)?)?;
            return Some((group_hashes(&bytes), part.to_vec()));
        }
        let file = File::open(self.path(shard)).ok()?;
        let end = file.metadata().ok()?.len().checked_sub(ROOT_BYTES as u64)?;
        if offset.checked_add(length.into())? > end {
            return None;
        }
        let mut part = vec![0; length as usize];
        file.read_exact_at(&mut part, offset).ok()?;
        Some((Vec::new(), part))
    }

    /// Whether a shard is there and is what was written.
    pub(crate) fn is_whole(&self, shard: ShardId) -> bool {
        self.read(shard).is_some_and(|(bytes, root)| hash(&bytes) == root)
    }

    /// Whether there is a file of a shard.
    pub(crate) fn has(&self, shard: ShardId) -> bool {
        self.path(shard).exists()
    }

    /// Writes a shard, durably. A torn one is told by its root.
    pub(crate) fn write(&self, shard: ShardId, root: Digest, bytes: &[u8]) -> Result<(), NoRoom> {
        let path = self.path(shard);
        let written = self.write_file(&path, root, bytes);
        written.map_err(|error| {
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            if !full {
                tracing::error!("{} could not be written: {error}", path.display());
            }
            let _ = fs::remove_file(&path);
            NoRoom
        })
    }

    fn write_file(&self, path: &Path, root: Digest, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().expect("a shard lies in its owner's directory");
        if !folder.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            File::open(&self.folder)?.sync_all()?;
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.write_all(&root.0)?;
        file.sync_data()?;
        File::open(folder)?.sync_all()
    }

    pub(crate) fn remove(&self, shard: ShardId) {
        if let Err(error) = fs::remove_file(self.path(shard))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("{} could not be removed: {error}", self.path(shard).display());
        }
    }

    /// All shards there are files of. Files that are none are left alone.
    pub(crate) fn list(&self) -> io::Result<Vec<ShardId>> {
        let mut shards = Vec::new();
        for owner in fs::read_dir(&self.folder)? {
            let owner = owner?;
            let Some(node) = owner.file_name().to_str().and_then(unhex) else { continue };
            for file in fs::read_dir(owner.path())? {
                let name = file?.file_name();
                shards.extend(name.to_str().and_then(|name| parse(NodeId(node), name)));
            }
        }
        Ok(shards)
    }
}

fn parse(owner: NodeId, name: &str) -> Option<ShardId> {
    let mut parts = name.split('.');
    let segment = SegmentName(unhex(parts.next()?)?);
    let (k, index) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(ShardId { owner, segment, k, index })
}

/// The next bytes of a file, where they stay: to read them into a vector first would copy them all once more.
pub(crate) fn blob(file: &mut File, bytes: u64) -> io::Result<Blob> {
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    let mut blob: Blob = repeat_n(0, bytes).collect();
    file.read_exact(Arc::get_mut(&mut blob).expect("nobody else has it yet"))?;
    Ok(blob)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// The segments of this node and the shards of others, as a piece of work sees them.
pub(crate) struct Place {
    pub(crate) segments: Arc<Segments>,
    pub(crate) shards: Arc<Shards>,
}

impl Yard for Place {
    fn segment(&mut self, name: SegmentName) -> Option<Blob> {
        self.segments.read(name)
    }

    fn put_segment(&mut self, name: SegmentName, bytes: Blob) -> Result<(), NoRoom> {
        self.segments.restore(name, &bytes).map_err(|error| {
            tracing::error!("a segment that came back could not be put where it belongs: {error}");
            NoRoom
        })
    }

    fn shard(&mut self, shard: ShardId) -> Option<Blob> {
        self.shards.read(shard).map(|(bytes, _)| bytes)
    }

    fn put_shard(&mut self, shard: ShardId, bytes: Blob) -> Result<(), NoRoom> {
        self.shards.write(shard, hash(&bytes), &bytes)
    }

    fn drop_shard(&mut self, shard: ShardId) {
        self.shards.remove(shard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(index: u8) -> ShardId {
        ShardId { owner: NodeId([1; 32]), segment: SegmentName([0xab; 32]), k: 4, index }
    }

    #[test]
    fn shards_come_back_are_listed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let shards = Shards::open(&folder.path().join("shards")).unwrap();
        assert!(shards.list().unwrap().is_empty() && shards.read(shard(0)).is_none());
        let bytes = vec![7; 5000];
        shards.write(shard(0), hash(&bytes), &bytes).unwrap();
        shards.write(shard(11), hash(b"x"), b"x").unwrap();
        assert_eq!(shards.read(shard(0)), Some((bytes.clone().into(), hash(&bytes))));
        let mut all = shards.list().unwrap();
        all.sort_unstable();
        assert_eq!(all, [shard(0), shard(11)]);
        shards.remove(shard(0));
        shards.remove(shard(0));
        assert_eq!(shards.list().unwrap(), [shard(11)]);
    }

    #[test]
    fn damage_is_seen_and_strangers_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let shards = Shards::open(folder.path()).unwrap();
        shards.write(shard(2), hash(b"hello"), b"hello").unwrap();
        assert!(shards.is_whole(shard(2)));
        let path = shards.path(shard(2));
        fs::write(path.parent().unwrap().join("notes.txt"), "mine").unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap_or_default();
        for length in 0..37 {
            let mut bytes = b"hello".to_vec();
            bytes.extend(hash(b"hello").0);
            bytes.truncate(length);
            fs::write(&path, &bytes).unwrap();
            assert!(!shards.is_whole(shard(2)), "{length}");
        }
        assert_eq!(shards.list().unwrap(), [shard(2)]);
        assert!(!shards.is_whole(shard(3)));
    }

    #[test]
    fn names_of_files_that_are_no_shards_are_none() {
        let good = format!("{}.4.11", "ab".repeat(32));
        assert_eq!(parse(NodeId([1; 32]), &good), Some(shard(11)));
        for bad in [&good[1..], "x", &format!("{good}.1"), &good.replace("11", "256"), &good.replace('a', "é")] {
            assert_eq!(parse(NodeId([1; 32]), bad), None, "{bad}");
        }
    }
}
