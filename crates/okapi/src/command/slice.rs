//! `okapi slice`: reads or writes part of a record or block.

use crate::command::{NAMING, get, put};
use crate::failure::Failure;
use crate::place::Thing;
use crate::session::Session;
use crate::size::Size;
use crate::span::{ByteSpan, Indexes};
use crate::transfer::Source;
use std::path::PathBuf;

/// Read or write part of a record or block
///
/// Reads go to standard output or a file; only the blocks concerned are read. Writes change the bytes in place: a
/// record keeps its length, a block grows if need be.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("\
Examples:
  okapi slice disk.img 512+16                 16 bytes from byte 512
  okapi slice disk.img 1M-2M -o part          one MiB to a file
  okapi slice disk.img 512 --write boot.bin   write a file over what is there
  okapi slice --index 5 0+5 --text HELLO      five bytes of block 5

{NAMING}"))]
pub(crate) struct Args {
    /// A record's name, or a block: #5
    #[arg(value_name = "WHAT", required_unless_present = "index")]
    what: Option<String>,

    /// Which bytes: 10M-20M (up to and without), 10M+5M (that many), 10M- or just 10M (to the end)
    #[arg(value_name = "RANGE")]
    range: Option<String>,

    /// A block: the same as #5, without quotes
    #[arg(long, short = 'i', value_name = "INDEX")]
    index: Option<Indexes>,

    /// Write this file, or standard input (`-`), over the bytes from the range's beginning on
    #[arg(long, short = 'w', value_name = "FILE", conflicts_with = "text")]
    write: Option<String>,

    /// Write this text over them
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,

    /// Read to this file instead of standard output
    #[arg(long, short = 'o', value_name = "FILE", conflicts_with_all = ["write", "text"])]
    output: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        // With --index the only word is the range.
        let (thing, range) = match (self.index, self.what, self.range) {
            (Some(_), Some(_), Some(_)) => {
                return Err(Failure::usage("a name and --index cannot both be meant; leave one out"));
            }
            (Some(index), range, None) | (Some(index), None, range) => (Thing::Blocks(index), range),
            (None, what, range) => (what.unwrap_or_default().parse().map_err(Failure::usage)?, range),
        };
        let range = span(&range.ok_or_else(|| Failure::usage("which bytes? write a range, as in 10M-20M or 512+16"))?)?;
        let source = match (self.text, self.write) {
            (Some(text), _) => Source::Text(text),
            (None, Some(word)) => Source::from_word(&word),
            (None, None) => return get::read(session, &thing, Some(range), self.output.as_deref()),
        };
        put::write_at(session, &thing, range.from, &source, range.to.map(|to| to - range.from))
    }
}

/// A range, or an offset to the end from there.
fn span(text: &str) -> Result<ByteSpan, Failure> {
    match text.parse::<Size>() {
        Ok(from) => Ok(ByteSpan { from: from.0, to: None }),
        Err(_) => text.parse().map_err(Failure::usage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_alone_reaches_to_the_end() {
        assert_eq!(span("1K").unwrap(), ByteSpan { from: 1024, to: None });
        assert_eq!(span("1K+1").unwrap(), ByteSpan { from: 1024, to: Some(1025) });
        assert!(span("x").is_err());
    }
}
