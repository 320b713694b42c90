//! Many peers in a pretend world, replayed from a seed.
