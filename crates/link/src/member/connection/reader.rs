//! What comes in on a connection.

use super::{End, rights};
use crate::member::carrier::Stream;
use crate::member::first::first;
use crate::member::frames::{Broken, FrameReader};
use crate::member::greet::plain;
use crate::member::host::{Event, Room};
use crate::member::hub::Hub;
use crate::member::live::Live;
use crate::member::settings::STRANGER_LETTER_MAX;
use okapi_wire::BodyReader;
use okapi_wire::peer::announce::Announcement;
use okapi_wire::peer::link::{ANNOUNCEMENTS_MAX, Head, INLINE_MAX, Kind, OFFERS_MAX, Reason};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::iter::repeat_n;
use std::sync::Arc;
use tokio::io::ReadHalf;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

/// What the smallest letter counts, in bytes: it costs memory too.
const LETTER_MIN: usize = 256;
/// A payload's memory is made whole once this part of it has come; until then it grows.
const BELIEVED: usize = 16;

/// Reads frames and does what they say.
pub(super) struct Reader {
    hub: Arc<Hub>,
    live: Arc<Live>,
    frames: FrameReader<ReadHalf<Box<dyn Stream>>>,
    inbox: Arc<Inbox>,
    arriving: Option<Arriving>,
}

/// Letters whose payload is still to come.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    offered: Notify,
}

#[derive(Default)]
struct InboxState {
    /// Those that wait for room.
    offered: VecDeque<Offer>,
    /// Those for which there is room, and whose sender was told so.
    granted: VecDeque<Arriving>,
    /// All of them, and the one of which a part has come.
    count: usize,
}

/// A letter whose payload waits for room.
struct Offer {
    letter: Vec<u8>,
    /// Bytes of the payload.
    length: usize,
    /// What the letter itself takes.
    room: OwnedSemaphorePermit,
}

impl Reader {
    pub(super) fn new(hub: Arc<Hub>, live: Arc<Live>, frames: FrameReader<ReadHalf<Box<dyn Stream>>>) -> Self {
        Self { hub, live, frames, inbox: Arc::default(), arriving: None }
    }

    pub(super) fn inbox(&self) -> Arc<Inbox> {
        self.inbox.clone()
    }

    /// Reads until the connection is over.
    pub(super) async fn read(&mut self) -> End {
        loop {
            match self.frame().await {
                Ok(None) => {}
                Ok(Some(end)) => return end,
                // Who has taken leave need not say so twice.
                Err(Broken::Closed) => {
                    let told = self.live.outbox.lock().told.clone();
                    return told.map_or(End::Broken(Broken::Closed), End::Told);
                }
                Err(why) => return End::Broken(why),
            }
        }
    }

    /// Reads what still comes, to no end but that the other end may see ours.
    pub(super) async fn drain(&mut self) -> bool {
        self.frames.drain().await;
        true
    }

    async fn frame(&mut self) -> Result<Option<End>, Broken> {
        let head = self.frames.head().await?;
        match head.kind {
            Kind::Letter => return self.letter(head).await,
            Kind::Piece => self.piece(head.length as usize).await?,
            Kind::Go => self.go()?,
            Kind::Ping => {
                let ping = self.array(head).await?;
                self.live.outbox.lock().pong = Some(ping);
                self.live.wake();
            }
            Kind::Pong => {
                let pong = u64::from_le_bytes(self.array(head).await?);
                let mut outbox = self.live.outbox.lock();
                if let Some((_, since)) = outbox.asked.take_if(|(ping, _)| *ping == pong) {
                    self.live.traffic.measured(since.elapsed());
                }
            }
            Kind::Announcements => self.announcements(head).await?,
            Kind::Prove => {
                let challenge = self.array(head).await?;
                self.live.outbox.lock().presence = Some(challenge);
                self.live.wake();
            }
            Kind::Presence => {
                let presence = self.frames.message(head).await?;
                self.live.proven(&presence);
            }
            Kind::Farewell => return self.farewell(head).await,
            Kind::Hello | Kind::Welcome => return Err(Broken::Misplaced("a second hello or welcome came")),
        }
        Ok(None)
    }

    async fn letter(&mut self, head: Head) -> Result<Option<End>, Broken> {
        let (length, payload) = (head.length as usize, head.payload as usize);
        match rights(&self.hub, &self.live) {
            Ok(true) => {}
            Ok(false) if length <= STRANGER_LETTER_MAX && payload == 0 => {}
            Ok(false) => return Err(Broken::Misplaced("a stranger may send letters of up to 64 KiB and no payloads")),
            Err(farewell) => {
                self.live.close(farewell);
                self.frames.bytes(length + if payload > INLINE_MAX { 0 } else { payload }).await?;
                return Ok(None);
            }
        }
        if payload > INLINE_MAX {
            if self.inbox.state.lock().count >= OFFERS_MAX {
                return Err(Broken::Misplaced("more payloads were offered than may be on their way"));
            }
            let room = self.room(length.max(LETTER_MIN)).await;
            let letter = self.frames.bytes(length).await?;
            let mut state = self.inbox.state.lock();
            state.offered.push_back(Offer { letter, length: payload, room });
            state.count += 1;
            drop(state);
            self.inbox.offered.notify_one();
            return Ok(None);
        }
        let room = self.room((length + payload).max(LETTER_MIN)).await;
        let letter = self.frames.bytes(length).await?;
        let mut bytes = empty(payload);
        self.frames.fill(Arc::get_mut(&mut bytes).expect("nobody else has it yet")).await?;
        self.deliver(letter, bytes, Room::of(room));
        Ok(None)
    }

