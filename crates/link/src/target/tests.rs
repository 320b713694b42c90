use super::*;
use crate::tcp::TcpListen;
use crate::unix::UnixListen;

const SOON: Duration = Duration::from_secs(20);

fn tcp(host: &str, port: u16) -> Target {
    Target::Tcp { host: host.into(), port }
}

#[test]
fn every_form_is_read_and_comes_back() {
    for (text, target, shown) in [
        ("unix:/run/okapi.sock", Target::Unix("/run/okapi.sock".into()), "unix:/run/okapi.sock"),
        ("unix:///run/okapi.sock", Target::Unix("/run/okapi.sock".into()), "unix:/run/okapi.sock"),
        ("unix:okapi.sock", Target::Unix("okapi.sock".into()), "unix:okapi.sock"),
        ("./okapi.sock", Target::Unix("./okapi.sock".into()), "unix:./okapi.sock"),
        ("/a:b/c", Target::Unix("/a:b/c".into()), "unix:/a:b/c"),
        ("tcp://localhost:7070", tcp("localhost", 7070), "tcp://localhost:7070"),
        ("127.0.0.1:0", tcp("127.0.0.1", 0), "tcp://127.0.0.1:0"),
        ("tcp://[::1]:65535", tcp("::1", 65535), "tcp://[::1]:65535"),
        ("my_host-1.lan:80", tcp("my_host-1.lan", 80), "tcp://my_host-1.lan:80"),
    ] {
        let read: Target = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(read, target, "{text}");
        assert_eq!(read.to_string(), shown, "{text}");
        assert_eq!(shown.parse::<Target>().unwrap(), target, "{shown}");
    }
}

#[test]
fn other_texts_say_what_is_wrong() {
    let owned = |text: &str| text.to_owned();
    for (text, error) in [
        ("", TargetError::Unclear(owned(""))),
        ("okapi", TargetError::Unclear(owned("okapi"))),
        ("http://host:80", TargetError::Scheme(owned("http://host:80"))),
        ("unix:", TargetError::Path(owned("unix:"))),
        ("unix:/a\0b", TargetError::Path(owned("unix:/a\0b"))),
        ("tcp://host", TargetError::Port(owned("tcp://host"))),
        ("tcp://host:", TargetError::Port(owned("tcp://host:"))),
        ("host:65536", TargetError::Port(owned("host:65536"))),
        ("host:+80", TargetError::Port(owned("host:+80"))),
        ("tcp://:80", TargetError::Host(owned("tcp://:80"))),
        ("tcp://::1:80", TargetError::Host(owned("tcp://::1:80"))),
        ("tcp://[zz]:80", TargetError::Host(owned("tcp://[zz]:80"))),
        ("ho st:80", TargetError::Host(owned("ho st:80"))),
        ("ho\u{1b}st:80", TargetError::Host(owned("ho\u{1b}st:80"))),
    ] {
        assert_eq!(text.parse::<Target>(), Err(error.clone()), "{text:?}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn a_listening_target_is_connected_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.sock");
    let _unix = UnixListen::bind(&path, 0o600).unwrap();
    let tcp_listen = TcpListen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    for target in [Target::Unix(path), tcp("127.0.0.1", tcp_listen.local_addr().port())] {
        assert!(target.connect(SOON).is_ok(), "{target}");
    }
}

#[test]
fn where_nobody_listens_the_error_names_the_place_and_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let absent = Target::Unix(dir.path().join("absent.sock"));
    let error = absent.connect(SOON).err().unwrap();
    assert!(matches!(error, ConnectError::NoSocket { .. }), "{error}");
    assert!(error.to_string().contains("absent.sock") && error.to_string().contains("okapi up"), "{error}");

    let file = dir.path().join("file");
    std::fs::write(&file, b"not a socket").unwrap();
    let error = Target::Unix(file).connect(SOON).err().unwrap();
    assert!(matches!(error, ConnectError::NotASocket { .. }), "{error}");

    let long = Target::Unix(dir.path().join("x".repeat(PATH_MAX)));
    let error = long.connect(SOON).err().unwrap();
    assert!(matches!(error, ConnectError::LongPath { bytes, .. } if bytes > PATH_MAX), "{error}");

    // A port that was just free: bound, and given back.
    let port = TcpListen::bind("127.0.0.1:0".parse().unwrap()).unwrap().local_addr().port();
    let error = tcp("127.0.0.1", port).connect(SOON).err().unwrap();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}
