//! Reading Rust text just well enough to measure it: what is code, what is test, where functions begin and end.

/// Stands for every character of a test item in [`production`].
pub(crate) const TEST: char = '\u{1}';

/// A function and how long it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line its `fn` stands on, counted from 1.
    pub(crate) line: usize,
    /// Lines from there to its closing brace.
    pub(crate) lines: usize,
}

/// The text with every comment and the inside of every literal replaced by blanks; lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = skipped(bytes, at);
        if end > at {
            out.extend(bytes[at..end].iter().map(|&b| if b == b'\n' { b'\n' } else { b' ' }));
            at = end;
        } else {
            // A blank for each byte beyond ASCII keeps the text valid whatever was cut.
            out.push(if bytes[at].is_ascii() { bytes[at] } else { b' ' });
            at += 1;
        }
    }
    String::from_utf8(out).expect("only ASCII was kept")
}

/// The end of the comment or literal that begins at `at`; `at` itself if none does.
fn skipped(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return after_block_comment(bytes, at);
    }
    let in_word = at > 0 && is_word(bytes[at - 1]);
    match rest[0] {
        b'"' => after_string(bytes, at + 1),
        b'r' if !in_word || matches!(bytes[at - 1], b'b' | b'c') => after_raw_string(bytes, at),
        b'\'' => after_char(bytes, at),
        _ => at,
    }
}

fn after_block_comment(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn after_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// After `r"..."` or `r##"..."##`; a raw identifier such as `r#type` is no string.
fn after_raw_string(bytes: &[u8], from: usize) -> usize {
    let hashes = bytes[from + 1..].iter().take_while(|&&b| b == b'#').count();
    let open = from + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return from;
    }
    let mut close = vec![b'#'; hashes + 1];
    close[0] = b'"';
    let inside = &bytes[open + 1..];
    inside.windows(close.len()).position(|w| w == close).map_or(bytes.len(), |p| open + 1 + p + close.len())
}

/// After `'x'`, `'\n'`, `'\u{1F600}'`; a lifetime is left alone.
fn after_char(bytes: &[u8], from: usize) -> usize {
    let inside = from + 1;
    if bytes.get(inside) == Some(&b'\\') {
        let close = bytes[inside + 2..].iter().position(|&b| b == b'\'');
        return close.map_or(bytes.len(), |p| inside + 2 + p + 1);
    }
    let Some(first) = bytes.get(inside) else { return from };
    let width = match first {
        0..0x80 => 1,
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    };
    if bytes.get(inside + width) == Some(&b'\'') { inside + width + 1 } else { from }
}

/// `code` with every item under `#[cfg(test)]` blotted out by [`TEST`].
pub(crate) fn production(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for mark in ["#[cfg(test)]", "#[cfg(all(test,"] {
        let mut from = 0;
        while let Some(found) = code[from..].find(mark) {
            let start = from + found;
            from = item_end(code.as_bytes(), start);
            for byte in &mut out[start..from] {
                if *byte != b'\n' {
                    *byte = TEST as u8;
                }
            }
        }
    }
    String::from_utf8(out).expect("ASCII in, ASCII out")
}

/// Lines that are not part of a test item.
pub(crate) fn production_lines(production: &str) -> usize {
    production.lines().filter(|line| !line.contains(TEST)).count()
}

/// The end of the item whose attributes begin at `start`: its closing brace, or its semicolon.
fn item_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    for (at, &byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && byte == b'}' {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    bytes.len()
}

/// Every function with a body.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for at in words(code, "fn") {
        let name: String =
            code[at + 2..].trim_start().chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
        let end = item_end(bytes, at);
        // A function pointer has no name, a trait's promise no body.
        if name.is_empty() || bytes[end - 1] != b'}' {
            continue;
        }
        let newlines = |range: std::ops::Range<usize>| bytes[range].iter().filter(|&&b| b == b'\n').count();
        found.push(Function { name, line: newlines(0..at) + 1, lines: newlines(at..end) + 1 });
    }
    found
}

/// Where `word` stands as a word of its own.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = at == 0 || !is_word(bytes[at - 1]);
        let after = bytes.get(at + word.len()).is_none_or(|&b| !is_word(b));
        before && after
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_nothing_else() {
        let text = "let a = \"fn x() { \\\" }\"; // fn y() {\n/* { /* { */ */ let b = r#\"}\"{\"#; let c = '{'; let d: &'a u8;";
        let code = code(text);
        assert_eq!(code.matches(['{', '}']).count(), 0, "{code}");
        assert_eq!(code.lines().count(), 2);
        for kept in ["let a =", "let b =", "let c =", "let d: &'a u8;"] {
            assert!(code.contains(kept), "{kept} in {code}");
        }
        assert!(super::code("let r#type = b'\\''; let e = '\u{e9}'; end").ends_with("end"));
    }

    #[test]
    fn tests_do_not_count_as_production() {
        let text =
            "fn a() {\n}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n#[cfg(test)]\nmod more;\n";
        let production = production(&code(text));
        assert_eq!(production_lines(&production), 3);
        let names: Vec<_> = functions(&production).into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["a", "c"]);
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let text = "\ntrait T { fn promised(&self) -> [u8; 4]; }\npub fn long(a: [u8; 2],\n    f: fn(u8) -> u8,\n) -> u8 {\n    if a { 1 } else { 2 }\n}\n";
        assert_eq!(functions(&code(text)), [Function { name: "long".into(), line: 3, lines: 5 }]);
    }
}
