//! A socket read in gulps: TLS asks for a few kilobytes at a time, and each asking would be a call of the kernel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of the first gulps.
const SMALL: usize = 8 << 10;
/// Bytes of a gulp while much comes.
const LARGE: usize = 256 << 10;

/// A stream with a buffer for what it receives. Small until a gulp fills it, so that a quiet connection costs little.
pub(crate) struct Gulp<S> {
    stream: S,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
}

impl<S> Gulp<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: vec![0; SMALL], at: 0, end: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gulp<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.at == this.end {
            if this.end == this.buffer.len() && this.end < LARGE {
                this.buffer.resize(this.buffer.len() * 2, 0);
            }
            let mut buffer = ReadBuf::new(&mut this.buffer);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer))?;
            (this.at, this.end) = (0, buffer.filled().len());
        }
        let count = into.remaining().min(this.end - this.at);
        into.put_slice(&this.buffer[this.at..this.at + count]);
        this.at += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gulp<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
