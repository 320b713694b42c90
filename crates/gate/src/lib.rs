//! Doors for programs that speak other protocols than Okapi's own. What is behind them is the same for all: a
//! [`Catalog`] of [`Device`]s.

mod catalog;
mod device;
pub mod nbd;
mod socket;
#[cfg(feature = "vhost")]
pub mod vhost;

pub use catalog::{Catalog, DiskCatalog, Refused};
pub use device::{Device, Trouble};
