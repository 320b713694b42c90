//! Authors and witnesses together.

mod story;
mod world;
