//! Erasure coding: a segment into the shards of its [`Shape`], and back from any k of them.
//!
//! Systematic Reed-Solomon over GF(2^8) with a Cauchy matrix; every byte is drawn in `docs/format/shard.md`. The first k
//! shards are the segment itself, cut in k pieces; the others are sums of these. With k = 1 every shard is a plain copy.
//!
//! Each shard is a function of the segment, so whoever rebuilds one makes the very bytes that were lost. Nothing here
//! tells a good shard from a bad one: compare the hashes before, a wrong byte given gives wrong bytes back.

use okapi_base::Shape;
use rusty_erasure::Matrix;
use std::borrow::Cow;
use std::iter::repeat_n;
use std::sync::Arc;

/// Bytes of each shard that are worked on at a time: with eight sources they stay in the nearest caches while all the
/// wanted shards are made of them.
const STRIP_BYTES: usize = 8 << 10;

/// Why shards could not be made or joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Fewer shards than k were given.
    #[error("{have} shards of {shape} were given and {} are needed; fetch more of them", .shape.k())]
    TooFew {
        /// The shape of the segment.
        shape: Shape,
        /// How many there were.
        have: usize,
    },
    /// A shard was given, or asked for, twice.
    #[error("shard {index} was named twice; name each shard once")]
    Twice {
        /// Its index.
        index: u8,
    },
    /// The shape has no such shard.
    #[error("there is no shard {index} of {shape}; they are numbered from 0")]
    OutOfRange {
        /// The shape of the segment.
        shape: Shape,
        /// The index named.
        index: u8,
    },
    /// A shard has another length than each shard of the segment has.
    #[error("shard {index} has {found} bytes instead of {expected}; it belongs to another segment or is cut")]
    Length {
        /// Its index.
        index: u8,
        /// Bytes it has.
        found: u64,
        /// Bytes it should have.
        expected: u64,
    },
}

/// The `wanted` shards of a segment, in the order in which they are named, [`Shape::shard_bytes`] each. Only these are
/// computed.
pub fn encode(shape: Shape, segment: &[u8], wanted: &[u8]) -> Result<Vec<Arc<[u8]>>, CodeError> {
    let shard_bytes = shard_bytes(shape, segment.len());
    let pieces: Vec<Cow<'_, [u8]>> = (0..shape.k()).map(|at| piece(segment, at, shard_bytes)).collect();
    let sources: Vec<(u8, &[u8])> = (0..).zip(pieces.iter().map(AsRef::as_ref)).collect();
    make(shape, &sources, wanted, shard_bytes)
}

/// The `wanted` shards of a segment of `segment_bytes`, in the order in which they are named, made from any k others.
/// More than k may be given; the first k by index are used, as the lower ones are less work.
pub fn rebuild(
    shape: Shape,
    segment_bytes: u64,
    have: &[(u8, &[u8])],
    wanted: &[u8],
) -> Result<Vec<Arc<[u8]>>, CodeError> {
    let sources = sources(shape, segment_bytes, have)?;
    make(shape, &sources, wanted, sources[0].1.len())
}

/// The segment of `segment_bytes`, from any k of its shards. More than k may be given.
pub fn join(shape: Shape, segment_bytes: u64, have: &[(u8, &[u8])]) -> Result<Arc<[u8]>, CodeError> {
    let sources = sources(shape, segment_bytes, have)?;
    let shard_bytes = sources[0].1.len();
    // No more than what was given: each of k shards has its length.
    let mut segment: Arc<[u8]> =
        repeat_n(0, usize::try_from(segment_bytes).expect("k shards of it lie in memory")).collect();
    if shard_bytes > 0 {
        let whole = Arc::get_mut(&mut segment).expect("nobody else has it yet");
        // Pieces at the end may be cut, or not be there at all: they are made beside it.
        let mut beside = vec![vec![0; shard_bytes]; shape.k() - whole.len() / shard_bytes];
        let mut pieces: Vec<&mut [u8]> = whole.chunks_exact_mut(shard_bytes).collect();
        pieces.extend(beside.iter_mut().map(Vec::as_mut_slice));
        let indexes: Vec<u8> = (0..).take(shape.k()).collect();
        fill(shape, &sources, &indexes, &mut pieces);
        let end = whole.len() - whole.len() % shard_bytes;
        whole[end..].iter_mut().zip(beside.iter().flatten()).for_each(|(to, from)| *to = *from);
    }
    Ok(segment)
}

fn shard_bytes(shape: Shape, segment_bytes: usize) -> usize {
    usize::try_from(shape.shard_bytes(segment_bytes as u64)).expect("a shard is no longer than its segment")
}

/// The piece of the segment that is shard `at`: borrowed where it is whole, padded with zeros where the segment ends.
fn piece(segment: &[u8], at: usize, shard_bytes: usize) -> Cow<'_, [u8]> {
    let from = (at * shard_bytes).min(segment.len());
    let piece = &segment[from..(from + shard_bytes).min(segment.len())];
    if piece.len() == shard_bytes {
        return Cow::Borrowed(piece);
    }
    let mut padded = vec![0; shard_bytes];
    padded[..piece.len()].copy_from_slice(piece);
    Cow::Owned(padded)
}

