//! Whole peers against each other in one process: each flow step by step, and everything that comes from another
//! member bent and broken.

mod audit;
mod contracts;
mod growth;
mod join;
mod mend;
mod overtaken;
mod part;
mod repair;
mod restart;
mod restore;
mod seen;
mod untrusted;
mod voice;
mod world;
mod yard;
