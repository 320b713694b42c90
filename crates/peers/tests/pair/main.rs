//! Whole peers against each other in one process: each flow step by step, and everything that comes from another
//! member bent and broken.

mod growth;
mod join;
mod world;
mod yard;