/// The k shards with the lowest indexes, in their order, if all that were given can be shards of the segment.
fn sources<'a>(shape: Shape, segment_bytes: u64, have: &[(u8, &'a [u8])]) -> Result<Vec<(u8, &'a [u8])>, CodeError> {
    check(shape, have.iter().map(|(index, _)| *index))?;
    let expected = shape.shard_bytes(segment_bytes);
    if let Some((index, shard)) = have.iter().find(|(_, shard)| shard.len() as u64 != expected) {
        return Err(CodeError::Length { index: *index, found: shard.len() as u64, expected });
    }
    if have.len() < shape.k() {
        return Err(CodeError::TooFew { shape, have: have.len() });
    }
    let mut sources = have.to_vec();
    sources.sort_unstable_by_key(|(index, _)| *index);
    sources.truncate(shape.k());
    Ok(sources)
}

/// Whether the shape has these shards and each is named once.
fn check(shape: Shape, indexes: impl Iterator<Item = u8>) -> Result<(), CodeError> {
    let mut seen = 0u32;
    for index in indexes {
        if usize::from(index) >= shape.n() {
            return Err(CodeError::OutOfRange { shape, index });
        }
        if seen & 1 << index != 0 {
            return Err(CodeError::Twice { index });
        }
        seen |= 1 << index;
    }
    Ok(())
}

fn make(shape: Shape, sources: &[(u8, &[u8])], wanted: &[u8], shard_bytes: usize) -> Result<Vec<Arc<[u8]>>, CodeError> {
    check(shape, wanted.iter().copied())?;
    let rows = rows(shape, sources, wanted);
    let rows = rows.as_bytes().chunks(shape.k());
    let shard = |row: &[u8]| match copied(row) {
        Some(source) => Arc::from(sources[source].1),
        None => repeat_n(0, shard_bytes).collect(),
    };
    let mut shards: Vec<Arc<[u8]>> = rows.clone().zip(wanted).map(|(row, _)| shard(row)).collect();
    let sums = rows.zip(&mut shards).filter(|(row, _)| copied(row).is_none());
    let sums = sums.map(|(row, shard)| (row, Arc::get_mut(shard).expect("nobody else has it yet")));
    let (coefficients, mut sums): (Vec<&[u8]>, Vec<&mut [u8]>) = sums.unzip();
    let sources: Vec<&[u8]> = sources.iter().map(|(_, bytes)| *bytes).collect();
    add_up(&coefficients.concat(), &sources, &mut sums);
    Ok(shards)
}

/// Writes the shards `wanted` into `shards`, from k sources.
fn fill(shape: Shape, sources: &[(u8, &[u8])], wanted: &[u8], shards: &mut [&mut [u8]]) {
    let rows = rows(shape, sources, wanted);
    let bytes: Vec<&[u8]> = sources.iter().map(|(_, bytes)| *bytes).collect();
    let mut coefficients = Vec::new();
    let mut sums = Vec::new();
    for (row, shard) in rows.as_bytes().chunks(shape.k()).zip(shards) {
        match copied(row) {
            Some(source) => shard.copy_from_slice(bytes[source]),
            None => {
                coefficients.extend_from_slice(row);
                sums.push(&mut **shard);
            }
        }
    }
    add_up(&coefficients, &bytes, &mut sums);
}

/// For each wanted shard, what each source is multiplied with.
fn rows(shape: Shape, sources: &[(u8, &[u8])], wanted: &[u8]) -> Matrix {
    let all = generator(shape);
    let select = |indexes: Vec<usize>| all.select_rows(&indexes).expect("indexes are checked");
    if wanted.is_empty() {
        return select(vec![0]);
    }
    let from = select(sources.iter().map(|(index, _)| usize::from(*index)).collect());
    let back = from.invert().expect("any k rows of a Cauchy matrix under the unit matrix can be inverted");
    select(wanted.iter().map(|index| usize::from(*index)).collect()).multiply(&back).expect("both are k wide")
}

/// The n rows of k numbers that make the shards from the pieces of a segment.
fn generator(shape: Shape) -> Matrix {
    let (k, n) = (shape.k(), shape.n());
    match k {
        1 => Matrix::from_bytes(n, 1, vec![1; n]),
        _ => Matrix::cauchy(k, n - k),
    }
    .expect("a shape fits the field")
}

/// The source that this row only copies.
fn copied(row: &[u8]) -> Option<usize> {
    let mut used = row.iter().enumerate().filter(|(_, number)| **number != 0);
    match (used.next(), used.next()) {
        (Some((source, 1)), None) => Some(source),
        _ => None,
    }
}

/// Makes each sum of the sources, each multiplied with its number in the sum's row of `coefficients`.
fn add_up(coefficients: &[u8], sources: &[&[u8]], sums: &mut [&mut [u8]]) {
    let kernels = rusty_erasure::best_kernels();
    let tables = (kernels.init)(coefficients);
    let bytes = sums.first().map_or(0, |sum| sum.len());
    for from in (0..bytes).step_by(STRIP_BYTES) {
        let strip = from..(from + STRIP_BYTES).min(bytes);
        let sources: Vec<&[u8]> = sources.iter().map(|source| &source[strip.clone()]).collect();
        let mut sums: Vec<&mut [u8]> = sums.iter_mut().map(|sum| &mut sum[strip.clone()]).collect();
        (kernels.encode)(&tables, &sources, &mut sums);
    }
}

#[cfg(test)]
mod tests;
