//! The recovery phrase: a member's secret as 24 English words that can be written on paper (BIP-39).

use crate::Secret;
use bip39::{Language, Mnemonic};
use zeroize::{Zeroize, Zeroizing};

/// Words of a phrase: 256 bits and a checksum of 8.
pub const WORDS: usize = 24;
/// Characters of a wrong word that are repeated to whoever typed it.
const SHOWN_MAX: usize = 24;
/// Letters that no two words of the list begin with alike.
const TELLING_LETTERS: usize = 4;

/// A recovery phrase whose checksum is right. Wiped when dropped, never shown unless asked for.
pub struct RecoveryPhrase {
    words: Zeroizing<String>,
    secret: Secret,
}

impl RecoveryPhrase {
    /// The phrase of a secret.
    pub(crate) fn of(secret: &Secret) -> Self {
        let mnemonic = Mnemonic::from_entropy(secret.bytes()).expect("256 bits are 24 words");
        // Room for the longest: a string that grows leaves copies behind.
        let mut words = Zeroizing::new(String::with_capacity(WORDS * 9));
        for word in mnemonic.words() {
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(word);
        }
        Self { words, secret: secret.clone() }
    }

    /// Reads a phrase as somebody typed it: any white space between the words, capitals or not.
    ///
    /// # Errors
    /// [`PhraseError`], which says what is wrong with which word.
    pub fn parse(text: &str) -> Result<Self, PhraseError> {
        let text = Zeroizing::new(text.to_ascii_lowercase());
        let count = text.split_whitespace().count();
        if count != WORDS {
            return Err(PhraseError::Count { found: count });
        }
        for (at, word) in text.split_whitespace().enumerate() {
            if Language::English.find_word(word).is_none() {
                let shown = word.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect();
                return Err(PhraseError::UnknownWord { position: at + 1, word: shown, nearest: nearest(word) });
            }
        }
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &text).map_err(|_| PhraseError::Checksum)?;
        let (mut entropy, length) = mnemonic.to_entropy_array();
        let secret = Secret::copy_of(&entropy[..length]);
        entropy.zeroize();
        Ok(Self::of(&secret))
    }

    /// The words, in their order.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.split(' ')
    }

    /// The words with one blank between them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.words
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }
}

impl std::fmt::Debug for RecoveryPhrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryPhrase(not shown)")
    }
}

/// The word of the list that was probably meant.
fn nearest(word: &str) -> &'static str {
    // Four letters tell the words apart, so whoever got these right got the word right.
    let begin = word.char_indices().nth(TELLING_LETTERS).map_or(word, |(end, _)| &word[..end]);
    let list = Language::English.word_list();
    let mut alike = list.iter().filter(|other| other.starts_with(begin));
    if let (Some(only), None) = (alike.next(), alike.next()) {
        return only;
    }
    // A long text compared with 2,048 words would take its time.
    let word: String = word.chars().take(SHOWN_MAX).collect();
    list.iter().min_by_key(|other| strsim::osa_distance(&word, other)).expect("the list has words")
}

/// Why a text is not a recovery phrase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// There are more or fewer words.
    #[error("a recovery phrase has {WORDS} words and this has {found}; type all of them, in their order")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// A word is not in the list.
    #[error("word {position}, `{word}`, is not a word of recovery phrases; did you mean `{nearest}`?")]
    UnknownWord {
        /// Which one, from 1.
        position: usize,
        /// The word itself, at most its first 24 characters.
        word: String,
        /// The word of the list that is most like it.
        nearest: &'static str,
    },
    /// Each word is in the list, but together they are no phrase.
    #[error(
        "the words do not belong together: one of them is another, or two changed places; compare them with your copy"
    )]
    Checksum,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published test vectors of BIP-39 for 256 bits.
    const VECTORS: [([u8; 32], &str); 4] = [
        (
            [0; 32],
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
        ),
        (
            [0x7f; 32],
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth title",
        ),
        (
            [0x80; 32],
            "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic bless",
        ),
        (
            [0xff; 32],
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote",
        ),
    ];

    #[test]
    fn the_standard_agrees_both_ways() {
        for (bytes, words) in VECTORS {
            let phrase = RecoveryPhrase::of(&Secret::from_bytes(bytes));
            assert_eq!(phrase.as_str(), words);
            assert_eq!(phrase.words().count(), WORDS);
            assert_eq!(RecoveryPhrase::parse(words).unwrap().secret().bytes(), &bytes);
        }
        assert_eq!(format!("{:?}", RecoveryPhrase::of(&Secret::random())), "RecoveryPhrase(not shown)");
    }

    #[test]
    fn how_it_is_typed_does_not_matter() {
        let (bytes, words) = VECTORS[1];
        let typed = format!("\n  {}\n", words.to_uppercase().replace(' ', " \t\n"));
        assert_eq!(RecoveryPhrase::parse(&typed).unwrap().secret().bytes(), &bytes);
    }

    #[test]
    fn a_typo_is_named_with_the_word_that_was_meant() {
        let with = |typo: &str| {
            let mut words: Vec<&str> = VECTORS[1].1.split(' ').collect();
            words[4] = typo;
            RecoveryPhrase::parse(&words.join(" ")).unwrap_err()
        };
        let typos = [
            ("waev", "wave"),
            ("wavee", "wave"),
            ("wavr", "wave"),
            ("aban", "abandon"),
            ("abandonn", "abandon"),
            ("sausge", "sausage"),
            ("wörth", "worth"),
        ];
        for (typo, meant) in typos {
            assert_eq!(with(typo), PhraseError::UnknownWord { position: 5, word: typo.to_owned(), nearest: meant });
        }
        assert_eq!(with("waev").to_string(), "word 5, `waev`, is not a word of recovery phrases; did you mean `wave`?");
        assert!(matches!(with(&"x".repeat(100_000)), PhraseError::UnknownWord { word, .. } if word.len() == SHOWN_MAX));
    }

    #[test]
    fn count_and_checksum_have_errors_of_their_own() {
        let words = VECTORS[1].1;
        for text in ["", "legal", &words[6..], &format!("{words} legal"), &words[..words.len() - 6]] {
            let found = text.split_whitespace().count();
            assert_eq!(RecoveryPhrase::parse(text).unwrap_err(), PhraseError::Count { found });
        }
        let swapped = words.replacen("legal winner", "winner legal", 1);
        assert_eq!(RecoveryPhrase::parse(&swapped).unwrap_err(), PhraseError::Checksum);
        assert_eq!(RecoveryPhrase::parse(&words.replace("title", "legal")).unwrap_err(), PhraseError::Checksum);
    }
}
