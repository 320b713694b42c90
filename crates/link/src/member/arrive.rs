//! Streams that others dialled.

use super::carrier::{Carried, Protocol};
use super::greet::{GreetError, Greeting, plain};
use super::grid;
use super::host::{Event, Standing};
use super::hub::{Hub, PARTED};
use okapi_wire::peer::link::{Farewell, Hello, Purpose, Reason};
use std::sync::Arc;

/// Takes a stream whose other end has proven its key.
pub(crate) async fn take(hub: Arc<Hub>, carried: Carried) {
    if hub.is_stopping() {
        return;
    }
    let standing = hub.host.standing(&carried.node);
    if carried.protocol == Protocol::Grid {
        // Blocks are for members; what each of them may do is for the host to say.
        if standing == Standing::Member {
            let from = carried.node;
            // Where that fails the other end sees it closed.
            if let Ok(link) = grid::bridged(carried) {
                hub.host.happened(Event::Grid { from, link });
            }
        }
        return;
    }
    let mut greeting = Greeting::new(&hub, carried, false);
    let hub = &hub;
    // Whoever is no member takes one of few places.
    let trusted = standing == Standing::Member && greeting.node() != hub.me();
    let place = match hub.strangers.clone().try_acquire_owned() {
        _ if trusted => None,
        Ok(place) => Some(place),
        Err(_) => {
            let farewell = plain(Reason::Crowded, "too many strangers are connected; try again in a minute");
            return refuse(hub, greeting, Purpose::Letters, &farewell).await;
        }
    };
    let hello = match greeting.hello(hub).await {
        Ok(hello) => hello,
        Err(GreetError::Said(farewell)) => {
            if trusted {
                hub.refused(greeting.node(), greeting.address(), &farewell.words);
            }
            return refuse(hub, greeting, Purpose::Letters, &farewell).await;
        }
        Err(_) => return,
    };
    if let Some(farewell) = refusal(hub, &greeting, &hello, standing) {
        return refuse(hub, greeting, hello.purpose, &farewell).await;
    }
    let purpose = hello.purpose;
    let live = hub.meet(&greeting, hello, trusted);
    if let Err(farewell) = hub.admit(&live).await {
        return refuse(hub, greeting, purpose, &farewell).await;
    }
    match greeting.answer(hub, purpose, Ok(())).await {
        Ok(()) => hub.start(live, greeting, place),
        Err(why) => hub.never_began(&live, why.to_string()),
    }
}

async fn refuse(hub: &Hub, mut greeting: Greeting, purpose: Purpose, farewell: &Farewell) {
    if greeting.answer(hub, purpose, Err(farewell)).await.is_ok() {
        greeting.part().await;
    }
}

/// Why the other end is not taken in, if that can be said at once.
fn refusal(hub: &Hub, greeting: &Greeting, hello: &Hello, standing: Standing) -> Option<Farewell> {
    if greeting.node() == hub.me() {
        if hello.run == hub.settings.run {
            return Some(plain(Reason::Done, "this node dialled itself"));
        }
        let words = "another process runs with this node's identity";
        hub.met_twin(greeting.address(), hello.started, hello.run, words);
        return Some(Farewell { twin: Some(Box::new(hub.presence(&hello.run))), ..plain(Reason::Twin, words) });
    }
    if hello.purpose == Purpose::Look {
        return Some(plain(Reason::Done, "all was said"));
    }
    (standing == Standing::Parted).then(|| plain(Reason::Parted, PARTED))
}
