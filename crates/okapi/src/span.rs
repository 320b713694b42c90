//! Spans: parts of a row of bytes or of blocks, as people write them.

use crate::size::Size;
use okapi_base::limits::INDEX_MAX;
use std::fmt;
use std::str::FromStr;

/// Bytes of a record or block: `10M-20M` (from, up to and without), `10M+5M` (from, how many), `10M-` (to the end),
/// `-1M` (up to), `4096` (from there to the end is written `4096-`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteSpan {
    /// The first byte.
    pub from: u64,
    /// The byte after the last, or nothing for the end.
    pub to: Option<u64>,
}

impl ByteSpan {
    /// The part of `length` bytes that this covers: cut at the end.
    pub(crate) fn within(self, length: u64) -> std::ops::Range<u64> {
        let from = self.from.min(length);
        from..self.to.unwrap_or(length).clamp(from, length)
    }
}

impl FromStr for ByteSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a range; write 10M-20M, 10M+5M, 10M- or -1M");
        if let Some((from, count)) = text.split_once('+') {
            let (from, count) = (from.parse::<Size>()?.0, count.parse::<Size>()?.0);
            let to = from.checked_add(count).ok_or_else(wrong)?;
            return Ok(Self { from, to: Some(to) });
        }
        let (from, to) = text.split_once("..").or_else(|| text.split_once('-')).ok_or_else(wrong)?;
        let from = if from.is_empty() { 0 } else { from.parse::<Size>()?.0 };
        let to = if to.is_empty() { None } else { Some(to.parse::<Size>()?.0) };
        match to {
            Some(to) if to < from => Err(format!("`{text}` ends before it begins")),
            _ => Ok(Self { from, to }),
        }
    }
}

/// Blocks by index: `5`, `5..10` (5 to 9), `5+10` (ten from 5), `5..` (to the last), each with or without a `#`
/// before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Indexes {
    /// The first block.
    pub from: u64,
    /// The last block; never before the first.
    pub last: u64,
}

impl Indexes {
    /// All blocks there can be.
    pub(crate) const ALL: Self = Self { from: 0, last: INDEX_MAX };

    /// Whether this is one block.
    pub(crate) fn is_one(self) -> bool {
        self.from == self.last
    }

    /// How many blocks these are.
    pub(crate) fn count(self) -> u64 {
        self.last - self.from + 1
    }

    /// The one block these are.
    ///
    /// # Errors
    /// Words, if they are several.
    pub(crate) fn one(self) -> Result<u64, String> {
        if self.is_one() { Ok(self.from) } else { Err(format!("{self} are several blocks; name one, as in #5")) }
    }
}

impl FromStr for Indexes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('#').unwrap_or(text);
        let wrong = || format!("`{text}` is not an index; write 5, 5..10 (5 to 9), 5+10 (ten from 5) or 5..");
        let number = |part: &str| match part.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b'_') {
            true => part.replace([',', '_'], "").parse::<u64>().map_err(|_| wrong()),
            false => Err(wrong()),
        };
        let (from, last) = if let Some((from, to)) = bare.split_once("..") {
            let from = if from.is_empty() && !to.is_empty() { 0 } else { number(from)? };
            let to = if to.is_empty() { INDEX_MAX + 1 } else { number(to)? };
            (from, to.checked_sub(1).filter(|last| *last >= from).ok_or(format!("`{text}` is empty"))?)
        } else if let Some((from, count)) = bare.split_once('+') {
            let (from, count) = (number(from)?, number(count)?);
            let steps = count.checked_sub(1).ok_or(format!("`{text}` is empty"))?;
            (from, from.checked_add(steps).ok_or_else(wrong)?)
        } else {
            let one = number(bare)?;
            (one, one)
        };
        if last > INDEX_MAX {
            return Err(format!("`{text}` reaches past the last index, 281474976710655 (2^48 - 1)"));
        }
        Ok(Self { from, last })
    }
}

/// `#5` or `#5..10`; reads back as the same.
impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_one() { write!(f, "#{}", self.from) } else { write!(f, "#{}..{}", self.from, self.last + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_spans() {
        for (text, from, to) in [
            ("10M-20M", 10 << 20, Some(20 << 20)),
            ("10M..20M", 10 << 20, Some(20 << 20)),
            ("10M+5M", 10 << 20, Some(15 << 20)),
            ("4096-", 4096, None),
            ("-1K", 0, Some(1024)),
            ("0-0", 0, Some(0)),
        ] {
            assert_eq!(text.parse(), Ok(ByteSpan { from, to }), "{text}");
        }
        for text in ["", "5", "20-10", "a-b", "1+", "18446744073709551615+1"] {
            assert!(text.parse::<ByteSpan>().is_err(), "{text}");
        }
        assert_eq!(ByteSpan { from: 5, to: Some(20) }.within(10), 5..10);
        assert_eq!(ByteSpan { from: 15, to: None }.within(10), 10..10);
    }

    #[test]
    fn indexes() {
        for (text, from, last) in [
            ("5", 5, 5),
            ("#5", 5, 5),
            ("5..10", 5, 9),
            ("#5+10", 5, 14),
            ("5..", 5, INDEX_MAX),
            ("..5", 0, 4),
            ("1,099,511,627,776", 1 << 40, 1 << 40),
            ("281474976710655", INDEX_MAX, INDEX_MAX),
        ] {
            assert_eq!(text.parse(), Ok(Indexes { from, last }), "{text}");
        }
        for text in ["", "#", "-1", "5..5", "5..4", "5+0", "..", "a", "281474976710656", "2+281474976710655", "5 "] {
            assert!(text.parse::<Indexes>().is_err(), "{text}");
        }
        assert_eq!("#5..10".parse::<Indexes>().unwrap().to_string(), "#5..10");
        assert_eq!(Indexes::ALL.count(), 1 << 48);
        assert!(Indexes::ALL.one().is_err());
    }
}
