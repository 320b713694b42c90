//! Who may come in, and what for: pinned keys, strangers, those who have parted, other versions.

use super::raw::{Raw, RawListener};
use super::*;
use okapi_wire::Message;
use okapi_wire::peer::link::{Hello, Kind, Reason};

#[test]
fn an_address_of_another_node_is_told_with_both_keys() {
    let (one, other, wrong) = (Node::new(1), Node::new(2), Node::new(3));
    one.links.hint(other.id(), &[wrong.address()]);
    one.say(&other, b"a secret");
    let why = one.host.refused(other.id());
    assert!(why.contains(&other.id().to_string()) && why.contains(&wrong.id().to_string()), "{why}");
    // The letter waits for the right address, and nobody else has seen it.
    one.links.hint(other.id(), &[other.address()]);
    assert_eq!(other.letter(&one).0, b"a secret");
    assert!(!wrong.host.has(|event| matches!(event, Event::Letter { .. } | Event::Up { .. })));
}

#[test]
fn of_several_addresses_the_one_that_is_the_node_is_found() {
    let (one, other, wrong) = (Node::new(1), Node::new(2), Node::new(3));
    // One is another node, one is nobody, one is no node at all and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hints = [
        format!("tcp://{}", silent.local_addr().unwrap()),
        format!("tcp://{nobody}"),
        wrong.address(),
        other.address(),
    ];
    one.links.hint(other.id(), &hints);
    one.say(&other, b"found");
    assert_eq!(other.letter(&one).0, b"found");
    assert_eq!(one.host.up(other.id()), other.address());
}

#[test]
fn a_hello_that_speaks_of_another_node_is_not_believed() {
    let one = Node::new(1);
    let mut raw = Raw::dial(2, &one);
    let hello = Hello { announcement: one.links.announcement(), ..raw.hello() };
    raw.say(Kind::Hello, |body| hello.encode(body));
    raw.closed();
    assert!(!one.host.has(|event| matches!(event, Event::Up { .. })));
}

#[test]
fn a_stranger_may_send_small_letters_and_no_more() {
    let one = Node::among(1, Standing::Stranger, |_, _| {});
    let mut raw = Raw::dial(2, &one);
    raw.enter();
    raw.letter(&[5; 64 << 10], 0);
    let letter = one.host.wait("a stranger's letter", |event| match event {
        Event::Letter { letter, .. } => Some(letter.clone()),
        _ => None,
    });
    assert_eq!(letter, [5; 64 << 10]);
    for (letter, payload) in [(65_537, 0), (1, 1), (1, 1 << 20)] {
        let mut raw = Raw::dial(3, &one);
        raw.enter();
        raw.letter(&vec![0; letter], payload);
        let farewell = raw.farewell();
        assert_eq!(farewell.reason, Reason::Malformed, "{letter} and {payload} bytes: {}", farewell.words);
        raw.closed();
    }
    assert!(!one.host.has(|event| matches!(event, Event::Letter { .. })));
}

#[test]
fn strangers_are_few_and_do_not_stay() {
    let one = Node::among(1, Standing::Stranger, |_, tuning| {
        tuning.strangers = 2;
        // Three handshakes must fit into it, on a machine that has much else to do.
        tuning.stranger_time = Duration::from_secs(2);
    });
    let mut first = Raw::dial(2, &one);
    first.enter();
    let mut second = Raw::dial(3, &one);
    second.enter();
    let mut third = Raw::dial(4, &one);
    third.greet();
    assert_eq!(third.farewell().reason, Reason::Crowded);
    assert_eq!(first.farewell().reason, Reason::Overstayed);
    assert_eq!(second.farewell().reason, Reason::Overstayed);
    one.host.down(first.id());
    one.host.down(second.id());
    // Their places are free again, and nothing is kept of them.
    let mut fourth = Raw::dial(5, &one);
    fourth.enter();
    assert_eq!(one.links.views().len(), 1);
}

