//! Exceptions from tidiness, each with its reason. The shorter these lists, the better the house.

/// Files that may say `unsafe`: each fences it under a safe interface and begins with the reason.
const UNSAFE_FILES: &[&str] = &[
    "bench/src/disk/sharer.rs",
    "bench/src/store/lmdb.rs",
    "crates/gate/tests/gate/blkio.rs",
    "crates/link/src/map.rs",
    "crates/link/src/map/copy.rs",
    "crates/node/src/trim.rs",
    "crates/node/tests/allocations.rs",
    "crates/store/tests/allocations.rs",
    "crates/store/src/memory/arena.rs",
    "crates/store/src/memory/past_cache.rs",
    "crates/store/src/memory/region.rs",
    "crates/store/src/memory/table.rs",
];

/// Files that may be long.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions that may be long.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

pub(super) fn is_unsafe(path: &str) -> bool {
    UNSAFE_FILES.contains(&path)
}

pub(super) fn is_long_file(path: &str) -> bool {
    LONG_FILES.iter().any(|(file, _)| *file == path)
}

pub(super) fn is_long_function(path: &str, name: &str) -> bool {
    LONG_FUNCTIONS.iter().any(|(file, function, _)| *file == path && *function == name)
}
