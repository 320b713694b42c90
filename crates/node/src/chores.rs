//! Work in the background, one thing after the other.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

type Chore = Box<dyn FnOnce() + Send>;

/// A thread and the chores that wait for it.
pub(crate) struct Chores {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Chore>,
    busy: bool,
    stopping: bool,
}

impl Chores {
    /// A thread with nothing to do.
    pub(crate) fn start(name: &str) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || its.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Has something done, after all that was handed in before. Once stopped, it is dropped instead.
    pub(crate) fn add(&self, chore: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state.lock();
        if !state.stopping {
            state.waiting.push_back(Box::new(chore));
            self.shared.changed.notify_all();
        }
    }

    /// Waits until nothing is left to do.
    pub(crate) fn settle(&self) {
        let mut state = self.shared.state.lock();
        while state.busy || !state.waiting.is_empty() {
            self.shared.changed.wait(&mut state);
        }
    }

    /// Drops what has not begun, and waits for what has.
    pub(crate) fn stop(&self) {
        let dropped = {
            let mut state = self.shared.state.lock();
            state.stopping = true;
            self.shared.changed.notify_all();
            std::mem::take(&mut state.waiting)
        };
        drop(dropped);
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A chore that panicked has said so; the node goes down without it.
            let _ = thread.join();
        }
    }
}

impl Drop for Chores {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(chore) = state.waiting.pop_front() {
                state.busy = true;
                parking_lot::MutexGuard::unlocked(&mut state, chore);
                state.busy = false;
                self.changed.notify_all();
            } else if state.stopping {
                return;
            } else {
                self.changed.wait(&mut state);
            }
        }
    }
}
