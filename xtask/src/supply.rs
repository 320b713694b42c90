//! What may come in from outside: sources, licences and duplicates, by the lists of deny.toml.
//!
//! The everyday form of `cargo xtask deny`: quick, and without a network.

use crate::repository;
use std::path::{Path, PathBuf};

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A package of Cargo.lock.
#[derive(Debug, PartialEq, Eq)]
struct Locked {
    name: String,
    version: String,
    /// Nothing for a crate of this workspace.
    source: Option<String>,
}

/// Every breach of the lists in deny.toml.
pub(crate) fn faults() -> Result<Vec<String>, String> {
    let locked = locked(&repository::read("Cargo.lock")?);
    let deny = repository::read("deny.toml")?;
    let mut faults = source_faults(&locked);
    faults.extend(duplicate_faults(&locked, &first_words(&deny, "skip")));
    faults.extend(licence_faults(&locked, &first_words(&deny, "allow"))?);
    Ok(faults)
}

fn locked(text: &str) -> Vec<Locked> {
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"'));
        line.map(str::to_owned)
    };
    let package = |block: &str| {
        let (name, version) = (field(block, "name")?, field(block, "version")?);
        Some(Locked { name, version, source: field(block, "source") })
    };
    text.split("[[package]]").filter_map(package).collect()
}

/// The first quoted word of each line of the list `name = [...]` in a TOML text.
fn first_words(toml: &str, name: &str) -> Vec<String> {
    let lines = toml.lines().skip_while(|line| !line.starts_with(&format!("{name} = ["))).skip(1);
    let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
    lines.take_while(|line| !line.starts_with(']')).filter_map(quoted).collect()
}

fn source_faults(locked: &[Locked]) -> Vec<String> {
    let foreign = |package: &&Locked| package.source.as_deref().is_some_and(|source| source != REGISTRY);
    let fault = |package: &Locked| {
        let source = package.source.as_deref().unwrap_or_default();
        format!("supply: {} {} comes from {source}; only crates.io is allowed", package.name, package.version)
    };
    locked.iter().filter(foreign).map(fault).collect()
}

/// Two versions of one crate are two compilations and two sets of types.
fn duplicate_faults(locked: &[Locked], skip: &[String]) -> Vec<String> {
    let twice = |pair: &&[Locked]| pair[0].name == pair[1].name && !skip.contains(&pair[0].name);
    let fault = |pair: &[Locked]| {
        let [Locked { name, version: one, .. }, Locked { version: two, .. }] = pair else { unreachable!() };
        format!("supply: {name} comes twice, {one} and {two}; agree on one, or list it under `skip` in deny.toml")
    };
    // Cargo keeps its lock file sorted by name.
    let mut faults: Vec<String> = locked.windows(2).filter(twice).map(fault).collect();
    let stale = skip.iter().filter(|name| locked.iter().filter(|package| package.name == **name).count() < 2);
    faults.extend(stale.map(|name| format!("supply: {name} comes only once; take it out of `skip` in deny.toml")));
    faults
}

/// Looks at the manifests of all packages that lie unpacked here, that is, of all this machine has built from.
fn licence_faults(locked: &[Locked], allowed: &[String]) -> Result<Vec<String>, String> {
    let registries = registries()?;
    let mut faults = Vec::new();
    let mut seen = 0;
    for Locked { name, version, .. } in locked.iter().filter(|package| package.source.is_some()) {
        let manifest = |registry: &PathBuf| registry.join(format!("{name}-{version}/Cargo.toml"));
        let Some(manifest) = registries.iter().map(manifest).find(|path| path.is_file()) else { continue };
        seen += 1;
        let text = std::fs::read_to_string(&manifest).map_err(|why| format!("{}: {why}", manifest.display()))?;
        match licence(&text) {
            Some(licence) if allows(&licence, allowed) => {}
            Some(licence) => faults.push(format!(
                "supply: {name} {version} is under `{licence}`, which the `allow` list of deny.toml does not cover"
            )),
            None => faults.push(format!("supply: {name} {version} names no licence")),
        }
    }
    if seen == 0 {
        faults.push("supply: no unpacked package was found, so no licence was read; run `cargo fetch`".to_owned());
    }
    Ok(faults)
}

/// Where cargo unpacks packages.
fn registries() -> Result<Vec<PathBuf>, String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let src = home.ok_or("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    let entries = std::fs::read_dir(&src).map_err(|why| format!("{}: {why}; run `cargo fetch`", src.display()))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

fn licence(manifest: &str) -> Option<String> {
    manifest.lines().find_map(|line| Some(line.strip_prefix("license = \"")?.strip_suffix('"')?.to_owned()))
}

/// Whether an SPDX expression can be met with the allowed licences alone. `/` is the old way to write OR.
fn allows(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any_of(&words, &mut at, allowed);
    met && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at, allowed);
    }
    met
}

fn all_of(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = any_of(words, at, allowed);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return met && closed;
    }
    let mut name = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_is_on_the_lists() {
        let faults = faults().unwrap();
        assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    }

    #[test]
    fn expressions_are_met_or_not() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        for met in
            ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "ISC AND (GPL-2.0 OR MIT)", "Apache-2.0 WITH LLVM-exception"]
        {
            assert!(allows(met, &allowed), "{met}");
        }
        for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "Apache-2.0", "MIT)", "(MIT"] {
            assert!(!allows(unmet, &allowed), "{unmet}");
        }
    }

    #[test]
    fn foreign_sources_and_duplicates_are_found() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"git+https://example.org/a\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"b\"\nversion = \"2.0.0\"\n";
        let locked = locked(lock);
        assert_eq!(locked.len(), 3);
        assert_eq!(source_faults(&locked).len(), 1);
        assert_eq!(duplicate_faults(&locked, &[]).len(), 1);
        assert_eq!(duplicate_faults(&locked, &["b".to_owned()]).len(), 0);
        assert!(duplicate_faults(&locked, &["a".to_owned(), "b".to_owned()])[0].contains("only once"));
    }

    #[test]
    fn lists_and_licences_are_read_from_toml() {
        let toml = "[licenses]\nallow = [\n    \"MIT\", # plain\n    \"ISC\",\n]\nskip = [\n    { crate = \"syn\", reason = \"x\" },\n]\n";
        assert_eq!(first_words(toml, "allow"), ["MIT", "ISC"]);
        assert_eq!(first_words("skip = [\n    { crate = \"syn\", reason = \"x\" },\n]\n", "skip"), ["syn"]);
        assert_eq!(licence("[package]\nlicense = \"MIT\"\n").as_deref(), Some("MIT"));
        assert_eq!(licence("[package]\nlicense-file = \"COPYING\"\n"), None);
    }
}
