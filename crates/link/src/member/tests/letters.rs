//! Letters and payloads, there and back.

use super::*;

#[test]
fn letters_and_payloads_of_every_size_come_whole() {
    let (one, other) = (Node::new(1), Node::new(2));
    one.knows(&other);
    let sizes = [0, 1, 255, 65_535, 65_536, 65_537, 1 << 20, (2 << 20) + 7, PAYLOAD_MAX];
    for (at, size) in sizes.into_iter().enumerate() {
        one.links.send(other.id(), vec![at as u8; at * 1000], pattern(size));
    }
    let mut sizes: Vec<usize> = sizes.to_vec();
    while !sizes.is_empty() {
        let (letter, payload) = other.letter(&one);
        assert_eq!(payload, pattern(payload.len()), "a payload of {} bytes", payload.len());
        sizes.retain(|size| *size != payload.len());
        assert!(letter.iter().all(|byte| usize::from(*byte) * 1000 == letter.len()));
    }
    // The other one answers on the same connection: it was never told an address.
    other.links.send(one.id(), vec![7; LETTER_MAX], Arc::default());
    assert_eq!(one.letter(&other).0, vec![7; LETTER_MAX]);
    let view = &other.links.views()[0];
    assert!(!view.connection.as_ref().unwrap().dialled);
    assert_eq!(view.name.as_deref(), Some("node 1"));
}
