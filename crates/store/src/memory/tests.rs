//! What only the memory engine does; what all engines do is in `tests/engines.rs`.
