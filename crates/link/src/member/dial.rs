//! Dialling: while letters wait for a node, its addresses are tried, later each time.

use super::carrier::{Carried, Carrier, DialError, Protocol};
use super::correspondent::Correspondent;
use super::greet::{GreetError, Greeting};
use super::host::Standing;
use super::hub::Hub;
use okapi_base::NodeId;
use okapi_wire::peer::link::{Hello, Purpose, Reason};
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// Dials until there is a connection or nothing waits for it any more.
pub(crate) async fn until_connected(hub: Arc<Hub>, whom: Arc<Correspondent>) {
    loop {
        let until = {
            let mut state = whom.state.lock();
            let now = Instant::now();
            let expired = state.queue.expire(now, hub.tuning.letter_age);
            state.dropped += expired as u64;
            if state.live.is_some() || state.queue.is_empty() || hub.is_stopping() {
                state.dialling = false;
                return;
            }
            let expires = state.queue.expires(hub.tuning.letter_age).expect("something waits");
            if state.not_before > now { Some(state.not_before.min(expires)) } else { None }
        };
        if let Some(until) = until {
            // Something may change where it is meanwhile.
            let _ = timeout_at(until, whom.look.notified()).await;
            continue;
        }
        if let Err(why) = attempt(&hub, &whom).await {
            let mut state = whom.state.lock();
            state.failure = Some(why);
            state.not_before = Instant::now() + state.backoff.delay();
        }
    }
}

/// Tries all addresses once.
async fn attempt(hub: &Arc<Hub>, whom: &Correspondent) -> Result<(), String> {
    let addresses = hub.addresses(&whom.node);
    if addresses.is_empty() {
        return Err(DialError::Nowhere(whom.node).to_string());
    }
    let carried = dial(hub, whom.node, addresses, Protocol::Member).await.map_err(|why| why.to_string())?;
    let address = carried.address.clone();
    let greeting = Greeting::new(hub, carried, true);
    match greet(hub, greeting).await {
        Ok(()) => {
            let mut state = whom.state.lock();
            state.good = Some(address);
            state.refused.clear();
            Ok(())
        }
        Err(why) => {
            match &why {
                GreetError::Told(farewell) => hub.told(whom.node, &address, farewell),
                GreetError::Said(farewell) if farewell.reason == Reason::Versions => {
                    hub.refused(whom.node, &address, &farewell.words);
                }
                _ => {}
            }
            Err(format!("{address}: {why}"))
        }
    }
}

async fn greet(hub: &Arc<Hub>, mut greeting: Greeting) -> Result<(), GreetError> {
    let hello = greeting.dial(hub, Purpose::Letters).await?;
    // Whom the host writes to it knows, even where it is not a member yet: that is how one joins.
    let trusted = hub.host.standing(&greeting.node()) != Standing::Parted;
    let live = hub.meet(&greeting, hello, trusted);
    match hub.admit(&live).await {
        Ok(()) => hub.start(live, greeting, None),
        // The other end has taken it already and may be sending: it is heard to its end.
        Err(farewell) if farewell.reason == Reason::Replaced => {
            live.close(farewell);
            hub.start(live, greeting, None);
        }
        Err(farewell) => {
            greeting.leave(&farewell).await;
            return Err(GreetError::Said(farewell));
        }
    }
    Ok(())
}

/// Dials all addresses, each a little after the one before, and takes the first that proves to be the node.
pub(crate) async fn dial(
    hub: &Arc<Hub>,
    node: NodeId,
    addresses: Vec<String>,
    protocol: Protocol,
) -> Result<Carried, DialError> {
    let mut attempts = JoinSet::new();
    let mut addresses = addresses.into_iter();
    let mut failure = None;
    loop {
        let next = addresses.next();
        let more = next.is_some();
        if let Some(address) = next {
            match carrier(hub, &address) {
                Ok(carrier) => drop(attempts.spawn(carrier.dial(address, Some(node), protocol))),
                Err(why) => {
                    failure.get_or_insert(why);
                }
            }
        }
        // While there are others to try, none is waited for to its end.
        let joined = match (attempts.is_empty(), more) {
            (true, true) => continue,
            (true, false) => return Err(failure.unwrap_or(DialError::Nowhere(node))),
            (false, true) => match timeout(hub.tuning.stagger, attempts.join_next()).await {
                Ok(joined) => joined,
                Err(_) => continue,
            },
            (false, false) => attempts.join_next().await,
        };
        match joined.expect("some are under way") {
            Ok(Ok(carried)) => return Ok(carried),
            Ok(Err(why)) => failed(hub, node, why, &mut failure),
            Err(_) => {}
        }
    }
}

/// Notes why an address did not do; of several reasons the one is kept that tells most.
fn failed(hub: &Arc<Hub>, node: NodeId, why: DialError, failure: &mut Option<DialError>) {
    if let DialError::SomeoneElse { address, found, .. } = &why {
        if *found == hub.me() {
            // This node's own address, or a twin at it.
            let (hub, address) = (hub.clone(), address.clone());
            tokio::spawn(async move { look(&hub, address).await.map(drop) });
        } else {
            hub.refused(node, address, &why.to_string());
        }
        *failure = Some(why);
    } else if !matches!(failure, Some(DialError::SomeoneElse { .. })) {
        *failure = Some(why);
    }
}

/// Why nobody could be seen at an address.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It cannot be dialled.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Whoever is there does not say hello properly.
    #[error("{address} answers and does not greet: {why}")]
    Greeting {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
}

/// Who is at an address, whoever that is.
pub(crate) async fn look(hub: &Arc<Hub>, address: String) -> Result<(NodeId, Hello), ProbeError> {
    let carried = carrier(hub, &address)?.dial(address.clone(), None, Protocol::Member).await?;
    let mut greeting = Greeting::new(hub, carried, true);
    match greeting.dial(hub, Purpose::Look).await {
        Ok(hello) => {
            if greeting.node() == hub.me() && hello.run != hub.settings.run {
                hub.met_twin(&address, hello.started, hello.run, "another process runs with this node's identity");
            }
            Ok((greeting.node(), hello))
        }
        Err(why) => {
            if let GreetError::Told(farewell) = &why {
                hub.told(greeting.node(), &address, farewell);
            }
            Err(ProbeError::Greeting { address, why: why.to_string() })
        }
    }
}

fn carrier(hub: &Hub, address: &str) -> Result<Arc<dyn Carrier>, DialError> {
    let carrier = hub.carriers.iter().find(|carrier| carrier.takes(address));
    carrier.cloned().ok_or_else(|| match address.starts_with("iroh:") {
        true => DialError::NoIroh(address.to_owned()),
        false => DialError::Address(address.to_owned()),
    })
}
