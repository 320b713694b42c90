//! Holding disks: who writes to one has its lease, and renews it.

use crate::disks::Inner;
use crate::fault::{DiskError, DisksError};
use crate::head::Head;
use crate::lease::{Lease, now};
use crate::limits::{LEASE, LEASE_RENEWED};
use crate::place::Number;
use crate::puts::Puts;
use okapi_client::{Generation, GetAsk, Outcome, Status, flags};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

/// Attempts to take disks whose heads others change meanwhile.
const ATTEMPTS: usize = 4;

/// A disk that is held for writing; let go when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    inner: Weak<Inner>,
    pub(crate) number: Number,
    /// The generation of the disk's head before it was taken, and that by which it was.
    pub(crate) claim: OnceLock<(Generation, Generation)>,
    /// Of the lease as it was last put.
    generation: Mutex<Generation>,
    /// Until when nobody else can have taken it: milliseconds after `began`.
    until: AtomicU64,
    began: Instant,
    fenced: AtomicBool,
}

impl Held {
    /// Makes sure that the disk is still ours, by renewing the lease if it may be over.
    pub(crate) fn check(&self, name: &str) -> Result<(), DiskError> {
        let fenced = || DiskError::Fenced { name: name.to_owned() };
        if self.fenced.load(Ordering::Acquire) {
            return Err(fenced());
        }
        if self.elapsed() < self.until.load(Ordering::Acquire) {
            return Ok(());
        }
        let inner = self.inner.upgrade().ok_or_else(fenced)?;
        self.renew(&inner).map_err(|error| match error {
            DisksError::Block(error) => DiskError::Block { name: name.to_owned(), error },
            _ => fenced(),
        })?;
        if self.fenced.load(Ordering::Acquire) { Err(fenced()) } else { Ok(()) }
    }

    /// The disk is gone, and with it the lease: there is nothing to give back.
    pub(crate) fn forget(&self) {
        self.fenced.store(true, Ordering::Release);
    }

    /// Whether somebody else has taken it.
    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Puts the lease anew, if it still is ours.
    pub(crate) fn renew(&self, inner: &Inner) -> Result<(), DisksError> {
        let mut generation = self.generation.lock();
        let asked = self.elapsed();
        let bytes = Lease::ours(inner.holder).encode(self.number);
        for _ in 0..ATTEMPTS {
            let outcomes = Puts::default()
                .whole_if(self.number.lease(), &bytes, *generation)
                .put_each(&inner.grid, flags::RELAXED)?;
            match outcomes[0].status {
                Status::Ok => {
                    *generation = outcomes[0].generation;
                    let lease = u64::try_from(LEASE.as_millis()).expect("a lease is short");
                    self.until.store(asked + lease / 2, Ordering::Release);
                    return Ok(());
                }
                // Ours all the same if a node that was killed forgot it, or an answer was lost.
                Status::Stale | Status::Absent => match inner.grid.get(self.number.lease())? {
                    None => *generation = Generation::ABSENT,
                    Some(block) => match Lease::decode(self.number, &block.bytes) {
                        Some(lease) if lease.holder == inner.holder => *generation = block.generation,
                        _ => break,
                    },
                },
                _ => break,
            }
        }
        tracing::warn!(disk = self.number.get(), "somebody else has taken the disk over");
        self.fenced.store(true, Ordering::Release);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(inner) = self.inner.upgrade() else { return };
        inner.held.lock().remove(&self.number);
        if self.fenced.load(Ordering::Acquire) {
            return;
        }
        let generation = *self.generation.lock();
        let mut puts = Puts::default();
        puts.whole_if(self.number.lease(), &[], generation);
        if let Err(error) = puts.put_each(&inner.grid, flags::RELAXED) {
            // It ends by itself, in a minute.
            tracing::debug!(disk = self.number.get(), %error, "its lease could not be given back");
        }
    }
}

impl Inner {
    /// Takes disks to write to them: all or none. They are whole, may be written to, and have no children.
    pub(crate) fn hold(self: &Arc<Self>, names: &[&str]) -> Result<Vec<(Head, Arc<Held>)>, DisksError> {
        for attempt in 0..ATTEMPTS {
            let heads = {
                let mut directory = self.directory.lock();
                // What was seen before is good enough to begin with: if it is old, the head is not where it is expected.
                if attempt > 0 || names.iter().any(|name| directory.find(name).is_err()) {
                    directory.look(&self.grid)?;
                }
                let find = |name: &&str| {
                    let head = directory.find(name)?;
                    let children = directory.children_names(head);
                    match children.is_empty() {
                        _ if head.read_only => Err(DisksError::ReadOnly { name: head.name.clone() }),
                        true => Ok(directory.get(head.number).expect("it was found just now").clone()),
                        false => Err(DisksError::HasChildren { name: head.name.clone(), children }),
                    }
                };
                match names.iter().map(find).collect::<Result<Vec<_>, _>>() {
                    Ok(heads) => heads,
                    Err(_) if attempt == 0 => continue,
                    Err(error) => return Err(error),
                }
            };
            let heads_only: Vec<&Head> = heads.iter().map(|(_, head)| head).collect();
            let held = self.lease(&heads_only)?;
            // Whoever clones one of them at this moment sees by this that it is too late.
            let claimed: Vec<(Generation, Head)> =
                heads.iter().map(|(at, head)| (*at, Head { is_parent: false, ..head.clone() })).collect();
            if self.put_heads(&claimed, flags::RELAXED)?.is_some() {
                continue;
            }
            let mut directory = self.directory.lock();
            // Whoever clones a disk that was nobody's parent says so in its head first, and would have been seen by that.
            if heads.iter().any(|(_, head)| head.is_parent) {
                directory.look(&self.grid)?;
            }
            if let Some((_, head)) = claimed.iter().find(|(_, head)| !directory.children(head).is_empty()) {
                let children = directory.children_names(head);
                return Err(DisksError::HasChildren { name: head.name.clone(), children });
            }
            for ((before, head), held) in claimed.iter().zip(&held) {
                if let Some((after, _)) = directory.get(head.number) {
                    held.claim.get_or_init(|| (*before, *after));
                }
            }
            return Ok(claimed.into_iter().map(|(_, head)| head).zip(held).collect());
        }
        Err(DisksError::Changed { name: names.first().copied().unwrap_or_default().to_owned() })
    }

