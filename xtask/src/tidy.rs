//! The shape of the source: small files, short functions, nothing unfinished, `unsafe` only where it is fenced.

mod allowed;

use crate::{repository, source};

/// Production lines a file may have.
const FILE_LINES_MAX: usize = 600;
/// Lines a function may have, from its `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "manager", "managers"];

/// Marks of unfinished work, and tests switched off. Written in two pieces so that they do not find themselves.
const UNFINISHED: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X"), concat!("TO", "DO")];
const UNFINISHED_CODE: &[&str] = &[concat!("todo", "!"), concat!("unimplemented", "!"), concat!("#[ign", "ore")];

/// Beginnings of paths that exist only on the machine a change was made on.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/fa", "rm/"), concat!("/tmp/", "bash"), concat!("/ro", "ot/")];

/// Every untidiness in the repository.
pub(crate) fn faults() -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for path in repository::files()? {
        let bytes = std::fs::read(repository::root().join(&path)).map_err(|why| format!("{path}: {why}"))?;
        // Golden files and other binaries have no lines to keep tidy.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        faults.extend(text_faults(&path, &text));
        if path.ends_with(".rs") {
            faults.extend(rust_faults(&path, &text));
        }
    }
    Ok(faults)
}

/// Whether a Rust file is test from its first line to its last.
pub(crate) fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("tests/")
}

fn text_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let place = format!("tidy: {path}:{}", at + 1);
        if line.ends_with([' ', '\t', '\r']) {
            faults.push(format!("{place}: white space at the end of the line"));
        }
        for start in MACHINE_PATHS.iter().filter(|start| line.contains(**start)) {
            faults.push(format!("{place}: `{start}...` is a path of one machine"));
        }
        for mark in UNFINISHED.iter().filter(|mark| source::words(line, mark).next().is_some()) {
            faults.push(format!("{place}: `{mark}`: finish it, or open an issue and say so there"));
        }
    }
    faults
}

fn rust_faults(path: &str, text: &str) -> Vec<String> {
    let code = source::code(text);
    let mut faults = Vec::new();
    for mark in UNFINISHED_CODE.iter().filter(|mark| code.contains(**mark)) {
        faults.push(format!("tidy: {path}: `{mark}`: nothing unfinished or switched off is kept"));
    }
    if source::words(&code, "unsafe").next().is_some() && !allowed::is_unsafe(path) {
        faults.push(format!(
            "tidy: {path}: `unsafe` outside the fenced files; do without it, or begin the file with the reason \
             and list it in xtask/src/tidy/allowed.rs"
        ));
    }
    faults.extend(name_faults(path, &code));
    if !is_test(path) {
        faults.extend(size_faults(path, &source::production(&code)));
    }
    faults
}

/// Modules whose name is a drawer for everything.
fn name_faults(path: &str, code: &str) -> Vec<String> {
    let parts = path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    let inline = source::words(code, "mod").filter_map(|at| {
        let name = code[at + 3..].trim_start();
        name.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
    });
    let empty = parts.chain(inline).filter(|name| EMPTY_NAMES.contains(name));
    empty.map(|name| format!("tidy: {path}: `{name}` says nothing; name the module after what is in it")).collect()
}

fn size_faults(path: &str, production: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = source::production_lines(production);
    match (lines > FILE_LINES_MAX, allowed::is_long_file(path)) {
        (true, false) => faults.push(format!(
            "tidy: {path}: {lines} production lines, and a file holds one noun in {FILE_LINES_MAX}; divide it, or \
             list it with its reason in xtask/src/tidy/allowed.rs"
        )),
        (false, true) => faults.push(format!("tidy: {path}: no longer long; take it out of tidy/allowed.rs")),
        _ => {}
    }
    for source::Function { name, line, lines } in source::functions(production) {
        if lines > FUNCTION_LINES_MAX && !allowed::is_long_function(path, &name) {
            faults.push(format!(
                "tidy: {path}:{line}: `{name}` has {lines} lines of at most {FUNCTION_LINES_MAX}; divide it, or list \
                 it with its reason in xtask/src/tidy/allowed.rs"
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let faults = faults().unwrap();
        assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    }

    fn lines(count: usize) -> String {
        "    a();\n".repeat(count)
    }

    #[test]
    fn long_files_and_functions_are_found_and_tests_are_not_counted() {
        let path = "crates/base/src/x.rs";
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(700));
        let full = format!("{}{tests}", "// a\n".repeat(FILE_LINES_MAX));
        assert_eq!(rust_faults(path, &full), Vec::<String>::new());
        assert_eq!(rust_faults(path, &format!("// b\n{full}")).len(), 1);
        let body = |count| format!("fn a() {{\n{}}}\n", lines(count));
        assert_eq!(rust_faults(path, &body(FUNCTION_LINES_MAX - 2)), Vec::<String>::new());
        assert_eq!(rust_faults(path, &body(FUNCTION_LINES_MAX - 1)).len(), 1);
        assert_eq!(rust_faults("crates/base/src/x/tests.rs", &body(700)), Vec::<String>::new());
    }

    #[test]
    fn unfinished_work_and_switched_off_tests_are_found() {
        for mark in UNFINISHED {
            assert_eq!(text_faults("a.md", &format!("here: {mark} later")).len(), 1, "{mark}");
            assert!(text_faults("a.md", &format!("here: {mark}S later")).is_empty(), "{mark}");
        }
        assert_eq!(rust_faults("a.rs", &format!("fn a() {{ {}() }}", UNFINISHED_CODE[0])).len(), 1);
        assert_eq!(rust_faults("a.rs", &format!("{} = \"slow\"]\nfn a() {{}}", UNFINISHED_CODE[2])).len(), 1);
    }

    #[test]
    fn unsafe_is_found_in_code_only() {
        assert_eq!(rust_faults("a.rs", "fn a() { unsafe { b() } }").len(), 1);
        assert!(rust_faults("a.rs", "#![deny(unsafe_code)]\n// unsafe\nconst A: &str = \"unsafe\";").is_empty());
    }

    #[test]
    fn drawers_for_everything_are_found() {
        assert_eq!(rust_faults("crates/a/src/utils.rs", "").len(), 1);
        assert_eq!(rust_faults("crates/a/src/helpers/b.rs", "").len(), 1);
        assert_eq!(rust_faults("crates/a/src/b.rs", "mod manager {}").len(), 1);
        assert!(rust_faults("crates/a/src/utility.rs", "mod helpful;").is_empty());
    }

    #[test]
    fn white_space_and_machine_paths_are_found() {
        assert_eq!(text_faults("a.md", "one \ntwo\t\nthree").len(), 2);
        for start in MACHINE_PATHS {
            assert_eq!(text_faults("a.md", &format!("see {start}x")).len(), 1, "{start}");
        }
        assert!(text_faults("a.md", "see /usr/share and /tmp/x").is_empty());
    }
}
