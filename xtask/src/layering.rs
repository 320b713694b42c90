//! Which crate of the workspace may know which, and which crates do without the standard library.

use crate::{repository, source};
use serde_json::Value;

/// The arrows of the design: a crate and those it may depend on. A new arrow is the rarest kind of change.
const ARROWS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("wire", &["base"]),
    ("seal", &["base"]),
    ("store", &["base", "seal"]),
    ("grid", &["base", "wire"]),
    ("timeline", &["base", "wire", "seal"]),
    ("peers", &["base", "wire", "seal", "grid", "timeline"]),
    ("link", &["base", "wire"]),
    ("client", &["base", "wire", "grid", "link"]),
    ("node", &["base", "wire", "seal", "store", "grid", "timeline", "peers", "link", "client"]),
    ("sim", &["base", "wire", "seal", "store", "grid", "timeline", "peers"]),
    ("volume", &["base", "client"]),
    ("gate", &["base", "client", "volume"]),
    ("okapi", &["base", "client", "volume", "gate", "node"]),
    ("js", &["client"]),
    ("c", &["client"]),
];

/// Arrows beyond the design's, each with its reason. One that is no longer there must leave this list.
const BEYOND: &[(&str, &str, &str)] = &[(
    "okapi",
    "seal",
    "`okapi key` makes, shows and uses keys where no node runs, and no node may see a member's secret",
)];

/// Not part of the product: they may know everything, and no crate may know them.
const OUTSIDE: &[&str] = &["bench", "xtask"];

/// Dependencies that one crate fences in, for their weight or their danger.
const FENCED: &[(&str, &[&str])] = &[
    ("argon2", &["seal"]),
    ("aws-lc-rs", &["seal"]),
    ("bip39", &["seal"]),
    ("pem-rfc7468", &["seal"]),
    ("fjall", &["store", "bench"]),
    ("redb", &["node", "bench"]),
    ("heed", &["bench"]),
    ("iroh", &["link"]),
    ("mdns-sd", &["link"]),
    ("rustls", &["link", "gate", "bench"]),
    ("tokio", &["link", "bench"]),
    ("tokio-rustls", &["link", "bench"]),
    ("clap", &["okapi", "sim"]),
    ("ratatui", &["okapi"]),
    ("rustyline", &["okapi"]),
];

/// Crates that must build where there is no operating system.
const NO_STD: &[&str] = &["base", "wire", "grid", "timeline", "peers"];
/// What a machine without IO must never touch.
const IO: &[&str] = &["std::time", "std::net", "std::fs", "std::thread", "std::io", "std::process", "std::env"];

/// A crate of the workspace and the names of its normal dependencies.
#[derive(Debug)]
struct Member {
    name: String,
    needs: Vec<String>,
}