    /// Takes the leases of disks: all or none.
    pub(crate) fn lease(self: &Arc<Self>, heads: &[&Head]) -> Result<Vec<Arc<Held>>, DisksError> {
        // Nobody has them, mostly: to ask first would be one more way to the node.
        let mut held = self.take(heads, &vec![Generation::ABSENT; heads.len()])?;
        let refused: Vec<usize> = (0..heads.len()).filter(|at| held[*at].is_err()).collect();
        if !refused.is_empty() {
            let again: Vec<&Head> = refused.iter().map(|at| heads[*at]).collect();
            let mut generations = Vec::with_capacity(again.len());
            // Those taken are let go again as they are dropped.
            for (head, (generation, lease)) in again.iter().zip(self.leases(&again)?) {
                if let Some(by) = lease.filter(|lease| lease.is_live(now())) {
                    return Err(DisksError::InUse { name: head.name.clone(), by: by.into() });
                }
                generations.push(generation);
            }
            for (at, taken) in refused.into_iter().zip(self.take(&again, &generations)?) {
                held[at] = taken;
            }
        }
        let all: Result<Vec<Arc<Held>>, (usize, Status)> =
            held.into_iter().enumerate().map(|(at, held)| held.map_err(|status| (at, status))).collect();
        match all {
            Ok(held) => {
                self.keep_renewing()?;
                Ok(held)
            }
            Err((at, Status::Stale)) => Err(DisksError::Changed { name: heads[at].name.clone() }),
            Err((at, status)) => {
                Err(DisksError::Refused { name: heads[at].name.clone(), what: "taking its lease", status })
            }
        }
    }

    /// Puts our leases where they are still at these generations; each, or why not.
    fn take(
        self: &Arc<Self>,
        heads: &[&Head],
        generations: &[Generation],
    ) -> Result<Vec<Result<Arc<Held>, Status>>, DisksError> {
        let asked = Instant::now();
        let lease = Lease::ours(self.holder);
        let bytes: Vec<_> = heads.iter().map(|head| lease.encode(head.number)).collect();
        let mut puts = Puts::default();
        for ((head, bytes), generation) in heads.iter().zip(&bytes).zip(generations) {
            puts.whole_if(head.number.lease(), bytes, *generation);
        }
        let outcomes = puts.put_each(&self.grid, flags::RELAXED)?;
        let take = |(head, outcome): (&&Head, &Outcome)| {
            if !outcome.status.is_ok() {
                return Err(outcome.status);
            }
            let new = Arc::new(Held {
                inner: Arc::downgrade(self),
                number: head.number,
                claim: OnceLock::new(),
                generation: Mutex::new(outcome.generation),
                until: AtomicU64::new(u64::try_from(LEASE.as_millis() / 2).expect("a lease is short")),
                began: asked,
                fenced: AtomicBool::new(false),
            });
            self.held.lock().insert(head.number, Arc::downgrade(&new));
            Ok(new)
        };
        Ok(heads.iter().zip(&outcomes).map(take).collect())
    }

    /// The leases of disks as they are, live or not.
    pub(crate) fn leases(&self, heads: &[&Head]) -> Result<Vec<(Generation, Option<Lease>)>, DisksError> {
        let asks: Vec<GetAsk> = heads.iter().map(|head| GetAsk::whole(head.number.lease())).collect();
        let mut found = vec![(Generation::ABSENT, None); heads.len()];
        self.grid.get_many(&asks, |at, outcome, bytes| {
            if outcome.status.is_ok() {
                found[at] = (outcome.generation, Lease::decode(heads[at].number, bytes));
            }
        })?;
        Ok(found)
    }

    /// Renews the leases of all that is held; the first failure.
    pub(crate) fn renew_all(&self) -> Result<(), DisksError> {
        let held: Vec<Arc<Held>> = self.held.lock().values().filter_map(Weak::upgrade).collect();
        held.iter().filter(|held| !held.is_fenced()).map(|held| held.renew(self)).fold(Ok(()), Result::and)
    }

    /// Starts the thread that renews leases, if it does not run.
    fn keep_renewing(self: &Arc<Self>) -> Result<(), DisksError> {
        let mut keeper = self.keeper.lock();
        if keeper.is_some() {
            return Ok(());
        }
        let weak = Arc::downgrade(self);
        let renew = move || {
            loop {
                std::thread::park_timeout(LEASE_RENEWED);
                let Some(inner) = weak.upgrade() else { return };
                if let Err(error) = inner.renew_all() {
                    tracing::warn!(%error, "leases of disks could not be renewed");
                }
            }
        };
        let spawned = std::thread::Builder::new().name("okapi-leases".to_owned()).spawn(renew);
        let thread = spawned.map_err(|error| DisksError::System { what: "a thread", why: error.to_string() })?;
        *keeper = Some(thread.thread().clone());
        Ok(())
    }
}
