//! Reading past replies made of lines and payloads, in whatever pieces they arrive.

use crate::Fault;

/// Bytes of the longest line that is not an error.
const LINE_MAX: usize = 512;

/// What lines mean.
pub(crate) trait Grammar {
    /// What the next line (without its line feed) asks for.
    fn line(&mut self, line: &[u8]) -> Result<Step, Fault>;
}

/// What follows a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Bytes to read past, payload and line end together.
    pub(crate) skip: usize,
    /// Whether the reply to one frame ends after them.
    pub(crate) ends: bool,
}

/// The replies of one connection.
#[derive(Debug)]
pub(crate) struct Replies<G> {
    grammar: G,
    /// The beginning of a line whose end has not arrived yet.
    begun: Vec<u8>,
    step: Step,
}

impl<G: Grammar> Replies<G> {
    /// Before the first reply.
    pub(crate) fn new(grammar: G) -> Self {
        Self { grammar, begun: Vec::with_capacity(LINE_MAX), step: Step { skip: 0, ends: false } }
    }

    /// Takes in what has arrived and says how many frames it completed the replies of.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut frames = 0;
        let mut rest = bytes;
        loop {
            let skipped = self.step.skip.min(rest.len());
            self.step.skip -= skipped;
            rest = &rest[skipped..];
            if self.step.skip > 0 {
                return Ok(frames);
            }
            frames += usize::from(std::mem::take(&mut self.step.ends));
            let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                self.begun.extend_from_slice(rest);
                if self.begun.len() > LINE_MAX {
                    return Err("the server sends a line without an end".into());
                }
                return Ok(frames);
            };
            self.step = if self.begun.is_empty() {
                self.grammar.line(&rest[..end])?
            } else {
                self.begun.extend_from_slice(&rest[..end]);
                let step = self.grammar.line(&self.begun)?;
                self.begun.clear();
                step
            };
            rest = &rest[end + 1..];
        }
    }
}

/// The number that digits stand for, up to a carriage return.
pub(crate) fn number(digits: &[u8]) -> Option<usize> {
    let digits = digits.strip_suffix(b"\r")?;
    let mut value = 0usize;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(usize::from(digit - b'0'))?;
    }
    if digits.is_empty() { None } else { Some(value) }
}

/// The complaint about a line that was not expected.
pub(crate) fn unexpected(line: &[u8]) -> Fault {
    format!("the server says {:?}", String::from_utf8_lossy(line)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::memcached::Text;
    use crate::contender::redis::Resp;
    use crate::scenario::Deed;
    use crate::socket::Dialect;

    /// However the replies are cut in two, they are the same number of frames.
    fn frames_at_every_cut<D: Dialect>(dialect: &D, deed: Deed, batch: usize, replies: &[u8]) -> usize {
        let whole = Replies::new(dialect.grammar(deed, 4, batch)).feed(replies).unwrap();
        for cut in 0..=replies.len() {
            let mut parts = Replies::new(dialect.grammar(deed, 4, batch));
            let frames = parts.feed(&replies[..cut]).unwrap() + parts.feed(&replies[cut..]).unwrap();
            assert_eq!(frames, whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn redis_replies_are_counted() {
        let two = b"*2\r\n$4\r\na\r\nb\r\n$4\r\nabcd\r\n*2\r\n$4\r\nabcd\r\n$4\r\nabcd\r\n";
        assert_eq!(frames_at_every_cut(&Resp, Deed::Get, 2, two), 2);
        assert_eq!(frames_at_every_cut(&Resp, Deed::Get, 1, b"$4\r\nabcd\r\n$4\r\nabcd\r\n$4\r\nabcd"), 2);
        assert_eq!(frames_at_every_cut(&Resp, Deed::Put, 1, b"+OK\r\n+OK\r\n"), 2);
    }

    #[test]
    fn memcached_replies_are_counted() {
        let two = b"VALUE k 0 4\r\na\r\nb\r\nVALUE k 0 4\r\nabcd\r\nEND\r\nVALUE k 0 4\r\nabcd\r\nVALUE k 0 4\r\nabcd\r\nEND\r\n";
        assert_eq!(frames_at_every_cut(&Text, Deed::Get, 2, two), 2);
        assert_eq!(frames_at_every_cut(&Text, Deed::Put, 2, b"STORED\r\nSTORED\r\nSTORED\r\n"), 1);
    }

    #[test]
    fn missing_blocks_wrong_lengths_and_errors_end_the_run() {
        for bad in [&b"*2\r\n$-1\r\n"[..], b"*2\r\n$5\r\n", b"*3\r\n", b"-ERR no\r\n", b"$4\r\n"] {
            assert!(Replies::new(Resp.grammar(Deed::Get, 4, 2)).feed(bad).is_err(), "{bad:?}");
        }
        for bad in [&b"END\r\n"[..], b"VALUE k 0 5\r\n", b"SERVER_ERROR out of memory\r\n", b"VALUE k\r\n"] {
            assert!(Replies::new(Text.grammar(Deed::Get, 4, 2)).feed(bad).is_err(), "{bad:?}");
        }
        assert!(Replies::new(Resp.grammar(Deed::Put, 4, 1)).feed(b"-OOM\r\n").is_err());
        assert!(Replies::new(Text.grammar(Deed::Put, 4, 1)).feed(b"NOT_STORED\r\n").is_err());
        assert!(Replies::new(Text.grammar(Deed::Put, 4, 1)).feed(&[b'x'; 600]).is_err());
    }
}
