//! Streams that others dialled.

use super::carrier::{Carried, Protocol};
use super::greet::{GreetError, Greeting, plain};
use super::grid;
use super::host::{Event, Standing};
use super::hub::Hub;
use okapi_wire::peer::link::{Farewell, Hello, Purpose, Reason};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

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
            // Without a bell the link cannot be made, and the other end sees it closed.
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
    let place = if trusted { None } else { Some(hub.strangers.clone().try_acquire_owned().ok()) };
    let (hello, refusal) = match greeting.hello(hub).await {
        Ok(hello) => {
            let refusal = refusal(hub, &greeting, &hello, standing, place.as_ref());
            (Some(hello), refusal)
        }
        Err(GreetError::Said(farewell)) => {
            hub.refused(greeting.node(), greeting.address(), &farewell.words);
            (None, Some(farewell))
        }
        Err(_) => return,
    };
    let purpose = hello.as_ref().map_or(Purpose::Letters, |hello| hello.purpose);
    let admitted = match (&hello, refusal) {
        (Some(hello), None) => hub.admit(&greeting, hello, trusted).await,
        (_, refusal) => Err(refusal.expect("without a hello there is a refusal")),
    };
    match (hello, admitted) {
        (Some(hello), Ok(live)) => match greeting.answer(hub, purpose, Ok(())).await {
            Ok(()) => hub.start(live, greeting, &hello, place.flatten()),
            Err(why) => hub.never_began(&live, why.to_string()),
        },
        (_, Err(farewell)) => {
            if greeting.answer(hub, purpose, Err(&farewell)).await.is_ok() {
                greeting.part().await;
            }
        }
        (None, Ok(_)) => unreachable!("nobody is admitted without a hello"),
    }
}

/// Why the other end is not taken in, if that can be said at once.
fn refusal(
    hub: &Hub,
    greeting: &Greeting,
    hello: &Hello,
    standing: Standing,
    place: Option<&Option<OwnedSemaphorePermit>>,
) -> Option<Farewell> {
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
    match (standing, place) {
        (Standing::Parted, _) => Some(plain(Reason::Parted, "this node has parted from the group; it can join anew")),
        (_, Some(None)) => Some(plain(Reason::Crowded, "too many strangers are connected; try again in a minute")),
        _ => None,
    }
}
