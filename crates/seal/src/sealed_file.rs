//! Files sealed to public keys or a passphrase, written and read as streams. `docs/format/sealed-file.md` has the bytes.
//!
//! A file has a data key of its own, in an envelope at its start, and then chunks that are sealed one by one. A chunk
//! that was changed, moved or left out does not open, and a file without its last chunk is found to be cut.

use crate::envelope::{Context, DataKey, ENVELOPE_MAX, Envelope, EnvelopeError, OpenError, SealError};
use crate::fill::fill;
use crate::passphrase::Passphrase;
use crate::recipient::{Recipient, RecipientKey};
use crate::{ALGORITHM_AES_256_GCM, NONCE_BYTES, Nonce, Sealer, TAG_BYTES};
use std::io::{self, Read, Write};
use zeroize::Zeroizing;

/// Plain bytes of each chunk but the last.
pub const CHUNK_BYTES: usize = 64 << 10;

const MAGIC: [u8; 8] = *b"OKAPISLD";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 20;
const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
const CONTEXT: &str = "okapi 2026 envelope: data key of sealed file";
const CHUNKS: &str = "okapi 2026 sealed file: chunks";

fn context() -> Context {
    Context::new(CONTEXT, &[])
}

/// Seals what is written to it, and writes that on. Without [`SealedWriter::finish`] the file is cut short.
pub struct SealedWriter<W> {
    out: W,
    chunks: Chunks,
    /// A chunk and the room for its tag.
    buffer: Zeroizing<Vec<u8>>,
    filled: usize,
}

impl<W: Write> SealedWriter<W> {
    /// Begins a file that any of the recipients can open.
    ///
    /// # Errors
    /// [`BeginError`].
    pub fn seal_to(out: W, recipients: &[Recipient]) -> Result<Self, BeginError> {
        let key = DataKey::random();
        let envelope = key.seal_to(recipients, &context())?;
        Ok(Self::begin(out, &key, &envelope)?)
    }

    /// Begins a file that the passphrase opens.
    ///
    /// # Errors
    /// [`io::Error`] of `out`.
    pub fn seal_to_passphrase(out: W, passphrase: &Passphrase) -> io::Result<Self> {
        let key = DataKey::random();
        let envelope = key.seal_to_passphrase(passphrase, &context());
        Self::begin(out, &key, &envelope)
    }

    fn begin(mut out: W, key: &DataKey, envelope: &[u8]) -> io::Result<Self> {
        let header = header(envelope);
        out.write_all(&header)?;
        let buffer = Zeroizing::new(vec![0; SEALED_CHUNK_BYTES]);
        Ok(Self { out, chunks: Chunks::new(key, &header), buffer, filled: 0 })
    }

    /// Writes the last chunk, and gives back where all was written to.
    ///
    /// # Errors
    /// [`io::Error`] of what is written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(true)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn put(&mut self, last: bool) -> io::Result<()> {
        let chunk = &mut self.buffer[..self.filled + TAG_BYTES];
        let nonce = self.chunks.next_nonce(last);
        self.chunks.sealer.seal_in_place(nonce, chunk);
        self.filled = 0;
        self.out.write_all(chunk)
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only now is it known that the full chunk is not the last.
        if self.filled == CHUNK_BYTES && !bytes.is_empty() {
            self.put(false)?;
        }
        let count = bytes.len().min(CHUNK_BYTES - self.filled);
        self.buffer[self.filled..][..count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        Ok(count)
    }

    /// Does nothing for what is not yet a whole chunk.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A sealed file whose header was read: it tells for whom it is.
pub struct SealedFile<R> {
    from: R,
    header: Vec<u8>,
}

impl<R: Read> SealedFile<R> {
    /// Reads the header. No more than a few kilobytes are read before it is known to be one.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(mut from: R) -> Result<Self, FileError> {
        let mut header = vec![0; HEAD_BYTES];
        let filled = fill(&mut from, &mut header)?;
        let begins = filled.min(MAGIC.len());
        if filled == 0 || header[..begins] != MAGIC[..begins] {
            return Err(FileError::NotOne);
        }
        if filled < HEAD_BYTES {
            return Err(FileError::Cut);
        }
        let version = u16::from_le_bytes([header[8], header[9]]);
        if version != VERSION || header[10] != ALGORITHM_AES_256_GCM {
            return Err(FileError::Newer { version, algorithm: header[10] });
        }
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (chunk_bytes, envelope_bytes) = (number(12) as usize, number(16) as usize);
        if header[11] != 0 || chunk_bytes != CHUNK_BYTES || envelope_bytes > ENVELOPE_MAX {
            return Err(FileError::Header);
        }
        header.resize(HEAD_BYTES + envelope_bytes, 0);
        if fill(&mut from, &mut header[HEAD_BYTES..])? < envelope_bytes {
            return Err(FileError::Cut);
        }
        Envelope::parse(&header[HEAD_BYTES..])?;
        Ok(Self { from, header })
    }

    /// Its envelope, which tells who can open it.
    ///
    /// # Panics
    /// Never: it was read before.
    #[must_use]
    pub fn envelope(&self) -> Envelope<'_> {
        Envelope::parse(&self.header[HEAD_BYTES..]).expect("it was parsed before")
    }

    /// Begins to read what is in it, with the key of one of its recipients.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with(self, key: &RecipientKey) -> Result<SealedReader<R>, OpenError> {
        let key = self.envelope().open_with(key, &context())?;
        Ok(SealedReader::new(self, &key))
    }

    /// Begins to read what is in it, with its passphrase.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with_passphrase(self, passphrase: &Passphrase) -> Result<SealedReader<R>, OpenError> {
        let key = self.envelope().open_with_passphrase(passphrase, &context())?;
        Ok(SealedReader::new(self, &key))
    }
}

