//! Frames in and out of a stream.

use super::live::Traffic;
use okapi_wire::peer::link::{HEAD_BYTES, Head, Kind};
use okapi_wire::{BodyError, BodyWriter, Message};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Bytes read at a time, unless there is a place for more.
const BUFFER: usize = 16 << 10;
/// Memory made at a time for bytes that are only announced.
const STEP: usize = 64 << 10;

/// Why no more frames come, or can be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The stream ended between two frames.
    #[error("the other end closed the connection without a word")]
    Closed,
    /// The stream ended within a frame.
    #[error("the connection was cut")]
    Cut,
    /// The system, or TLS, says so.
    #[error("{0}")]
    Io(io::Error),
    /// A frame makes no sense.
    #[error("a frame makes no sense: {0}")]
    Body(#[from] BodyError),
    /// A frame is well-formed and out of place.
    #[error("{0}")]
    Misplaced(&'static str),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Cut } else { Self::Io(error) }
    }
}

/// Takes frames out of a stream.
pub(crate) struct FrameReader<R> {
    stream: R,
    traffic: Arc<Traffic>,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R, traffic: Arc<Traffic>) -> Self {
        Self { stream, traffic, buffer: vec![0; BUFFER].into(), at: 0, end: 0 }
    }

    /// The next frame's head.
    pub(crate) async fn head(&mut self) -> Result<Head, Broken> {
        let mut head = [0; HEAD_BYTES];
        if self.at == self.end && self.refill().await? == 0 {
            return Err(Broken::Closed);
        }
        self.fill(&mut head).await?;
        Ok(Head::from_bytes(&head)?)
    }

    /// The next `count` bytes. Memory is made for them as they come.
    pub(crate) async fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let at = bytes.len();
            bytes.resize(count.min(at + STEP), 0);
            self.fill(&mut bytes[at..]).await?;
        }
        Ok(bytes)
    }

    /// A message that is the whole rest of a frame.
    pub(crate) async fn message<M: Message>(&mut self, head: Head) -> Result<M, Broken> {
        Ok(M::parse(&self.bytes(head.length as usize).await?)?)
    }

    /// Fills all of `into`: straight from the stream where it is long.
    pub(crate) async fn fill(&mut self, into: &mut [u8]) -> Result<(), Broken> {
        let mut done = 0;
        while done < into.len() {
            let rest = &mut into[done..];
            if self.at == self.end && rest.len() >= BUFFER {
                self.traffic.before_receiving().await;
                let most = self.traffic.gulp(rest.len());
                let count = self.stream.read(&mut rest[..most]).await?;
                if count == 0 {
                    return Err(Broken::Cut);
                }
                self.traffic.received(count);
                done += count;
                continue;
            }
            if self.at == self.end && self.refill().await? == 0 {
                return Err(Broken::Cut);
            }
            let count = rest.len().min(self.end - self.at);
            rest[..count].copy_from_slice(&self.buffer[self.at..self.at + count]);
            self.at += count;
            done += count;
        }
        Ok(())
    }

    /// Reads until the other end closes, and does not look at it.
    pub(crate) async fn drain(&mut self) {
        while matches!(self.stream.read(&mut self.buffer).await, Ok(1..)) {}
    }

    async fn refill(&mut self) -> Result<usize, Broken> {
        self.traffic.before_receiving().await;
        (self.at, self.end) = (0, 0);
        self.end = self.stream.read(&mut self.buffer).await?;
        self.traffic.received(self.end);
        Ok(self.end)
    }
}

/// Appends a frame to `out`.
pub(crate) fn frame(out: &mut Vec<u8>, kind: Kind, body: impl FnOnce(&mut BodyWriter<'_>)) {
    let at = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    body(&mut BodyWriter::new(out));
    let length = out.len() - at - HEAD_BYTES;
    let (least, most) = kind.lengths();
    assert!((least..=most).contains(&length), "a {kind:?} of {length} bytes");
    let head = Head { kind, length: length as u32, payload: 0 };
    out[at..at + HEAD_BYTES].copy_from_slice(&head.to_bytes());
}

/// Writes all parts, in order, in as few writes as the stream takes.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(stream: &mut W, parts: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = &mut slices[..];
    // Also skips empty parts.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match poll_fn(|cx| Pin::new(&mut *stream).poll_write_vectored(cx, left)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => IoSlice::advance_slices(&mut left, count),
        }
    }
    Ok(())
}
