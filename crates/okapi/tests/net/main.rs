//! Groups of real nodes, each a machine of its own on a network that the tests make out of the kernel's namespaces:
//! what is cut there is cut, and every packet is seen. Only root may make one.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test that fails is explained by what it has printed")]

mod cuts;
mod faults;
mod full;
#[path = "../cli/house.rs"]
#[allow(dead_code, reason = "the other black-box tests use the rest of it")]
mod house;
mod identity;
mod joining;
mod lab;
mod machine;
mod packets;
mod relay;
mod rescue;
mod restores;
mod secrecy;
mod soak;
mod strangers;
