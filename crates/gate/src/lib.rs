//! Doors for programs that speak other protocols than Okapi's own.

pub mod nbd;
