//! Reshape: segments follow the group as it grows and shrinks, and never are less safe on the way.

use super::plan::{Need, Step, Why};
use super::review::View;
use okapi_wire::peer::shard::Deed;

/// What follows a change of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reshape {
    /// More shards, once there are places for all of them.
    Wider,
    /// Fewer shards, when so many places are gone for good that fewer shards survive more.
    Narrower,
    /// The same shards on other nodes, so that full disks give to empty ones.
    Moved,
}

/// A wider shape, if the group allows one and its list has rested.
pub(super) fn wider(view: &View<'_>, deed: &Deed) -> Option<Need> {
    let grows = view.target.n() > deed.shape.n() && view.desired.len() == view.target.n();
    (grows && view.peer.list_rested()).then(|| need(view, deed, Reshape::Wider))
}

/// A narrower shape, if that survives more than what is left of this one.
pub(super) fn narrower(view: &View<'_>, deed: &Deed) -> Option<Need> {
    let left = view.peer.survives(view.segment, deed);
    let shrinks = view.target.n() < deed.shape.n() && view.target.n() - view.target.k() > left;
    (shrinks && view.desired.len() == view.target.n()).then(|| need(view, deed, Reshape::Narrower))
}

/// Other places for the same shape, once after each change of the member list.
pub(super) fn moved(view: &View<'_>, deed: &Deed) -> Option<Need> {
    let version = view.peer.members.version().digest;
    if deed.shape != view.target || view.segment.placed_under == Some(version) || !view.peer.list_rested() {
        return None;
    }
    let need = need(view, deed, Reshape::Moved);
    let has_place = |node: &okapi_base::NodeId| {
        view.peer.may_take(*node) && !view.peer.was_caught(*node) && !deed.slots.iter().any(|slot| slot.holder == Some(*node))
    };
    (!need.wanted().is_empty() && view.desired.iter().any(has_place)).then_some(need)
}

/// What a narrower shape needs.
pub(super) fn narrowed(view: &View<'_>, deed: &Deed) -> Need {
    need(view, deed, Reshape::Narrower)
}

fn need(view: &View<'_>, deed: &Deed, reshape: Reshape) -> Need {
    let good = |index: usize| view.peer.is_good(view.segment, deed, index);
    let steps = match reshape {
        Reshape::Moved => view.steps(deed, |index| {
            good(index) && deed.slots[index].holder.is_some_and(|node| view.desired.contains(&node))
        }),
        // Copies are copies: those that are there stay.
        Reshape::Wider if view.target.k() == deed.shape.k() => {
            let mut steps = view.steps(deed, good);
            steps.resize(view.target.n(), Step::Open(None));
            steps
        }
        Reshape::Narrower if view.target.k() == deed.shape.k() => {
            let mut steps = view.steps(deed, good);
            steps.truncate(view.target.n());
            steps
        }
        Reshape::Wider | Reshape::Narrower => (0..view.target.n()).map(|_| Step::Open(None)).collect(),
    };
    Need { why: Why::Reshape, shape: view.target, steps }
}