#[test]
fn a_stranger_who_joins_stays_and_is_a_member_at_once() {
    let one = Node::among(1, Standing::Stranger, |_, tuning| tuning.stranger_time = Duration::from_millis(300));
    let known = Node::new(9);
    one.host.set(known.id(), Standing::Member);
    one.knows(&known);
    let mut raw = Raw::dial(2, &one);
    raw.enter();
    raw.letter(b"please", 0);
    one.host.wait("the request", |event| matches!(event, Event::Letter { .. }).then_some(()));
    one.host.set(raw.id(), Standing::Member);
    one.links.review();
    // It is told the addresses of all members, and its own is kept.
    assert!(!raw.frame_of(Kind::Announcements).is_empty());
    one.host.wait("its announcement", |event| match event {
        Event::Announced(announcement) if announcement.node == raw.id() => Some(()),
        _ => None,
    });
    raw.letter(b"larger", 1 << 20);
    raw.frame_of(Kind::Go);
}

#[test]
fn a_stranger_who_joins_while_it_says_hello_is_a_member_at_once() {
    let one = Node::among(1, Standing::Stranger, |_, _| {});
    let raw_id = super::super::identity::Identity::from_seed(&[2; 32]).unwrap().node();
    one.host.soon.lock().insert(raw_id, Standing::Member);
    let mut raw = Raw::dial(2, &one);
    raw.enter();
    one.host.wait("its announcement", |event| match event {
        Event::Announced(announcement) if announcement.node == raw_id => Some(()),
        _ => None,
    });
    raw.letter(b"larger", 1 << 20);
    raw.frame_of(Kind::Go);
}

#[test]
fn who_has_parted_is_turned_away_in_words() {
    let (one, other) = (Node::new(1), Node::new(2));
    other.host.set(one.id(), Standing::Parted);
    one.knows(&other);
    one.say(&other, b"let me in");
    assert!(one.host.refused(other.id()).contains("parted"));
    assert!(!other.host.has(|event| matches!(event, Event::Letter { .. } | Event::Up { .. })));
}

#[test]
fn who_parts_while_connected_is_told() {
    let (one, other) = (Node::new(1), Node::new(2));
    one.knows(&other);
    one.say(&other, b"hello");
    other.letter(&one);
    other.host.set(one.id(), Standing::Parted);
    other.links.review();
    assert!(one.host.refused(other.id()).contains("parted"));
    one.host.down(other.id());
    other.host.down(one.id());
}

#[test]
fn other_versions_are_told_on_both_sides() {
    let one = Node::new(1);
    let other = Node::with(2, |_, tuning| tuning.versions = (2, 4));
    one.knows(&other);
    one.say(&other, b"hello");
    let (here, there) = (one.host.refused(other.id()), other.host.refused(one.id()));
    assert!(here.contains("2 to 4") && here.contains("1 to 1"), "{here}");
    assert!(there.contains("1 to 1") && there.contains("2 to 4"), "{there}");
    // One that knows both is spoken to.
    let both = Node::with(3, |_, tuning| tuning.versions = (1, 4));
    one.knows(&both);
    one.say(&both, b"hello");
    both.letter(&one);
}

#[test]
fn keys_of_other_kinds_and_no_key_at_all_get_no_hello() {
    let one = Node::new(1);
    let config = rustls::ClientConfig::builder_with_provider(super::super::identity::provider());
    let config = config.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let verifier = super::super::tls::AnyNode::any();
    let mut config = config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
    config.alpn_protocols = vec![Protocol::Member.name().to_vec()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let target = one.links.targets()[0];
    let read = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(target).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("okapi").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        // The client may learn only afterwards that it was not enough.
        let mut stream = connector.connect(name, stream).await?;
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 16]).await
    });
    assert!(read.is_err(), "{read:?}");
}

#[test]
fn what_is_no_node_is_told_in_the_view() {
    let one = Node::with(1, |_, tuning| tuning.handshake = Duration::from_millis(100));
    let listener = RawListener::new(2);
    one.links.hint(listener.id(), &[listener.address()]);
    one.links.send(listener.id(), b"hello".to_vec(), Arc::default());
    // It proves its key, and then says something else.
    let mut raw = listener.accept();
    raw.say(Kind::Ping, |body| body.u64(1));
    raw.closed();
    let failure = one.links.views()[0].failure.clone();
    assert!(failure.as_ref().is_none_or(|failure| failure.contains("no hello")), "{failure:?}");
}
