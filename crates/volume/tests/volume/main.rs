//! Disks on a real node in this process: against a model, through crashes, many at once.

mod buffer;
mod crash;
mod sharing;
mod story;
mod world;
