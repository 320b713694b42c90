//! A member whose letters a test writes.

use crate::world::*;
use okapi_peers::{Blob, Input};
use okapi_seal::{Hasher, SigningKey};
use okapi_wire::peer::letter::{Body, Letter};
use okapi_wire::peer::shard::Signed;
use std::time::Duration;

/// A node that says what the test makes it say, with its own key. Its peer does not run.
pub(crate) struct Voice {
    pub(crate) at: usize,
    pub(crate) session: u64,
    pub(crate) number: u64,
}

impl Voice {
    pub(crate) fn new(world: &mut World, at: usize) -> Self {
        world.crash(at);
        world.now = okapi_base::machine::Moment(world.now.0 + Duration::from_millis(1));
        Self { at, session: stamp(world), number: 0 }
    }

    pub(crate) fn key(&self) -> SigningKey {
        identity(self.at as u8 + 1).signing
    }

    /// A letter with the next number.
    pub(crate) fn letter(&mut self, world: &World, body: Body) -> Letter {
        self.number += 1;
        Letter { session: self.session, number: self.number, stamp: stamp(world), body }
    }

    pub(crate) fn say(&mut self, world: &mut World, to: usize, body: Body) {
        let letter = self.letter(world, body).to_bytes();
        self.hand(world, to, letter, [].into());
    }

    pub(crate) fn hand(&self, world: &mut World, to: usize, letter: Vec<u8>, payload: Blob) {
        let from = world.nodes[self.at].id;
        world.input(to, Input::Received { from, letter, payload });
    }
}

pub(crate) fn stamp(world: &World) -> u64 {
    world.now.0.as_millis() as u64
}

pub(crate) fn signed<T: Signed>(mut record: T, key: &SigningKey, set: fn(&mut T, [u8; 64])) -> T {
    let digest = Hasher::new(T::CONTEXT).add(&record.unsigned()).digest();
    let signature = key.sign(&digest).0;
    set(&mut record, signature);
    record
}
