//! Once everything has arrived, both sides' books of every pair say the same.

use crate::host::{Fate, Host};
use crate::world::World;
use okapi_peers::books::{Exactness, compare};

pub(super) fn ill(world: &World) -> Option<String> {
    let counted = |host: &Host| host.fate == Fate::There && host.is_honest() && host.is_up();
    let hosts: Vec<(usize, &Host)> = world.hosts.iter().enumerate().filter(|(_, host)| counted(host)).collect();
    for (owner, owns) in &hosts {
        for (holder, holds) in hosts.iter().filter(|(holder, _)| holder != owner) {
            let books = [owns, holds].map(|host| host.peer.as_ref().expect("it runs").books());
            if let Some(first) = compare(books[0], books[1], Exactness::Settled).first() {
                return Some(format!(
                    "books of owner {owner} and holder {holder} differ: {} {:?}",
                    first.what, first.matter
                ));
            }
        }
    }
    None
}
