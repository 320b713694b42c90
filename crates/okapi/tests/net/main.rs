//! Groups of real nodes, each a machine of its own on a network that the tests make out of the kernel's namespaces:
//! what is cut there is cut, and every packet is seen. Only root may make one.

mod faults;
#[path = "../cli/house.rs"]
#[allow(dead_code, reason = "the other black-box tests use the rest of it")]
mod house;
mod lab;
mod machine;
mod packets;
mod relay;
