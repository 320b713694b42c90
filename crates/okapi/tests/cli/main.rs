//! The program as people and scripts see it: the built binary against real nodes in temporary directories.

mod data;
mod house;
mod nodes;
mod scripts;
