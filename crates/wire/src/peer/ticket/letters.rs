//! Bytes as groups of letters, each with a check letter.

use super::TicketError;
use alloc::string::String;
use alloc::vec::Vec;

/// Crockford's base 32: no I, L, O and U.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Letters of a group that carry data.
const DATA: usize = 7;
/// The same and one that checks them.
const GROUP: usize = DATA + 1;
/// Bytes from which the length of all is known, and the letters that carry them.
const HEAD_BYTES: usize = 3;
const HEAD: usize = letter_count(HEAD_BYTES) - 1;
const _: () = assert!(HEAD <= DATA, "the first group tells the length");

/// Letters, check letters and dashes for so many bytes.
pub(super) const fn text_length(bytes: usize) -> usize {
    let letters = letter_count(bytes);
    letters + letters.div_ceil(GROUP) - 1
}

/// Letters and check letters for so many bytes.
const fn letter_count(bytes: usize) -> usize {
    let data = (bytes * 8).div_ceil(5);
    data + data.div_ceil(DATA)
}

/// Appends the letters of `bytes`, with a dash between two groups.
pub(super) fn write(bytes: &[u8], text: &mut String) {
    for (number, group) in fives(bytes).chunks(DATA).enumerate() {
        if number > 0 {
            text.push('-');
        }
        for value in group.iter().copied().chain([check(number, group)]) {
            text.push(char::from(LETTERS[usize::from(value)]));
        }
    }
}

/// The bytes that letters stand for; `announced` tells from the first of them how many there are.
pub(super) fn read(
    text: &str,
    announced: impl FnOnce([u8; HEAD_BYTES]) -> Result<usize, TicketError>,
) -> Result<Vec<u8>, TicketError> {
    let values = values(text)?;
    let wrong = |number: usize, group: &[u8]| {
        // Where there are dashes they tell better than the check letters in which group a letter is missing.
        odd_group(text).unwrap_or_else(|| TicketError::Group { group: number + 1, text: shown(group) })
    };
    let (whole, rest) = values.as_chunks::<GROUP>();
    if let Some((number, group)) = (0..).zip(whole).find(|(number, group)| !is_right(*number, *group)) {
        return Err(wrong(number, group));
    }
    let head = whole.first().ok_or(TicketError::OnlyBegun)?;
    let head = *bytes(&head[..HEAD]).first_chunk().expect("the head's letters carry its bytes");
    let length = announced(head)?;
    let count = letter_count(length);
    if values.len() < count {
        let prefix = super::PREFIX.len() - 1;
        return Err(
            odd_group(text).unwrap_or(TicketError::CutOff { found: values.len() + prefix, whole: count + prefix })
        );
    }
    if values.len() > count {
        return Err(odd_group(text).unwrap_or(TicketError::TooLong { more: values.len() - count }));
    }
    if !rest.is_empty() && !is_right(whole.len(), rest) {
        return Err(wrong(whole.len(), rest));
    }
    let data: Vec<u8> = values.chunks(GROUP).flat_map(|group| &group[..group.len() - 1]).copied().collect();
    let mut bytes = bytes(&data);
    // What is left of the last letter carries nothing.
    if bytes.len() > length && bytes[length] != 0 {
        return Err(TicketError::Malformed);
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// The letter that checks a group: a polynomial code over the field of 32 elements, with the group's number as its
/// first element. Any one wrong letter, any two neighbours changed, and neighbouring groups changed, are seen.
fn check(number: usize, data: &[u8]) -> u8 {
    let first = (number % 31 + 1) as u8;
    data.iter().fold(times_x(first), |sum, value| times_x(sum ^ value))
}

fn is_right(number: usize, group: &[u8]) -> bool {
    let (last, data) = group.split_last().expect("a group has letters");
    check(number, data) == *last
}

/// Multiplied by x in the field of x^5 + x^2 + 1.
const fn times_x(value: u8) -> u8 {
    let doubled = value << 1;
    if doubled & 0x20 == 0 { doubled } else { doubled ^ 0x25 }
}

/// What each letter stands for; dashes and white space are left out.
fn values(text: &str) -> Result<Vec<u8>, TicketError> {
    let mut values = Vec::new();
    for character in text.chars().filter(|c| *c != '-' && !c.is_whitespace()) {
        let Some(value) = value(character) else {
            return Err(TicketError::Character { group: values.len() / GROUP + 1, character });
        };
        values.push(value);
        if values.len() > super::TEXT_MAX {
            return Err(TicketError::TooLong { more: 1 });
        }
    }
    Ok(values)
}

fn value(letter: char) -> Option<u8> {
    let letter = match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        letter => letter,
    };
    LETTERS.iter().position(|known| char::from(*known) == letter).map(|at| at as u8)
}

/// The first group between dashes, the last not counted, that has too many or too few letters.
fn odd_group(text: &str) -> Option<TicketError> {
    let groups = text.split('-').map(|group| group.chars().filter(|c| !c.is_whitespace()).count());
    let mut numbered = (1..).zip(groups.filter(|length| *length > 0)).peekable();
    while let Some((group, length)) = numbered.next() {
        if length != GROUP && (numbered.peek().is_some() || length > GROUP && group > 1) {
            return Some(TicketError::GroupLength { group, length });
        }
    }
    None
}

fn shown(group: &[u8]) -> String {
    group.iter().map(|value| char::from(LETTERS[usize::from(*value)])).collect()
}

/// Bytes as numbers of five bits, the last filled up with zeros.
fn fives(bytes: &[u8]) -> Vec<u8> {
    repacked(bytes, 8, 5)
}

/// Numbers of five bits as bytes, the last filled up with zeros.
fn bytes(fives: &[u8]) -> Vec<u8> {
    repacked(fives, 5, 8)
}

/// The same bits in numbers of another width, highest bit first.
fn repacked(from: &[u8], wide: u32, narrow: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity((from.len() * wide as usize).div_ceil(narrow as usize));
    let (mut bits, mut held) = (0u32, 0);
    for value in from {
        bits = bits << wide | u32::from(*value);
        held += wide;
        while held >= narrow {
            held -= narrow;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    if held > 0 {
        out.push((bits << (narrow - held)) as u8);
    }
    out
}
