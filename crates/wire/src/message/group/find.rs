//! Whom people mean by a word.

use super::status::{GroupMember, GroupStatus, MemberState};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use okapi_base::MemberId;

/// Digits of an id that are enough to mean it.
const DIGITS_MIN: usize = 4;
/// Nodes that an error lists.
const LISTED_MAX: usize = 4;

/// Why a word means nobody in particular.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// Nobody is called so.
    #[error("nobody in this group is called `{word}`; `okapi members` lists the names and ids of all")]
    Nobody {
        /// The word.
        word: String,
    },
    /// More than one is.
    #[error("`{word}` may be any of {whom}; give more digits of the id")]
    Several {
        /// The word.
        word: String,
        /// Some of them.
        whom: String,
    },
}

impl GroupStatus {
    /// The node that is called `word`: by its name, or by the first four or more digits of its id, or of its member's if
    /// that has but one node. A name never hides an id: anybody may choose any name.
    ///
    /// # Errors
    /// [`FindError`] if it is none, or more than one.
    pub fn find_node(&self, word: &str) -> Result<&GroupMember, FindError> {
        let found = self.called(word);
        match found[..] {
            [node] => Ok(node),
            [] => Err(FindError::Nobody { word: word.to_string() }),
            _ => Err(several(word, &found)),
        }
    }

    /// The member that is called `word`: by the name of a node of its, or by the first four or more digits of the id of
    /// such a node, or its own.
    ///
    /// # Errors
    /// [`FindError`] if it is none, or more than one.
    pub fn find_member(&self, word: &str) -> Result<MemberId, FindError> {
        let found = self.called(word);
        match found.split_first() {
            None => Err(FindError::Nobody { word: word.to_string() }),
            Some((first, rest)) if rest.iter().all(|node| node.member == first.member) => Ok(first.member),
            Some(_) => Err(several(word, &found)),
        }
    }

    /// The nodes that take part and may be meant; those that have parted only if no other may.
    fn called(&self, word: &str) -> Vec<&GroupMember> {
        let is_called = |node: &&GroupMember| {
            (!word.is_empty() && node.name == word) || begins(&node.node.0, word) || begins(&node.member.0, word)
        };
        let (here, parted): (Vec<_>, Vec<_>) =
            self.members.iter().filter(is_called).partition(|node| node.state != MemberState::Parted);
        if here.is_empty() { parted } else { here }
    }
}

fn several(word: &str, found: &[&GroupMember]) -> FindError {
    let one = |node: &&GroupMember| format!("{} (node {})", plain(&node.name), &node.node.to_string()[..8]);
    let mut whom: Vec<String> = found.iter().take(LISTED_MAX).map(one).collect();
    if found.len() > LISTED_MAX {
        whom.push(format!("{} others", found.len() - LISTED_MAX));
    }
    FindError::Several { word: word.to_string(), whom: whom.join(", ") }
}

/// A name without what could disturb a terminal.
fn plain(name: &str) -> String {
    if name.is_empty() { "one without a name".to_string() } else { name.replace(char::is_control, " ") }
}

/// Whether an id begins with these digits.
fn begins(id: &[u8; 32], word: &str) -> bool {
    let digit = |at: usize| id[at / 2] >> (4 * (1 - at % 2)) & 15;
    let fits = |(at, c): (usize, char)| c.to_digit(16) == Some(u32::from(digit(at)));
    (DIGITS_MIN..=64).contains(&word.len()) && word.is_ascii() && word.chars().enumerate().all(fits)
}
