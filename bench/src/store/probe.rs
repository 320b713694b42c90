//! What the machine gives at best: sealing alone, and writing into the page cache alone.

use crate::{Fault, random};
use okapi_seal::{NodeKey, TAG_BYTES};
use rustix::fs::FallocateFlags;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// Bytes that each probe works through.
const BYTES: usize = 512 << 20;
const FILE_BYTES: usize = 8 << 20;
const WRITE_BYTES: usize = 1 << 20;
const HEADER: usize = 48;

/// Bytes a second sealed in blocks of `size` from one place in memory to another, by one thread.
pub(super) fn seal(size: usize) -> f64 {
    let sealer = okapi_seal::Sealer::new(&NodeKey::from_bytes([1; 32]).derive("okapi bench: a probe of sealing", b""));
    let mut plain = vec![0; FILE_BYTES];
    random::fill(3, &mut plain);
    let mut sealed = vec![0; FILE_BYTES + HEADER + TAG_BYTES];
    let mut number = 0u64;
    let start = Instant::now();
    for _ in 0..BYTES / FILE_BYTES {
        for from in (0..FILE_BYTES).step_by(size) {
            let (head, tail) = sealed[from..from + HEADER + size + TAG_BYTES].split_at_mut(HEADER);
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&number.to_le_bytes());
            sealer.seal(nonce, head, &plain[from..from + size], tail);
            number += 1;
        }
    }
    std::hint::black_box(&sealed);
    BYTES as f64 / start.elapsed().as_secs_f64()
}

/// Bytes a second written in pieces of 1 MiB into files made with room for 8 MiB, by one thread and without syncing.
pub(super) fn write(dir: &Path) -> Result<f64, Fault> {
    let mut bytes = vec![0; WRITE_BYTES];
    random::fill(4, &mut bytes);
    let start = Instant::now();
    for number in 0..BYTES / FILE_BYTES {
        let file = std::fs::File::create_new(dir.join(number.to_string()))?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES as u64)?;
        for at in (0..FILE_BYTES).step_by(WRITE_BYTES) {
            file.write_all_at(&bytes, at as u64)?;
        }
    }
    Ok(BYTES as f64 / start.elapsed().as_secs_f64())
}
