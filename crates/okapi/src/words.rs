//! Lines of the shell and of scripts, taken apart into words.

/// The words of `line`: parted by blanks; quotes hold words together (`'…'` as it stands, `"…"` with `\"` and `\\`);
/// a backslash takes the next character as it is. A comment begins at a `#` that begins a word, unless a digit
/// follows and it is not the line's first word: `get #5` is about block 5.
///
/// # Errors
/// Words, if a quote is not closed.
pub(crate) fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        match chars.peek() {
            None => return Ok(words),
            Some('#') => {
                let mut ahead = chars.clone();
                ahead.next();
                if words.is_empty() || !ahead.next().is_some_and(|c| c.is_ascii_digit()) {
                    return Ok(words);
                }
            }
            Some(_) => {}
        }
        words.push(word(&mut chars)?);
    }
}

fn word(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, &'static str> {
    let mut word = String::new();
    while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
        match c {
            '\'' => loop {
                match chars.next().ok_or("a ' is not closed")? {
                    '\'' => break,
                    c => word.push(c),
                }
            },
            '"' => loop {
                match chars.next().ok_or("a \" is not closed")? {
                    '"' => break,
                    '\\' if matches!(chars.peek(), Some('"' | '\\')) => word.extend(chars.next()),
                    c => word.push(c),
                }
            },
            '\\' => word.push(chars.next().ok_or("a \\ has nothing after it")?),
            c => word.push(c),
        }
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_comments() {
        for (line, words) in [
            ("", &[][..]),
            ("   # a comment", &[]),
            ("#5 is a comment here", &[]),
            ("get #5", &["get", "#5"]),
            ("get #5..10 # five blocks", &["get", "#5..10"]),
            ("put 'a b' \"c \\\" d\" e\\ f", &["put", "a b", "c \" d", "e f"]),
            ("put a#b", &["put", "a#b"]),
            ("put ''", &["put", ""]),
            ("get '#x'", &["get", "#x"]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        assert_eq!(split("put 'a"), Err("a ' is not closed"));
        assert_eq!(split("put \"a"), Err("a \" is not closed"));
        assert_eq!(split("put \\"), Err("a \\ has nothing after it"));
    }
}
