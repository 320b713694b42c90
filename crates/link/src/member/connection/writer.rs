//! What goes out on a connection.
//!
//! Payloads go in pieces, and before each piece whatever else waits: a letter waits for one piece at most, besides what
//! the system has taken already.

use super::{End, say};
use crate::member::carrier::Stream;
use crate::member::correspondent::Correspondent;
use crate::member::first::first;
use crate::member::frames::{Broken, frame, write_all};
use crate::member::hub::Hub;
use crate::member::live::{Live, Offered};
use crate::member::queue::Letter;
use okapi_wire::Message;
use okapi_wire::peer::announce::ANNOUNCEMENT_BYTES_MAX;
use okapi_wire::peer::link::{
    ANNOUNCEMENTS_BYTES_MAX, ANNOUNCEMENTS_MAX, Farewell, HEAD_BYTES, Head, Kind, OFFERS_MAX, Reason,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::time::{Instant, sleep};

/// Bytes of small frames that are gathered into one write.
const BATCH: usize = 64 << 10;
/// Bytes of a piece: with its head a whole number of TLS records.
const PIECE: usize = (256 << 10) - HEAD_BYTES;
/// Letters wait for the limit of the upload only when it is that far overdrawn: payloads wait before they do.
const OVERDRAWN: Duration = Duration::from_secs(1);

/// Writes whatever there is to write.
pub(super) struct Writer {
    hub: Arc<Hub>,
    live: Arc<Live>,
    whom: Arc<Correspondent>,
    stream: WriteHalf<Box<dyn Stream>>,
    batch: Vec<u8>,
    pings: u64,
    /// A frame is half written.
    torn: bool,
}

/// A part of a payload that is to be written now.
struct Piece {
    payload: Arc<[u8]>,
    at: usize,
    length: usize,
}

impl Writer {
    pub(super) fn new(
        hub: Arc<Hub>,
        live: Arc<Live>,
        whom: Arc<Correspondent>,
        stream: WriteHalf<Box<dyn Stream>>,
    ) -> Self {
        Self { hub, live, whom, stream, batch: Vec::new(), pings: 0, torn: false }
    }

    /// Writes until the connection is over.
    pub(super) async fn write(&mut self) -> End {
        match self.write_on().await {
            Ok(end) => end,
            Err(why) => End::Broken(Broken::Io(why)),
        }
    }

    /// Says why this end closes, if a frame can still be said, and whether it was.
    pub(super) async fn leave(&mut self, farewell: &Farewell) -> bool {
        !self.torn && say(&mut self.stream, farewell).await.is_ok()
    }

    async fn write_on(&mut self) -> std::io::Result<End> {
        loop {
            let wait = self.live.traffic.upload_wait();
            self.batch.clear();
            self.control();
            let leaving = self.live.outbox.lock().farewell.clone();
            match &leaving {
                None if wait < OVERDRAWN => self.letters(),
                None => {}
                Some(_) => self.unbegin(),
            }
            let finishing = leaving.as_ref().is_none_or(|farewell| farewell.reason == Reason::Replaced);
            let piece = if finishing && wait.is_zero() { self.piece() } else { None };
            if !self.batch.is_empty() || piece.is_some() {
                self.put(piece.as_ref()).await?;
                continue;
            }
            self.stream.flush().await?;
            if let Some(farewell) = leaving.filter(|farewell| self.is_done(farewell)) {
                return self.part(farewell).await;
            }
            self.set_busy(false);
            let limited = !wait.is_zero();
            let timer = async { if limited { sleep(wait).await } else { std::future::pending().await } };
            first([Box::pin(self.live.traffic.wake.notified()), Box::pin(timer)]).await;
        }
    }

    /// Puts the batch and a piece into the stream.
    async fn put(&mut self, piece: Option<&Piece>) -> std::io::Result<()> {
        self.set_busy(true);
        self.torn = true;
        let mut sent = self.batch.len();
        match piece {
            None => write_all(&mut self.stream, &[&self.batch]).await?,
            Some(piece) => {
                let head = Head { kind: Kind::Piece, length: piece.length as u32, payload: 0 }.to_bytes();
                let bytes = &piece.payload[piece.at..piece.at + piece.length];
                write_all(&mut self.stream, &[&self.batch, &head, bytes]).await?;
                sent += HEAD_BYTES + piece.length;
                self.sent_piece(piece);
            }
        }
        self.torn = false;
        self.live.traffic.sent(sent);
        Ok(())
    }

    /// Says goodbye. An end that was replaced waits for the other's goodbye, since that may still send.
    async fn part(&mut self, farewell: Farewell) -> std::io::Result<End> {
        let told = {
            let mut outbox = self.live.outbox.lock();
            outbox.said = true;
            outbox.told.clone()
        };
        say(&mut self.stream, &farewell).await?;
        match told {
            Some(told) => Ok(End::Told(told)),
            None if farewell.reason == Reason::Replaced => std::future::pending().await,
            None => Ok(End::Said(farewell)),
        }
    }

    /// Whether nothing that was begun is left.
    fn is_done(&self, farewell: &Farewell) -> bool {
        farewell.reason != Reason::Replaced || self.live.outbox.lock().offered.is_empty()
    }

    fn set_busy(&self, busy: bool) {
        let mut outbox = self.live.outbox.lock();
        let changed = outbox.busy != busy;
        outbox.busy = busy;
        let watch = changed && busy;
        drop(outbox);
        if watch {
            self.live.watch.notify_one();
        }
    }

    /// Frames that keep the connection in order.
    fn control(&mut self) {
        let out = &mut self.batch;
        let mut outbox = self.live.outbox.lock();
        for _ in 0..std::mem::take(&mut outbox.goes) {
            frame(out, Kind::Go, |_| {});
        }
        let sign_of_life = self.live.traffic.takes_sign().then_some([0; 8]);
        if let Some(pong) = outbox.pong.take().or(sign_of_life) {
            frame(out, Kind::Pong, |body| body.bytes(&pong));
        }
        for challenge in std::mem::take(&mut outbox.prove) {
            frame(out, Kind::Prove, |body| body.bytes(&challenge));
        }
        let patience = self.hub.tuning.patience;
        // Most letters are answered, and need no ping to see that they came.
        let unanswered = self.live.traffic.unanswered().is_some_and(|since| since >= patience / 8);
        let waits = outbox.busy || !outbox.offered.is_empty() || unanswered;
        let due = outbox.pinged.is_none_or(|at| waits && at.elapsed() >= patience / 2);
        if due && outbox.asked.is_none() {
            self.pings += 1;
            frame(out, Kind::Ping, |body| body.u64(self.pings));
            outbox.pinged = Some(Instant::now());
            outbox.asked = Some((self.pings, Instant::now()));
            self.live.watch.notify_one();
        }
        let challenge = outbox.presence.take();
        let news = std::mem::take(&mut outbox.news);
        drop(outbox);
        if let Some(challenge) = challenge {
            frame(out, Kind::Presence, |body| self.hub.presence(&challenge).encode(body));
        }
        let mut news: Vec<_> = news.iter().filter_map(|node| self.hub.announced(node)).collect();
        while !news.is_empty() {
            let most = ((ANNOUNCEMENTS_BYTES_MAX - 4) / ANNOUNCEMENT_BYTES_MAX).min(ANNOUNCEMENTS_MAX);
            let part: Vec<_> = news.drain(..news.len().min(most)).collect();
            frame(out, Kind::Announcements, |body| body.list(&part));
        }
    }

    /// Letters that can go at once, and the heads of those whose payload will need a go.
    fn letters(&mut self) {
        while self.batch.len() < BATCH {
            let Some(Letter { letter, payload, .. }) = self.whom.next(&self.live, false, &self.hub.tuning) else {
                break;
            };
            put_letter(&mut self.batch, &letter, payload.len());
            self.batch.extend_from_slice(&payload);
            self.live.traffic.said();
        }
        while self.batch.len() < BATCH && self.live.outbox.lock().offered.len() < OFFERS_MAX {
            let Some(letter) = self.whom.next(&self.live, true, &self.hub.tuning) else { break };
            put_letter(&mut self.batch, &letter.letter, letter.payload.len());
            self.live.traffic.said();
            self.live.outbox.lock().offered.push_back(Offered { letter, sent: 0 });
        }
    }

    /// Gives back the letters whose payload has not been begun: another connection takes them.
    fn unbegin(&self) {
        let mut outbox = self.live.outbox.lock();
        let begun = outbox.offered.iter().take_while(|offered| offered.sent > 0).count();
        let waiting = outbox.offered.split_off(begun);
        outbox.granted = outbox.granted.min(begun);
        drop(outbox);
        if !waiting.is_empty() {
            self.whom.put_back(waiting.into_iter());
        }
    }

    /// The next part of the first payload, if the other end has room for it.
    fn piece(&self) -> Option<Piece> {
        let outbox = self.live.outbox.lock();
        let offered = outbox.offered.front().filter(|_| outbox.granted > 0)?;
        let payload = offered.letter.payload.clone();
        let length = (payload.len() - offered.sent).min(self.live.traffic.portion(PIECE));
        Some(Piece { payload, at: offered.sent, length })
    }

    fn sent_piece(&self, piece: &Piece) {
        let mut outbox = self.live.outbox.lock();
        let Some(offered) = outbox.offered.front_mut() else { return };
        offered.sent += piece.length;
        self.live.traffic.said();
        if offered.sent == piece.payload.len() {
            outbox.offered.pop_front();
            outbox.granted -= 1;
        }
    }
}

fn put_letter(out: &mut Vec<u8>, letter: &[u8], payload: usize) {
    let head = Head { kind: Kind::Letter, length: letter.len() as u32, payload: payload as u32 };
    out.extend_from_slice(&head.to_bytes());
    out.extend_from_slice(letter);
}
