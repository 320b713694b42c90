//! Which export, and how to speak: what comes before the first request.

use super::input::Input;
use super::wire::{
    ALLOCATION, ALLOCATION_ID, Dialect, FIXED_NEWSTYLE, GREETING, NAME_MAX, NO_ZEROES, OPTION, OPTION_REPLY,
    REQUEST_MAX, can, four, info, option, reply, two,
};
use crate::catalog::{Catalog, Refused};
use crate::device::Device;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Options that one client may ask for: whoever needs more is up to no good.
const OPTIONS_MAX: usize = 1024;
/// The longest option that is taken; what is in it is at most a name and a few numbers.
const OPTION_MAX: usize = NAME_MAX + 4096;
/// The longest that is skipped rather than hung up on.
const SKIPPED_MAX: usize = 1 << 20;
/// Guests write best in these, in bytes.
const PREFERRED: u32 = 4096;

/// How requests are made and answered after the handshake.
pub(crate) struct Agreed {
    /// The export's name.
    pub(crate) name: String,
    pub(crate) device: Arc<dyn Device>,
    pub(crate) dialect: Dialect,
    /// Whether block status was asked for, of this very export.
    pub(crate) allocation: bool,
}

/// What the client said first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Greeted {
    /// It takes answers to options.
    fixed: bool,
    no_zeroes: bool,
}

/// Whether others can read and change what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// They might, if there are any: nothing else was asked for here.
    Plain,
    /// Not any more.
    Tls,
}

/// What has been agreed on so far.
struct Talk {
    no_zeroes: bool,
    secrecy: Secrecy,
    dialect: Dialect,
    /// The export whose allocation was asked for.
    allocation: Option<String>,
}

