//! The program as people and scripts see it: the built binary against real nodes in temporary directories.

mod boot;
mod damage;
mod data;
mod demo;
mod dice;
mod fan;
mod follow;
mod grants;
mod group;
mod hostile;
mod house;
mod identity;
mod image;
mod key;
mod nbd;
mod nodes;
mod scripts;
mod signals;
mod storm;
mod streams;
mod terminal;
#[cfg(feature = "vhost")]
mod vhost;
mod vm;
