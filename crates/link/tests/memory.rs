//! What only links within a process do: sleep by a bell that is rung for sleepers alone.
#![allow(missing_docs, reason = "tests")]

use okapi_link::{Interest, Link, memory};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

/// Long enough that only a lost wake-up ever waits it out.
const LOST: Option<Duration> = Some(Duration::from_secs(60));

fn is_rung(link: &dyn Link) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(link.fd(), PollFlags::IN)], Some(&now)).unwrap() == 1
}

#[test]
fn the_bell_is_rung_once_for_a_sleeper_and_never_for_the_wakeful() {
    let (mut one, mut other) = memory::pair(64).unwrap();
    for _ in 0..10 {
        assert_eq!(one.send(&[IoSlice::new(b"ab")]).unwrap(), 2);
        assert_eq!(other.receive(&mut [0; 64]).unwrap(), 2);
        assert!(!is_rung(&one) && !is_rung(&other));

        assert!(other.about_to_wait(Interest::Receive));
        assert!(!is_rung(&other));
        assert_eq!(one.send(&[IoSlice::new(b"ab")]).unwrap(), 2);
        assert_eq!(one.send(&[IoSlice::new(b"cd")]).unwrap(), 2);
        assert!(is_rung(&other) && !is_rung(&one));
        assert!(!other.about_to_wait(Interest::Receive), "there is something to do now");
        assert_eq!(other.receive(&mut [0; 64]).unwrap(), 4);
        assert!(other.about_to_wait(Interest::Receive));
        assert!(!is_rung(&other), "the ring was heard");
        // A wait that ends without a ring leaves no word behind that somebody sleeps.
        assert!(!other.wait(Interest::Receive, Some(Duration::ZERO)).unwrap());
    }
}

#[test]
fn a_sleeping_sender_is_woken_for_worthy_room_only() {
    let (mut one, mut other) = memory::pair(64).unwrap();
    assert_eq!(one.send(&[IoSlice::new(&[7; 100])]).unwrap(), 64);
    assert_eq!(one.send(&[IoSlice::new(b"x")]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(one.about_to_wait(Interest::Send));
    assert_eq!(other.receive(&mut [0; 15]).unwrap(), 15);
    assert!(!is_rung(&one));
    assert_eq!(other.receive(&mut [0; 1]).unwrap(), 1);
    assert!(is_rung(&one));
    assert_eq!(one.send(&[IoSlice::new(&[7; 100])]).unwrap(), 16);
}

/// Each end sends a byte only after it has received one, and sleeps between: a lost wake-up stops both.
#[test]
fn sleepers_wake_each_other_without_end() {
    for capacity in [1, 3, 64] {
        let (mut one, mut other) = memory::pair(capacity).unwrap();
        let play = |link: &mut dyn Link, serves: bool| {
            for round in 0..15_000u32 {
                let byte = [round as u8];
                if serves || round > 0 {
                    assert_eq!(link.send(&[IoSlice::new(&byte)]).unwrap(), 1);
                }
                let mut into = [0; 1];
                while let Err(error) = link.receive(&mut into) {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    // Both ways of waiting: by itself, and as an event loop does.
                    if round % 2 == 0 {
                        assert!(link.wait(Interest::Receive, LOST).unwrap(), "a wake-up was lost");
                    } else if link.about_to_wait(Interest::Receive) {
                        let long = Timespec { tv_sec: 60, tv_nsec: 0 };
                        let fd = PollFd::from_borrowed_fd(link.fd(), PollFlags::IN);
                        assert_eq!(poll(&mut [fd], Some(&long)), Ok(1), "a wake-up was lost");
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(move || play(&mut other, false));
            play(&mut one, true);
        });
    }
}
