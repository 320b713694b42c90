//! The life of one connection: a reader, a writer, one who gives room to payloads, and one who watches the time.
//!
//! All four are one task, so that the halves of the stream are never waited for by two threads. Any of them can end the
//! connection.

mod reader;
mod writer;

use super::first::first;
use super::frames::{Broken, frame, write_all};
use super::greet::{Greeting, plain};
use super::host::Standing;
use super::hub::{Hub, PARTED};
use super::live::Live;
use okapi_wire::Message;
use okapi_wire::peer::link::{Farewell, Kind, Reason};
use reader::Reader;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use writer::Writer;

/// How long the last words of a connection may take.
const PARTING: Duration = Duration::from_secs(1);

/// Why a connection is over.
#[derive(Debug)]
enum End {
    /// The other end said so.
    Told(Farewell),
    /// This end said so.
    Said(Farewell),
    /// The stream is broken, or what came on it makes no sense.
    Broken(Broken),
    /// Nothing is heard of the other end.
    Silent,
}

/// Drives a connection to its end. `place` is a stranger's.
pub(crate) async fn run(hub: Arc<Hub>, live: Arc<Live>, greeting: Greeting, place: Option<OwnedSemaphorePermit>) {
    let Greeting { reader, writer, .. } = greeting;
    let whom = hub.correspondent(live.node);
    let mut reader = Reader::new(hub.clone(), live.clone(), reader);
    let mut writer = Writer::new(hub.clone(), live.clone(), whom, writer);
    let inbox = reader.inbox();
    let end = first([
        Box::pin(reader.read()),
        Box::pin(writer.write()),
        Box::pin(inbox.give_room(&hub, &live)),
        Box::pin(watch(&hub, &live, place)),
    ])
    .await;
    let why = match end {
        End::Told(farewell) => {
            hub.told(live.node, &live.address, &farewell);
            // Closing before all was read would destroy what the other end has not read yet.
            let _ = timeout(PARTING, reader.drain()).await;
            farewell.words
        }
        End::Said(farewell) if farewell.reason == Reason::Replaced => {
            // What the other end had sent before it knew is as good as what comes on the other connection.
            let _ = timeout(PARTING, reader.read()).await;
            farewell.words
        }
        End::Said(farewell) => {
            let _ = timeout(PARTING, reader.drain()).await;
            farewell.words
        }
        End::Broken(why @ (Broken::Body(_) | Broken::Misplaced(_))) => {
            let farewell = plain(Reason::Malformed, why.to_string());
            let _ = timeout(PARTING, async { writer.leave(&farewell).await && reader.drain().await }).await;
            farewell.words
        }
        End::Broken(why) => why.to_string(),
        End::Silent => format!("nothing was heard for {:?} while something waited", hub.tuning.patience),
    };
    drop((reader, writer));
    hub.ended(&live, why);
}

/// Ends a connection whose other end does not answer, that has been replaced for long enough, or that is a stranger's
/// and has taken its time.
async fn watch(hub: &Hub, live: &Live, mut place: Option<OwnedSemaphorePermit>) -> End {
    let tuning = &hub.tuning;
    let mut retires = None;
    let mut waiting = None;
    loop {
        if place.is_some() && live.since.elapsed() >= tuning.stranger_time {
            if hub.host.standing(&live.node) == Standing::Stranger {
                live.close(plain(Reason::Overstayed, "a stranger may stay for a minute; ask for a ticket to join"));
            }
            place = None;
        }
        let (waits, farewell) = {
            let outbox = live.outbox.lock();
            let waits = outbox.busy || outbox.asked.is_some() || !outbox.offered.is_empty();
            (waits || live.traffic.unanswered().is_some(), outbox.farewell.clone())
        };
        if let Some(farewell) = farewell
            && retires.get_or_insert_with(Instant::now).elapsed() >= tuning.retire
        {
            return End::Said(farewell);
        }
        if waits {
            let since = *waiting.get_or_insert_with(Instant::now);
            if live.traffic.heard().max(since).elapsed() >= tuning.patience {
                return End::Silent;
            }
            // It may be time for a ping.
            live.wake();
        } else {
            waiting = None;
        }
        // Whoever waits is looked at a few times within its patience; whoever does not costs nothing.
        let tick = async {
            if waits || retires.is_some() {
                sleep(tuning.patience.min(tuning.retire) / 4).await;
            } else {
                live.watch.notified().await;
            }
        };
        let stranger = async {
            match &place {
                Some(_) => sleep_until(live.since + tuning.stranger_time).await,
                None => std::future::pending().await,
            }
        };
        first([Box::pin(tick), Box::pin(stranger)]).await;
    }
}

/// Whether the other end has the rights of a member by now. Asked anew for whoever had not, since people join.
fn rights(hub: &Hub, live: &Live) -> Result<bool, Farewell> {
    if live.is_trusted() {
        return Ok(true);
    }
    match hub.host.standing(&live.node) {
        Standing::Member => {
            live.trusted.store(true, Ordering::Relaxed);
            hub.exchange(live);
            Ok(true)
        }
        Standing::Stranger => Ok(false),
        Standing::Parted => Err(plain(Reason::Parted, PARTED)),
    }
}

/// Writes a last frame after everything else.
async fn say(stream: &mut (impl tokio::io::AsyncWrite + Unpin), farewell: &Farewell) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    frame(&mut bytes, Kind::Farewell, |body| farewell.encode(body));
    write_all(stream, &[&bytes]).await?;
    stream.flush().await?;
    stream.shutdown().await
}
