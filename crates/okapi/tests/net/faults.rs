//! That the network does what the other tests go by.

use crate::lab::Lab;
use crate::packets::{Capture, Sighting};
use crate::relay::Relay;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How long a connection that is cut off is waited for.
const SILENCE: Duration = Duration::from_millis(300);

#[test]
fn machines_are_cut_off_and_come_back_and_all_they_say_is_caught() {
    let Some(lab) = Lab::new() else { return };
    let capture = Capture::start(&lab);
    let (one, one_at) = lab.connect();
    let (two, two_at) = lab.connect();
    let (three, three_at) = lab.connect();
    let door = two.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 7)).unwrap());
    let place = SocketAddr::from((two_at, 7));
    let reach = || TcpStream::connect_timeout(&place, SILENCE);
    std::thread::spawn(move || {
        for stream in door.incoming() {
            let mut stream = stream.unwrap();
            let mut text = Vec::new();
            std::thread::spawn(move || stream.read_to_end(&mut text).and_then(|_| stream.write_all(&text)));
        }
    });
    let is_reached = |from: &crate::lab::Namespace| from.enter(reach).is_ok();
    assert!(is_reached(&one) && is_reached(&three) && is_reached(&two));
    lab.mute(two_at, one_at);
    assert!(!is_reached(&one) && is_reached(&three), "what two says does not come to one");
    lab.heal(Some(three_at));
    assert!(!is_reached(&one));
    lab.heal(Some(one_at));
    lab.cut(two_at);
    assert!(!is_reached(&one) && !is_reached(&three));
    lab.heal(None);
    lab.divide(&[one_at], &[two_at, three_at]);
    assert!(!is_reached(&one) && is_reached(&three));
    lab.heal(None);
    lab.mute_all(two_at);
    assert!(!is_reached(&one));
    lab.heal(None);

    // Through a relay, and slowly.
    let relay = Relay::new(&lab, place, Duration::from_millis(60));
    let begun = Instant::now();
    let said = one.enter(|| {
        let mut stream = TcpStream::connect(relay.address).unwrap();
        stream.write_all(b"a secret that is told").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        text
    });
    assert_eq!((said.as_slice(), relay.connections()), (b"a secret that is told".as_slice(), 1));
    assert!(begun.elapsed() >= 2 * Duration::from_millis(60));

    // Somebody asks the world outside.
    one.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"who is there?", "192.0.2.1:53").unwrap());
    let packets = capture.stop();
    let wanted = [("told".to_owned(), b"a secret that is told".to_vec()), ("untold".to_owned(), b"another".to_vec())];
    let router = |of: Ipv4Addr| Ipv4Addr::new(10, 7, of.octets()[2], 1);
    let seen = |from, to| Sighting { what: "told".to_owned(), from, to };
    let all = packets.find(&wanted);
    for one_way in [
        seen(one_at, router(two_at)),
        seen(router(two_at), one_at),
        seen(router(two_at), two_at),
        seen(two_at, router(two_at)),
    ] {
        assert!(all.contains(&one_way), "{one_way:?}: {all:?}");
    }
    assert_eq!(all.len(), 4, "{all:?}");
    let strangers = packets.strangers(&[one_at, two_at, three_at, router(two_at)]);
    let asked = strangers.iter().filter(|words| words.contains("to 192.0.2.1")).count();
    let answered = strangers.iter().filter(|words| words.starts_with("protocol 1 from 10.7.1.1")).count();
    assert!(asked >= 1 && asked + answered == strangers.len(), "{strangers:?}");
}