/// Reads what is in a sealed file, chunk by chunk: no byte is given out that is not the one that was sealed at its
/// place. Only at the end is it known that all were there; an error before that is a [`FileError`] in an [`io::Error`].
pub struct SealedReader<R> {
    from: R,
    chunks: Chunks,
    /// A sealed chunk and the first byte of the next, which tells that there is a next.
    buffer: Zeroizing<Vec<u8>>,
    /// The byte that was read beyond the chunk.
    beyond: Option<u8>,
    plain: std::ops::Range<usize>,
    ended: bool,
}

impl<R: Read> SealedReader<R> {
    fn new(file: SealedFile<R>, key: &DataKey) -> Self {
        let buffer = Zeroizing::new(vec![0; SEALED_CHUNK_BYTES + 1]);
        let chunks = Chunks::new(key, &file.header);
        Self { from: file.from, chunks, buffer, beyond: None, plain: 0..0, ended: false }
    }

    fn next_chunk(&mut self) -> Result<(), FileError> {
        let kept = usize::from(self.beyond.is_some());
        if let Some(byte) = self.beyond.take() {
            self.buffer[0] = byte;
        }
        let filled = kept + fill(&mut self.from, &mut self.buffer[kept..])?;
        let last = filled <= SEALED_CHUNK_BYTES;
        let chunk = filled.min(SEALED_CHUNK_BYTES);
        if !last {
            self.beyond = Some(self.buffer[SEALED_CHUNK_BYTES]);
        }
        let at = self.chunks.next;
        let nonce = self.chunks.next_nonce(last);
        // Opening spoils the bytes, and a full chunk at the end may turn out to be one with more to come.
        let whole = (last && chunk == SEALED_CHUNK_BYTES).then(|| self.buffer[..chunk].to_vec());
        let opened = self.chunks.sealer.open_in_place(nonce, &mut self.buffer[..chunk]).map(|plain| plain.len());
        let Ok(length) = opened else {
            let in_the_middle = |mut whole: Vec<u8>| {
                let opened = self.chunks.sealer.open_in_place(nonce_of(at, false), &mut whole).is_ok();
                zeroize::Zeroize::zeroize(&mut whole);
                opened
            };
            let cut = chunk < TAG_BYTES || whole.is_some_and(in_the_middle);
            return Err(if cut { FileError::Cut } else { FileError::Damaged { chunk: at, last } });
        };
        if length == 0 && at > 0 {
            return Err(FileError::Damaged { chunk: at, last });
        }
        (self.plain, self.ended) = (0..length, last);
        Ok(())
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.plain.is_empty() && !self.ended {
            if let Err(error) = self.next_chunk() {
                return Err(match error {
                    FileError::Io(error) => error,
                    error => io::Error::new(io::ErrorKind::InvalidData, error),
                });
            }
        }
        let count = bytes.len().min(self.plain.len());
        bytes[..count].copy_from_slice(&self.buffer[self.plain.start..][..count]);
        self.plain.start += count;
        Ok(count)
    }
}

/// The key of a file's chunks, and which of them comes next.
struct Chunks {
    sealer: Sealer,
    next: u64,
}

impl Chunks {
    /// The key hangs on the whole header, so that no byte of it can be changed.
    fn new(key: &DataKey, header: &[u8]) -> Self {
        Self { sealer: Sealer::new(&key.secret().derive(CHUNKS, &crate::hash(header).0)), next: 0 }
    }

    fn next_nonce(&mut self, last: bool) -> Nonce {
        let nonce = nonce_of(self.next, last);
        self.next += 1;
        nonce
    }
}

fn nonce_of(chunk: u64, last: bool) -> Nonce {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..8].copy_from_slice(&chunk.to_le_bytes());
    nonce[NONCE_BYTES - 1] = u8::from(last);
    nonce
}

fn header(envelope: &[u8]) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEAD_BYTES + envelope.len());
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&[ALGORITHM_AES_256_GCM, 0]);
    header.extend_from_slice(&(CHUNK_BYTES as u32).to_le_bytes());
    header.extend_from_slice(&u32::try_from(envelope.len()).expect("an envelope is short").to_le_bytes());
    header.extend_from_slice(envelope);
    header
}

/// Why a sealed file could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// It cannot be sealed to these.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why a sealed file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It begins otherwise.
    #[error("it is no file that `okapi key encrypt` made")]
    NotOne,
    /// A later version made it.
    #[error(
        "it has version {version} with algorithm {algorithm}, which this version of okapi does not know; use a newer one"
    )]
    Newer {
        /// Its version.
        version: u16,
        /// How its chunks are sealed.
        algorithm: u8,
    },
    /// Its header cannot mean anything.
    #[error("its header is damaged; get it anew")]
    Header,
    /// Its envelope cannot be read.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Its end is missing.
    #[error("it is cut short: its end is missing; get it anew")]
    Cut,
    /// A chunk is not what was sealed there.
    #[error("it is damaged{} in its chunk {chunk} (of 64 KiB each, from 0); get it anew", if *.last { " or cut" } else { "" })]
    Damaged {
        /// Which chunk, from 0.
        chunk: u64,
        /// Whether nothing comes after it.
        last: bool,
    },
    /// The system could not read it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests;
