//! Waiting until what was put lies safely with others.

use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::size::{Size, counted, lasted};
use crate::view::shown;
use okapi_client::Client;
use okapi_client::group::{GroupState, GroupStatus};
use serde_json::json;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often the node is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Makes sure that there are others, before anything is stored.
///
/// # Errors
/// [`Failure`] if there are none.
pub(super) fn check(client: &Client) -> Result<(), Failure> {
    let status = client.group_status()?;
    match status.state {
        GroupState::Alone | GroupState::Parted => {
            let text = "nobody else is in the node's group, so nothing can lie safely with others; nothing was stored";
            Err(Failure::of("no-group", text))
        }
        _ => Ok(()),
    }
}

/// Waits, and shows how far it is.
///
/// # Errors
/// [`Failure`] if it will never be so, or the user has had enough; what was put is stored all the same.
pub(super) fn wait(session: &mut Session) -> Result<(), Failure> {
    let client = session.client()?;
    let stop = interrupt::watch()?;
    let (started, ticker) = (Instant::now(), session.view.ticker());
    let (said, safe) = mpsc::channel();
    let asking = client.clone();
    // It ends with its answer, or with the program.
    std::thread::spawn(move || said.send(asking.wait_until_safe()));
    loop {
        match safe.recv_timeout(LOOK_EVERY) {
            Ok(Ok(())) => break,
            Ok(Err(error)) => {
                let failure = Failure::from(error);
                return Err(Failure { message: format!("it is stored here, but {}", failure.message), ..failure });
            }
            Err(RecvTimeoutError::Timeout) => ticker.say(progress_words(&client.group_status()?)),
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::new("the waiting ended without an answer")),
        }
        if stop.is_set() {
            let text = "it is stored here, and goes on to the others; `okapi status` tells how far it is";
            return Err(Failure::of("interrupted", text));
        }
    }
    drop(ticker);
    let took = started.elapsed();
    let json = json!({"safe": true, "seconds": took.as_secs_f64()});
    session.view.report(format_args!("safe with the others after {}", lasted(took)), &json)
}

fn progress_words(status: &GroupStatus) -> String {
    let mut text = format!("{} left to be safe with the others", Size(status.own.local_bytes));
    if status.work.placing > 0 {
        text += &format!(", {} on the way", counted(u64::from(status.work.placing), "segment"));
    }
    if !status.work.paused.is_empty() {
        text += &format!("; paused: {}", shown(&status.work.paused));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;

    #[test]
    fn what_is_waited_for_is_told() {
        let mut status = pretend::member();
        assert_eq!(progress_words(&status), "512 MiB left to be safe with the others, 2 segments on the way");
        status.work.paused = "on battery".to_owned();
        assert!(progress_words(&status).ends_with("; paused: on battery"));
    }
}
