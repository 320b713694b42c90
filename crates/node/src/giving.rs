//! Giving members the keys of grids that they may read, so that they can while this node is away.
//!
//! Each node of a member is sent all that it may have, in place of what it had before, whenever it comes and whenever
//! something was granted or taken away. So nothing need be remembered of what anybody has; whoever was away when a key
//! changed goes on reading what lies under the older ones until it meets this node again.

use crate::away::Away;
use crate::catalog::Home;
use crate::chores::Chores;
use crate::group::links::Streams;
use crate::group::neighbours::Others;
use crate::group::running::Group;
use crate::group::short;
use crate::host::Host;
use crate::settings::NodeSettings;
use okapi_base::NodeId;
use okapi_wire::message::away::KEYS_MAX;
use okapi_wire::message::{KeyGiven, KeysGive, Right};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};

/// What a node does with other members besides what its group's machine asks for: gives them keys, and reads with those
/// it was given.
pub(crate) struct Dealings {
    away: Arc<Away>,
    giver: Arc<Giver>,
}

impl Dealings {
    pub(crate) fn start(group: &Arc<Group>, host: &Arc<Host>, settings: &NodeSettings) -> io::Result<Self> {
        let others = Others::new(group);
        let away = Arc::new(Away::new(others.clone(), settings));
        let (finds, keys) = (Arc::downgrade(&away), Arc::downgrade(host));
        group.set_away(Box::new(move |owner| {
            let (away, host) = (finds.upgrade()?, keys.upgrade()?);
            let keys = host.received.of(&owner);
            (!keys.is_empty()).then(|| away.way(owner, &keys))
        }));
        let giver = Giver::start(others, host)?;
        let changed = Arc::downgrade(&giver);
        host.set_giver(Box::new(move || {
            if let Some(giver) = changed.upgrade() {
                giver.give_all();
            }
        }));
        Ok(Self { away, giver })
    }

    /// Serves members' streams, and those who come from now on; who is here already is given what it may have.
    pub(crate) fn serve(
        &self,
        streams: &Mutex<Option<Streams>>,
        stream: Box<dyn Fn(NodeId, Box<dyn okapi_link::Link>) + Send + Sync>,
    ) {
        let giver = Arc::downgrade(&self.giver);
        let here = Box::new(move |node| {
            if let Some(giver) = giver.upgrade() {
                giver.here(node);
            }
        });
        *streams.lock() = Some(Streams { stream, here });
        self.giver.give_all();
    }

    pub(crate) fn stop(&self) {
        self.giver.chores.stop();
        self.away.stop();
    }
}

/// Gives keys, on a thread of its own.
struct Giver {
    others: Arc<Others>,
    host: Weak<Host>,
    chores: Chores,
    /// What each node is known to have.
    given: Mutex<BTreeMap<NodeId, KeysGive>>,
}

impl Giver {
    fn start(others: Arc<Others>, host: &Arc<Host>) -> io::Result<Arc<Self>> {
        let chores = Chores::start("okapi-giving")?;
        Ok(Arc::new(Self { others, host: Arc::downgrade(host), chores, given: Mutex::default() }))
    }

    /// A node has come. It may have lost what it had.
    fn here(self: &Arc<Self>, node: NodeId) {
        self.given.lock().remove(&node);
        self.give_later(node);
    }

    /// Something has changed.
    fn give_all(self: &Arc<Self>) {
        self.others.here().into_iter().for_each(|node| self.give_later(node));
    }

    fn give_later(self: &Arc<Self>, node: NodeId) {
        let giver = Arc::downgrade(self);
        self.chores.add(move || {
            if let Some(giver) = giver.upgrade() {
                giver.give(node);
            }
        });
    }

    fn give(&self, node: NodeId) {
        // Where nothing ever was granted nobody has anything to lose.
        let Some(host) = self.host.upgrade().filter(|host| host.grants.has_keys()) else { return };
        let keys = host.keys_for(&node);
        drop(host);
        if self.given.lock().get(&node) == Some(&keys) {
            return;
        }
        match self.others.give(node, &keys) {
            Ok(()) => drop(self.given.lock().insert(node, keys)),
            // It is given them when it comes the next time.
            Err(error) => tracing::debug!("{} could not be given keys: {error}", short(&node.0)),
        }
    }
}

impl Host {
    /// The keys of all grids that a node's member may read.
    pub(crate) fn keys_for(&self, node: &NodeId) -> KeysGive {
        let grids = self.all_grids().into_iter().filter(|grid| grid.home() == Home::Log && !grid.is_dropped());
        let key = |grid: Arc<crate::grid::Grid>| {
            let definition = &grid.definition;
            let key = self.grants.key(definition.id).filter(|_| self.right_of(node, definition.id) >= Right::Read)?;
            Some(KeyGiven {
                grid: definition.id.0,
                number: key.number(),
                block_size: definition.shape.block_size,
                made: definition.made,
                name: definition.name.clone(),
                key: *key.bytes(),
            })
        };
        let mut keys: Vec<KeyGiven> = grids.filter_map(key).collect();
        keys.sort_by_key(|key| key.grid);
        keys.truncate(KEYS_MAX);
        KeysGive { keys }
    }
}