/// Says who is here and hears who comes.
///
/// # Errors
/// The stream's, and `InvalidData` for what is not the protocol.
pub(crate) fn greet<R: Read>(input: &mut Input<R>, output: &mut impl Write) -> io::Result<Greeted> {
    let mut greeting = GREETING.to_vec();
    greeting.extend(OPTION);
    greeting.extend((FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    output.write_all(&greeting)?;
    input.wait_for(4)?;
    let flags = four(input.take(4), 0);
    if flags & !u32::from(FIXED_NEWSTYLE | NO_ZEROES) != 0 {
        return Err(nonsense("flags that nobody offered"));
    }
    let has = |flag: u16| flags & u32::from(flag) != 0;
    Ok(Greeted { fixed: has(FIXED_NEWSTYLE), no_zeroes: has(NO_ZEROES) })
}

/// Refuses everything but TLS until the client begins it; false if it goes instead.
///
/// # Errors
/// The stream's, and `InvalidData` for what is not the protocol.
pub(crate) fn until_tls<R: Read>(input: &mut Input<R>, output: &mut impl Write, greeted: Greeted) -> io::Result<bool> {
    if !greeted.fixed {
        return Err(nonsense("no sign that it can do TLS"));
    }
    for _ in 0..OPTIONS_MAX {
        let (asked, data) = next_option(input)?;
        match asked {
            option::STARTTLS if data.as_ref().is_some_and(Vec::is_empty) => {
                // It must wait for the answer. Whatever is here may be from somebody between, who would have it taken for
                // what comes by TLS.
                if input.here() > 0 {
                    return Err(nonsense("more before TLS was agreed on"));
                }
                output.write_all(&said(asked, reply::ACK, b""))?;
                return Ok(true);
            }
            option::STARTTLS => output.write_all(&said(asked, reply::ERR_INVALID, b"this option takes nothing"))?,
            option::ABORT => {
                // It need not wait for the answer.
                let _ = output.write_all(&said(asked, reply::ACK, b""));
                return Ok(false);
            }
            option::EXPORT_NAME => return Err(nonsense("a name before TLS, which is needed here")),
            _ => output.write_all(&said(asked, reply::ERR_TLS_REQD, b"begin TLS first"))?,
        }
    }
    Err(nonsense("more options than anybody needs"))
}

/// Talks until the first request may come; nothing if the client only wanted to look.
///
/// # Errors
/// The stream's, and `InvalidData` for what is not the protocol.
pub(crate) fn haggle<R: Read>(
    input: &mut Input<R>,
    output: &mut impl Write,
    catalog: &dyn Catalog,
    greeted: Greeted,
    secrecy: Secrecy,
) -> io::Result<Option<Agreed>> {
    let mut talk = Talk { no_zeroes: greeted.no_zeroes, secrecy, dialect: Dialect::default(), allocation: None };
    for _ in 0..OPTIONS_MAX {
        let (asked, data) = next_option(input)?;
        let Some(data) = data else {
            output.write_all(&said(asked, reply::ERR_TOO_BIG, b"the option is too long"))?;
            continue;
        };
        if let Some(done) = talk.option(asked, &data, output, catalog)? {
            return Ok(done);
        }
    }
    Err(nonsense("more options than anybody needs"))
}

/// The next option, and what is in it unless that is too long.
fn next_option<R: Read>(input: &mut Input<R>) -> io::Result<(u32, Option<Vec<u8>>)> {
    input.wait_for(16)?;
    let head = input.take(16);
    if &head[..8] != OPTION {
        return Err(nonsense("something else than an option"));
    }
    let (asked, length) = (four(head, 8), four(head, 12) as usize);
    if length > OPTION_MAX {
        if length > SKIPPED_MAX || asked == option::EXPORT_NAME {
            return Err(nonsense("an option of absurd length"));
        }
        input.each(length, OPTION_MAX, |_| ())?;
        return Ok((asked, None));
    }
    input.wait_for(length)?;
    Ok((asked, Some(input.take(length).to_vec())))
}

impl Talk {
    /// Answers an option. Something: that was the last.
    fn option(
        &mut self,
        asked: u32,
        data: &[u8],
        output: &mut impl Write,
        catalog: &dyn Catalog,
    ) -> io::Result<Option<Option<Agreed>>> {
        let ack = said(asked, reply::ACK, b"");
        match asked {
            option::EXPORT_NAME => return self.export_name(data, output, catalog).map(|agreed| Some(Some(agreed))),
            option::ABORT => {
                // It need not wait for the answer.
                let _ = output.write_all(&ack);
                return Ok(Some(None));
            }
            option::LIST if data.is_empty() => match catalog.list() {
                Ok(names) => {
                    let mut text = Vec::new();
                    for name in names {
                        text.extend(said(asked, reply::SERVER, &counted(name.as_bytes())));
                    }
                    text.extend(ack);
                    output.write_all(&text)?;
                }
                Err(refused) => output.write_all(&refusal(asked, &refused))?,
            },
            option::INFO | option::GO => match self.info(asked, data, catalog) {
                Ok((text, agreed)) => {
                    output.write_all(&text)?;
                    if asked == option::GO {
                        return Ok(Some(Some(agreed)));
                    }
                }
                Err(text) => output.write_all(&text)?,
            },
            option::STRUCTURED_REPLY if data.is_empty() && self.dialect == Dialect::Extended => {
                let text = b"extended headers were agreed on, and they have all of that";
                output.write_all(&said(asked, reply::ERR_EXT_HEADER_REQD, text))?;
            }
            option::STRUCTURED_REPLY | option::EXTENDED_HEADERS if data.is_empty() => {
                let extended = asked == option::EXTENDED_HEADERS;
                self.dialect = if extended { Dialect::Extended } else { Dialect::Structured };
                output.write_all(&ack)?;
            }
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                let text = self.contexts(asked, data, catalog);
                output.write_all(&text)?;
            }
            option::STARTTLS if self.secrecy == Secrecy::Tls => {
                output.write_all(&said(asked, reply::ERR_INVALID, b"this is TLS already"))?;
            }
            option::STARTTLS => output.write_all(&said(asked, reply::ERR_POLICY, b"there is no TLS here"))?,
            option::LIST | option::STRUCTURED_REPLY | option::EXTENDED_HEADERS => {
                output.write_all(&said(asked, reply::ERR_INVALID, b"this option takes nothing"))?;
            }
            _ => output.write_all(&said(asked, reply::ERR_UNSUP, b"this option is not known here"))?,
        }
        Ok(None)
    }

    /// The old way to ask for an export: there is no way to refuse but to hang up.
    fn export_name(&self, data: &[u8], output: &mut impl Write, catalog: &dyn Catalog) -> io::Result<Agreed> {
        if self.dialect == Dialect::Extended {
            return Err(nonsense("the oldest way to ask for an export after the newest headers"));
        }
        let name = std::str::from_utf8(data).map_err(|_| nonsense("a name that is no text"))?;
        let opened = catalog.open(name);
        let (name, device) = opened.map_err(|refused| io::Error::new(io::ErrorKind::NotFound, words(&refused)))?;
        let mut text = device.size().to_be_bytes().to_vec();
        text.extend(abilities(&*device, self.dialect).to_be_bytes());
        text.resize(text.len() + if self.no_zeroes { 0 } else { 124 }, 0);
        output.write_all(&text)?;
        Ok(self.agreed(&name, device))
    }

    fn agreed(&self, name: &str, device: Arc<dyn Device>) -> Agreed {
        let allocation = self.allocation.as_deref() == Some(name);
        Agreed { name: name.to_owned(), device, dialect: self.dialect, allocation }
    }

    /// What is told of an export, and what is agreed on if it is to be it; or the refusal.
    fn info(&self, asked: u32, data: &[u8], catalog: &dyn Catalog) -> Result<(Vec<u8>, Agreed), Vec<u8>> {
        let invalid = || said(asked, reply::ERR_INVALID, b"the option makes no sense");
        let (name, rest) = text(data).ok_or_else(invalid)?;
        let (count, wanted) = rest.split_at_checked(2).ok_or_else(invalid)?;
        if wanted.len() != usize::from(two(count, 0)) * 2 {
            return Err(invalid());
        }
        let (name, device) = catalog.open(name).map_err(|refused| refusal(asked, &refused))?;
        let tell = |kind: u16, more: &[&[u8]]| {
            let data = [&[&kind.to_be_bytes()[..]], more].concat().concat();
            said(asked, reply::INFO, &data)
        };
        let size = device.size().to_be_bytes();
        let mut text = tell(info::EXPORT, &[&size, &abilities(&*device, self.dialect).to_be_bytes()]);
        let sizes = [1, PREFERRED, REQUEST_MAX].map(u32::to_be_bytes).concat();
        text.extend(tell(info::BLOCK_SIZE, &[&sizes]));
        if wanted.as_chunks::<2>().0.iter().any(|kind| u16::from_be_bytes(*kind) == info::NAME) {
            text.extend(tell(info::NAME, &[name.as_bytes()]));
        }
        text.extend(said(asked, reply::ACK, b""));
        Ok((text, self.agreed(&name, device)))
    }

    /// The contexts of block status of an export, and which are agreed on.
    fn contexts(&mut self, asked: u32, data: &[u8], catalog: &dyn Catalog) -> Vec<u8> {
        let set = asked == option::SET_META_CONTEXT;
        if set {
            self.allocation = None;
        }
        let Some((name, queries)) = queries(data).filter(|_| self.dialect != Dialect::Simple || !set) else {
            return said(asked, reply::ERR_INVALID, b"the option makes no sense, or comes before structured replies");
        };
        let name = match catalog.open(name) {
            Ok((name, _)) => name,
            Err(refused) => return refusal(asked, &refused),
        };
        let is_all = !set && (queries.is_empty() || queries.contains(&"base:"));
        let mut text = Vec::new();
        if is_all || queries.contains(&ALLOCATION) {
            let id = if set { ALLOCATION_ID } else { 0 };
            text = said(asked, reply::META_CONTEXT, &[&id.to_be_bytes(), ALLOCATION.as_bytes()].concat());
            if set {
                self.allocation = Some(name);
            }
        }
        text.extend(said(asked, reply::ACK, b""));
        text
    }
}

/// What can be done with a device.
fn abilities(device: &dyn Device, dialect: Dialect) -> u16 {
    let always = can::HAS_FLAGS | can::FLUSH | can::FUA | can::MULTI_CONN | can::CACHE;
    let always = always | if dialect == Dialect::Simple { 0 } else { can::DF };
    match device.is_writable() {
        true => always | can::TRIM | can::WRITE_ZEROES | can::FAST_ZERO,
        false => always | can::READ_ONLY,
    }
}

/// A reply to an option.
fn said(asked: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = OPTION_REPLY.to_be_bytes().to_vec();
    bytes.extend(asked.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(counted(data));
    bytes
}

fn refusal(asked: u32, refused: &Refused) -> Vec<u8> {
    let kind = match refused {
        Refused::Unknown(_) => reply::ERR_UNKNOWN,
        Refused::Denied(_) => reply::ERR_POLICY,
    };
    // More than a client shows is not sent.
    let words: String = words(refused).chars().take(1000).collect();
    said(asked, kind, words.as_bytes())
}

fn words(refused: &Refused) -> &str {
    match refused {
        Refused::Unknown(text) | Refused::Denied(text) => text,
    }
}

/// Bytes after their count.
fn counted(data: &[u8]) -> Vec<u8> {
    let count = u32::try_from(data.len()).expect("what is sent is short");
    [&count.to_be_bytes(), data].concat()
}

/// The text at the front, after its count, and what comes after it.
fn text(data: &[u8]) -> Option<(&str, &[u8])> {
    let (count, rest) = data.split_at_checked(4)?;
    let (text, rest) = rest.split_at_checked(four(count, 0) as usize)?;
    Some((std::str::from_utf8(text).ok().filter(|text| text.len() <= NAME_MAX)?, rest))
}

/// The export and the queries of an option about contexts.
fn queries(data: &[u8]) -> Option<(&str, Vec<&str>)> {
    let (name, rest) = text(data)?;
    let (count, mut rest) = rest.split_at_checked(4)?;
    let mut queries = Vec::new();
    for _ in 0..four(count, 0) {
        let (query, after) = text(rest)?;
        queries.push(query);
        rest = after;
    }
    rest.is_empty().then_some((name, queries))
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the client sent {what}"))
}