/// Every breach of the layering.
pub(crate) fn faults() -> Result<Vec<String>, String> {
    // `--no-deps` reads only the workspace's own manifests, so this needs neither network nor a filled cache.
    let metadata = repository::said(repository::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let mut faults = arrow_faults(&members(&metadata)?);
    for path in repository::files()? {
        if let Some(name) = no_std_crate(&path) {
            faults.extend(no_std_faults(&path, name, &repository::read(&path)?));
        }
    }
    Ok(faults)
}

/// The workspace as `cargo metadata` tells it; `okapi-base` is called `base` here.
fn members(metadata: &str) -> Result<Vec<Member>, String> {
    let metadata: Value = serde_json::from_str(metadata).map_err(|why| format!("cargo metadata: {why}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let short = |value: &Value| value.as_str().map(|name| name.strip_prefix("okapi-").unwrap_or(name).to_owned());
    let member = |package: &Value| {
        let needs = package["dependencies"].as_array()?.iter().filter(|need| need["kind"].is_null());
        Some(Member { name: short(&package["name"])?, needs: needs.filter_map(|need| short(&need["name"])).collect() })
    };
    packages.iter().map(|package| member(package).ok_or_else(|| "a package without a name".to_owned())).collect()
}

fn arrow_faults(members: &[Member]) -> Vec<String> {
    let mut faults = Vec::new();
    let known = |name: &str| OUTSIDE.contains(&name) || ARROWS.iter().any(|(from, _)| *from == name);
    for Member { name, needs } in members {
        if !known(name) {
            faults.push(format!(
                "layering: `{name}` is a crate the design does not know; a crate exists only if it must build alone, \
                 forbids something, or fences a dependency: draw its arrows in DESIGN and in xtask/src/layering.rs"
            ));
            continue;
        }
        for need in needs {
            let inside = members.iter().any(|member| member.name == *need);
            if inside && !may(name, need) {
                faults.push(format!(
                    "layering: {name} -> {need} is a new arrow, the rarest kind of change: do without it, or change \
                     the design first and then xtask/src/layering.rs, with the reason"
                ));
            }
            if let Some((_, homes)) = FENCED.iter().find(|(fenced, _)| fenced == need)
                && !homes.contains(&name.as_str())
            {
                faults.push(format!("layering: {need} is fenced in {}; `{name}` may not use it", homes.join(" and ")));
            }
        }
    }
    for (from, to, _) in BEYOND {
        let used = |member: &Member| member.name == *from && member.needs.iter().any(|need| need == to);
        if members.iter().any(|member| member.name == *from) && !members.iter().any(used) {
            faults.push(format!("layering: {from} -> {to} is gone; take it out of BEYOND in xtask/src/layering.rs"));
        }
    }
    faults
}

fn may(from: &str, to: &str) -> bool {
    if OUTSIDE.contains(&from) {
        return from == "bench" && to != "xtask";
    }
    ARROWS.iter().any(|(name, needs)| *name == from && needs.contains(&to))
        || BEYOND.iter().any(|(name, need, _)| *name == from && *need == to)
}

/// The name of the crate without std whose production source this is.
fn no_std_crate(path: &str) -> Option<&'static str> {
    let (name, inside) = path.strip_prefix("crates/")?.split_once("/src/")?;
    let is_source = inside.ends_with(".rs") && !crate::tidy::is_test(path);
    NO_STD.iter().find(|no_std| **no_std == name && is_source).copied()
}

fn no_std_faults(path: &str, name: &str, text: &str) -> Vec<String> {
    let code = source::production(&source::code(text));
    let mut faults = Vec::new();
    let empty = code.trim().is_empty();
    if path.ends_with("/src/lib.rs") && !empty && !code.lines().any(|line| line.trim() == "#![no_std]") {
        faults.push(format!("layering: {path}: `{name}` does without std: it needs a plain `#![no_std]`"));
    }
    for word in IO.iter().copied().chain(["extern crate std"]) {
        if source::words(&code, word).next().is_some() {
            faults.push(format!("layering: {path}: `{name}` is a machine without IO and uses `{word}`"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_keeps_its_arrows() {
        let faults = faults().unwrap();
        assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    }

    #[test]
    fn a_new_arrow_is_named() {
        let metadata = r#"{"packages": [
            {"name": "okapi-base", "dependencies": [{"name": "okapi-wire", "kind": null}]},
            {"name": "okapi-wire", "dependencies": [{"name": "okapi-base", "kind": null}, {"name": "fjall", "kind": null}]},
            {"name": "okapi-seal", "dependencies": [{"name": "okapi-wire", "kind": "dev"}, {"name": "serde", "kind": null}]},
            {"name": "okapi-blob", "dependencies": []}
        ]}"#;
        let faults = arrow_faults(&members(metadata).unwrap());
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].contains("base -> wire is a new arrow"));
        assert!(faults[1].contains("fjall is fenced"));
        assert!(faults[2].contains("`blob` is a crate the design does not know"));
    }

    #[test]
    fn nobody_may_know_the_bench() {
        assert!(!may("node", "bench"));
        assert!(!may("xtask", "base"));
        assert!(may("bench", "store"));
    }

    #[test]
    fn std_in_a_machine_is_found() {
        assert_eq!(no_std_crate("crates/wire/src/frame/header.rs"), Some("wire"));
        assert_eq!(no_std_crate("crates/link/src/unix.rs"), None);
        assert_eq!(no_std_crate("crates/wire/src/frame/tests.rs"), None);
        let path = "crates/wire/src/lib.rs";
        assert!(no_std_faults(path, "wire", "#![no_std]\n// std::time\n#[cfg(test)]\nextern crate std;\n").is_empty());
        assert_eq!(no_std_faults(path, "wire", "#![cfg_attr(not(test), no_std)]\nuse std::time::Instant;\n").len(), 2);
        assert_eq!(no_std_faults(path, "wire", "pub mod frame;\n").len(), 1);
        assert_eq!(no_std_faults(path, "wire", "#![no_std]\nextern crate std;\n").len(), 1);
    }
}
