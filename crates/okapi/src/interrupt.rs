//! Ctrl-C, for commands that have something to tidy up: the first asks them to stop, the second ends them at once.

use crate::failure::Failure;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The exit code of a program ended by Ctrl-C.
const ENDED_BY_SIGINT: i32 = 130;

static WATCHED: Mutex<Option<Arc<AtomicBool>>> = Mutex::new(None);

/// Whether the user has asked to stop.
#[derive(Debug, Clone)]
pub(crate) struct Flag(Arc<AtomicBool>);

impl Flag {
    /// Whether the user has asked to stop since this was made.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// From now on Ctrl-C and SIGTERM set a flag instead of ending the program.
///
/// # Errors
/// [`Failure`] if the system does not let us.
pub(crate) fn watch() -> Result<Flag, Failure> {
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(flag) = &*watched {
        // A shell goes on after the command that was stopped.
        flag.store(false, Ordering::Relaxed);
        return Ok(Flag(flag.clone()));
    }
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order, or the first signal would end the program already.
        flag::register_conditional_shutdown(signal, ENDED_BY_SIGINT, flag.clone())
            .and_then(|_| flag::register(signal, flag.clone()))
            .map_err(|error| Failure::io("cannot watch for signals", &error))?;
    }
    *watched = Some(flag.clone());
    Ok(Flag(flag))
}
