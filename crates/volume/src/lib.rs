//! Disks in a grid: images stored once, a difference for each machine that runs from them.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use okapi_client::{Client, Settings, Target};
//! use okapi_volume::{Access, Disks, NewDisk};
//!
//! let client = Client::connect(&"unix:/run/okapi/node.sock".parse::<Target>()?, Settings::default())?;
//! let disks = Disks::open_or_make(&client, "disks", None, okapi_volume::limits::CACHE_DEFAULT)?;
//! disks.import(&NewDisk::base("debian"), &mut std::fs::File::open("debian.raw")?, &mut |_| ())?;
//! disks.clone_disk("debian", &["web-01", "web-02"])?;
//! let disk = disks.disk("web-01", Access::Write)?;
//! disk.write_at(4096, b"its own", false)?;
//! disk.flush()?;
//! # Ok(()) }
//! ```
//!
//! [`Disks`] is the directory of a grid; [`Disk`] is one that is open. Everything blocks its thread, and every handle may be
//! used from many threads. How it lies in the grid is in `docs/format/disk.md`, and why in `docs/notes/disks.md`.

mod buffer;
mod burn;
mod cache;
mod change;
mod directory;
mod disk;
mod disks;
mod fault;
mod head;
mod holding;
mod lease;
pub mod limits;
mod make;
mod partition;
mod place;
mod presence;
mod puts;
mod seed;
mod sweep;
mod view;

pub use buffer::Buffered;
pub use change::Changed;
pub use disk::{Content, Disk, Part};
pub use disks::{Access, Disks, Listed};
pub use fault::{DiskError, DisksError};
pub use head::{Head, Parent, is_name};
pub use lease::Lease;
pub use make::NewDisk;
pub use partition::{Addition, Partition, PartitionError, add_seed_place, seed_place};
pub use place::Number;
pub use seed::{LABEL, PLACE_MIN, SeedError, file_of, seed};
