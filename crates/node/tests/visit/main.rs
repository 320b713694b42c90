//! What a node answers, driven through the block protocol with nothing but memory between the two ends.

#![allow(unreachable_pub, reason = "the modules of one test binary are each other's public")]

mod conn;
mod crash;
mod dice;
mod follow;
mod fuzz;
mod grants;
mod grids;
mod group;
mod records;
mod toy;