    async fn piece(&mut self, length: usize) -> Result<(), Broken> {
        if self.arriving.is_none() {
            self.arriving = self.inbox.state.lock().granted.pop_front();
        }
        let Some(arriving) = &mut self.arriving else { return Err(Broken::Misplaced("a piece came without a go")) };
        if length > arriving.length - arriving.at {
            return Err(Broken::Misplaced("a piece goes beyond its payload"));
        }
        let mut left = length;
        while left > 0 {
            let space = arriving.space(left);
            let count = space.len();
            self.frames.fill(space).await?;
            arriving.at += count;
            left -= count;
        }
        if arriving.at == arriving.length {
            let Arriving { letter, whole, rooms, .. } = self.arriving.take().expect("it was there a moment ago");
            self.inbox.state.lock().count -= 1;
            self.deliver(letter, whole.expect("a whole payload is in one piece of memory"), rooms);
        }
        Ok(())
    }

    fn go(&mut self) -> Result<(), Broken> {
        let mut outbox = self.live.outbox.lock();
        if outbox.granted >= outbox.offered.len() {
            // An end that takes leave may have taken back what it had offered.
            if outbox.farewell.is_some() {
                return Ok(());
            }
            return Err(Broken::Misplaced("a go came for nothing that was offered"));
        }
        outbox.granted += 1;
        drop(outbox);
        self.live.wake();
        Ok(())
    }

    async fn announcements(&mut self, head: Head) -> Result<(), Broken> {
        let bytes = self.frames.bytes(head.length as usize).await?;
        let mut body = BodyReader::new(&bytes);
        let announcements: Vec<Announcement> = body.list(ANNOUNCEMENTS_MAX)?;
        body.end()?;
        // Whoever is no member may speak for itself alone, and has done so in its hello.
        if self.live.is_trusted() {
            for announcement in announcements {
                // What is old or forged is no reason to part: it may have been passed on in good faith.
                let _ = self.hub.learn(announcement, Some(&self.live));
            }
        }
        Ok(())
    }

    async fn farewell(&mut self, head: Head) -> Result<Option<End>, Broken> {
        let farewell: okapi_wire::peer::link::Farewell = self.frames.message(head).await?;
        let mut outbox = self.live.outbox.lock();
        if farewell.reason != Reason::Replaced || outbox.said {
            return Ok(Some(End::Told(farewell)));
        }
        // What this end has begun it ends, and takes leave as well.
        outbox.farewell.get_or_insert_with(|| plain(Reason::Replaced, farewell.words.clone()));
        outbox.told = Some(farewell);
        drop(outbox);
        self.live.wake();
        self.live.watch.notify_one();
        Ok(None)
    }

    /// Room for a letter. While there is none nothing is read; the other end hears that this one is still there.
    async fn room(&self, bytes: usize) -> OwnedSemaphorePermit {
        if let Ok(room) = self.hub.letter_room.clone().try_acquire_many_owned(bytes as u32) {
            return room;
        }
        let signs = async {
            loop {
                self.live.traffic.give_sign();
                sleep(self.live.traffic.sign_every).await;
            }
        };
        first([Box::pin(take(&self.hub.letter_room, bytes)), Box::pin(signs)]).await
    }

    fn deliver(&self, letter: Vec<u8>, payload: Arc<[u8]>, room: Room) {
        self.hub.host.happened(Event::Letter { from: self.live.node, letter, payload, room });
    }

    async fn array<const N: usize>(&mut self, head: Head) -> Result<[u8; N], Broken> {
        assert_eq!(head.length as usize, N, "a head was let through that breaks its kind's limits");
        let mut bytes = [0; N];
        self.frames.fill(&mut bytes).await?;
        Ok(bytes)
    }
}

impl Inbox {
    /// Gives room to payloads, one after the other, and tells the other end.
    pub(super) async fn give_room(&self, hub: &Hub, live: &Live) -> End {
        loop {
            let next = self.state.lock().offered.front().map(|offer| offer.length);
            let Some(length) = next else {
                self.offered.notified().await;
                continue;
            };
            let payload_room = take(&hub.payload_room, length).await;
            let mut state = self.state.lock();
            let Offer { letter, length, room } = state.offered.pop_front().expect("only this takes them");
            let rooms = Room::of(room).and(payload_room);
            state.granted.push_back(Arriving { letter, length, at: 0, begun: Vec::new(), whole: None, rooms });
            drop(state);
            live.outbox.lock().goes += 1;
            live.wake();
        }
    }
}

async fn take(room: &Arc<Semaphore>, bytes: usize) -> OwnedSemaphorePermit {
    room.clone().acquire_many_owned(bytes as u32).await.expect("nobody closes it")
}

/// A letter whose payload comes in pieces.
struct Arriving {
    letter: Vec<u8>,
    /// Bytes of the payload.
    length: usize,
    /// Bytes of it that came.
    at: usize,
    /// The first of them.
    begun: Vec<u8>,
    /// All of them, once enough came to believe that the rest will.
    whole: Option<Arc<[u8]>>,
    rooms: Room,
}

impl Arriving {
    /// Where the next bytes belong: at most `most`, at least one.
    fn space(&mut self, most: usize) -> &mut [u8] {
        let trial = self.length.div_ceil(BELIEVED);
        if self.at < trial {
            let end = trial.min(self.at + most);
            self.begun.resize(end, 0);
            return &mut self.begun[self.at..];
        }
        let whole = self.whole.get_or_insert_with(|| {
            let mut whole = empty(self.length);
            let begun = std::mem::take(&mut self.begun);
            Arc::get_mut(&mut whole).expect("nobody else has it yet")[..begun.len()].copy_from_slice(&begun);
            whole
        });
        let end = self.length.min(self.at + most);
        &mut Arc::get_mut(whole).expect("nobody else has it yet")[self.at..end]
    }
}

fn empty(length: usize) -> Arc<[u8]> {
    repeat_n(0, length).collect()
}
