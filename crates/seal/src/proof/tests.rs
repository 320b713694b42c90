use super::*;
use crate::hash;

const KIB: usize = 1024;

fn shard(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|at| (at.wrapping_mul(at | 1) >> 7) as u8).collect()
}

fn seed(number: u64) -> Digest {
    hash(&number.to_le_bytes())
}

fn every_leaf(shard_bytes: usize) -> Vec<u32> {
    (0..).take(leaf_count(shard_bytes as u64) as usize).collect()
}

#[test]
fn every_leaf_of_every_form_of_tree_leads_to_the_hash() {
    let around = |bytes: usize| [bytes - 1, bytes, bytes + 1];
    let few = (1..=17).flat_map(|leaves| around(leaves * KIB));
    for bytes in [0, 1, 63, 64, 65].into_iter().chain(few).chain(around(64 * KIB)).chain([100_000]) {
        let (shard, shard_bytes) = (shard(bytes), bytes as u64);
        let root = hash(&shard);
        let leaves = every_leaf(bytes);
        let proofs = prove_all(&shard, &leaves).unwrap();
        for (&leaf, proof) in leaves.iter().zip(&proofs) {
            proof.verify(&root, shard_bytes, leaf).unwrap();
            let from = leaf as usize * KIB;
            assert_eq!(proof.leaf(), &shard[from..(from + KIB).min(bytes)]);
            assert_eq!(prove(&shard, leaf).unwrap(), *proof, "{bytes} bytes, {leaf}");
            assert_eq!(Proof::from_bytes(&proof.to_bytes()).unwrap(), *proof);
            assert!(proof.to_bytes().len() <= PROOF_BYTES_MAX);
            // It is the proof of this leaf only, and of this root.
            for other in leaves.iter().filter(|&&other| other != leaf) {
                assert!(proof.verify(&root, shard_bytes, *other).is_err(), "{bytes} bytes, {leaf} as {other}");
            }
            assert_eq!(proof.verify(&seed(0), shard_bytes, leaf), Err(ProofError::Wrong { leaf }));
        }
        let leaf = leaves.len() as u32;
        let none = ProofError::NoSuchLeaf { shard_bytes, leaf };
        assert_eq!(prove(&shard, leaf), Err(none));
        assert_eq!(proofs[0].verify(&root, shard_bytes, leaf), Err(none));
    }
}

#[test]
fn leaves_are_proven_in_the_order_asked_and_as_often() {
    let shard = shard(37 * KIB + 5);
    let asked = [30, 2, 37, 2, 0, 31];
    let proofs = prove_all(&shard, &asked).unwrap();
    for (leaf, proof) in asked.into_iter().zip(proofs) {
        assert_eq!(proof, prove(&shard, leaf).unwrap());
    }
    assert!(prove_all(&shard, &[]).unwrap().is_empty());
    assert!(prove_all(&shard, &[3, u32::MAX]).is_err());
}

#[test]
fn every_flipped_bit_is_refused() {
    let shard = shard(11 * KIB + 77);
    let root = hash(&shard);
    for leaf in [0, 7, 8, 10, 11] {
        let good = prove(&shard, leaf).unwrap().to_bytes();
        for at in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            let verified = Proof::from_bytes(&bad).and_then(|proof| proof.verify(&root, shard.len() as u64, leaf));
            assert!(verified.is_err(), "leaf {leaf}, bit {at}");
        }
    }
}

#[test]
fn a_changed_shard_proves_only_what_was_not_changed_at_all() {
    let good = shard(20 * KIB);
    let root = hash(&good);
    let mut bad = good.clone();
    bad[5 * KIB + 100] ^= 4;
    // Even the leaves that are whole: their holder no longer has the hash of the one that is not.
    for leaf in every_leaf(bad.len()) {
        let verified = prove(&bad, leaf).unwrap().verify(&root, bad.len() as u64, leaf);
        assert_eq!(verified, Err(ProofError::Wrong { leaf }));
    }
}

#[test]
fn another_length_is_another_tree() {
    let shard = shard(9 * KIB);
    let proof = prove(&shard, 3).unwrap();
    let expected =
        |bytes, siblings| ProofError::Shape { leaf: 3, bytes: KIB, siblings: 4, expected: (bytes, siblings) };
    let verify = |shard_bytes: usize| proof.verify(&hash(&shard), shard_bytes as u64, 3);
    assert_eq!(verify(9 * KIB), Ok(()));
    assert_eq!(verify(8 * KIB), Err(expected(KIB, 3)));
    assert_eq!(verify(17 * KIB), Err(expected(KIB, 5)));
    assert_eq!(verify(3 * KIB + 1), Err(expected(1, 2)));
    assert_eq!(verify(3 * KIB), Err(ProofError::NoSuchLeaf { shard_bytes: 3072, leaf: 3 }));
    assert!(proof.verify(&hash(&shard), u64::MAX, 3).is_err());
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let shard = shard(2 * KIB + 2);
    let parts: Vec<_> = [0, KIB, 2 * KIB].map(|at| subtree(&shard[at..(at + KIB).min(shard.len())], at as u64)).into();
    let pair = merge_subtrees_non_root(&parts[0], &parts[1], Mode::Hash);
    let sent = |leaf| prove(&shard, leaf).unwrap().to_bytes();
    assert_eq!(sent(1), [&[1, 2, 0, 4][..], &parts[0], &parts[2], &shard[KIB..2 * KIB]].concat());
    assert_eq!(sent(2), [&[1, 1, 2, 0][..], &pair, &shard[2 * KIB..]].concat());
    // These bytes have been given to the world: they never change.
    let golden = "e24a0a1df6d89865";
    assert!(hash(&sent(1)).to_string().starts_with(golden), "{}", hash(&sent(1)));
    let drawn = leaves(&Digest([7; 32]), 1 << 20, 8);
    assert_eq!(drawn, [950, 775, 210, 911, 347, 958, 952, 475]);
}

#[test]
fn no_bytes_from_outside_make_it_stumble() {
    let shard = shard(11 * KIB + 77);
    let root = hash(&shard);
    let valid = prove(&shard, 6).unwrap().to_bytes();
    let mut bytes = vec![0; 3000];
    for round in 0..20_000u64 {
        Hasher::new("okapi test: fuzz").add(&round.to_le_bytes()).fill(&mut bytes[..64]);
        let word = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let mut input = match round % 4 {
            0 => bytes[..word(0) % bytes.len()].to_vec(),
            _ => valid[..valid.len() - word(0) % 4 * (word(2) % valid.len()) / 4].to_vec(),
        };
        if let (1 | 2, at) = (round % 4, word(4))
            && !input.is_empty()
        {
            let at = at % if round % 4 == 1 { HEAD_BYTES.min(input.len()) } else { input.len() };
            input[at] = bytes[10];
        }
        input.resize(input.len() + usize::from(round % 7 == 0) * word(6) % 40, bytes[11]);
        let Ok(proof) = Proof::from_bytes(&input) else { continue };
        assert_eq!(proof.to_bytes(), input, "there is one form only");
        let verified = proof.verify(&root, shard.len() as u64, word(8) as u32 % 13);
        assert!(verified.is_err() || input == valid);
    }
    let longest = [&[1, 32, 0, 4][..], &[0; SIBLINGS_MAX * SIBLING_BYTES + LEAF_BYTES]].concat();
    assert_eq!(longest.len(), PROOF_BYTES_MAX);
    assert!(Proof::from_bytes(&longest).unwrap().verify(&root, u64::MAX, u32::MAX).is_err());
    for bad in [[2, 0, 0, 0], [1, 33, 0, 0], [1, 0, 1, 4]] {
        let bytes = [&bad[..], &[0; 2080]].concat();
        let bytes = &bytes[..4 + usize::from(bad[1]) * 32 + usize::from(u16::from_le_bytes([bad[2], bad[3]]))];
        assert_eq!(Proof::from_bytes(bytes), Err(ProofError::Form { bytes: bytes.len() }));
    }
}

#[test]
fn a_draw_is_a_shuffle_cut_short() {
    for (number, bytes) in [0, 1, KIB, 3 * KIB, 100 * KIB, 1000 * KIB + 1].into_iter().enumerate() {
        let seed = seed(number as u64);
        let there = every_leaf(bytes);
        let whole = leaves(&seed, bytes as u64, usize::MAX);
        // The same, with all leaves written down.
        let mut shuffled = there.clone();
        let mut numbers = vec![0; 8 * there.len()];
        let stream = Hasher::new("okapi 2026 audit: leaves of a shard").add(&seed.0).add(&(bytes as u64).to_le_bytes());
        stream.fill(&mut numbers);
        for (at, number) in numbers.as_chunks::<8>().0.iter().enumerate() {
            let left = (there.len() - at) as u128;
            shuffled.swap(at, at + ((u128::from(u64::from_le_bytes(*number)) * left) >> 64) as usize);
        }
        assert_eq!(whole, shuffled);
        for count in [0, 1, 2, 50] {
            assert_eq!(leaves(&seed, bytes as u64, count), whole[..count.min(whole.len())]);
        }
        shuffled.sort_unstable();
        assert_eq!(shuffled, there, "each leaf once");
    }
    assert_ne!(leaves(&seed(1), 1 << 20, 8), leaves(&seed(2), 1 << 20, 8));
    assert!(leaves(&seed(1), u64::MAX, 1000).len() == 1000, "the first 2^32 leaves of a shard that cannot be");
}

#[test]
fn each_leaf_is_drawn_as_often() {
    let mut drawn = [0u32; 20];
    for number in 0..10_000 {
        leaves(&seed(number), 20 * KIB as u64, 4).into_iter().for_each(|leaf| drawn[leaf as usize] += 1);
    }
    // 2000 each; the standard deviation is 40.
    assert!(drawn.iter().all(|count| (1800..2200).contains(count)), "{drawn:?}");
}

#[test]
fn the_table_of_the_document_is_true() {
    let fractions = [1.0, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001];
    assert_eq!(fractions.map(|fraction| audits_to_find(fraction, 0.99)), [1, 7, 17, 44, 90, 459, 4603]);
    assert_eq!(fractions.map(|fraction| audits_to_find(fraction, 0.9999)), [1, 14, 33, 88, 180, 917, 9206]);
    assert_eq!(audits_to_find(0.0, 0.99), u64::MAX);
    assert_eq!(audits_to_find(0.5, 1.0), u64::MAX);
    assert_eq!(audits_to_find(0.5, 0.0), 0);
}

/// Holders that discarded a part of a shard, probed leaf by leaf.
#[test]
fn a_holder_that_discarded_is_found_in_time() {
    const HOLDERS: u64 = 4000;
    let shard_bytes = 8 << 20;
    for fraction in [0.5, 0.1, 0.03] {
        let kept = (leaf_count(shard_bytes) as f64 * (1.0 - fraction)) as u32;
        let enough = audits_to_find(fraction, 0.99) as usize;
        let found_after = |count: usize| {
            let found = (0..HOLDERS)
                .filter(|holder| leaves(&seed(*holder), shard_bytes, count).iter().any(|leaf| *leaf >= kept));
            found.count() as f64 / HOLDERS as f64
        };
        // The standard deviation of these is below 0.008.
        let found = found_after(enough);
        assert!((0.985..=1.0).contains(&found), "{fraction}: {found} after {enough}");
        let (half, expected) = (found_after(enough / 2), 1.0 - (1.0 - fraction).powi(enough as i32 / 2));
        assert!((half - expected).abs() < 0.03, "{fraction}: {half} after {}, not {expected}", enough / 2);
    }
}

#[test]
fn groups_lead_to_the_root_and_each_is_checked_for_itself() {
    for bytes in
        [0, 1, 1024, GROUP_BYTES - 1, GROUP_BYTES, GROUP_BYTES + 1, 5 * GROUP_BYTES, 9 * GROUP_BYTES + 700, 1 << 20]
    {
        let shard: Vec<u8> = (0..bytes).map(|at| (at * 7 + at / 1000) as u8).collect();
        let (root, length) = (crate::hash(&shard), bytes as u64);
        let hashes = group_hashes(&shard);
        assert_eq!(hashes.len() as u64, group_count(length));
        let groups = Groups::check(hashes.clone(), &root, length).unwrap();
        assert!(groups.are_right(0, &shard));
        for (at, group) in shard.chunks(GROUP_BYTES).enumerate() {
            let offset = (at * GROUP_BYTES) as u64;
            assert!(groups.are_right(offset, group), "{bytes} bytes, group {at}");
            let mut wrong = group.to_vec();
            wrong[group.len() / 2] ^= 1;
            assert!(!groups.are_right(offset, &wrong));
            assert!(!groups.are_right(offset + 1, &group[1..]));
            assert!(!groups.are_right(offset + GROUP_BYTES as u64, group));
            assert!(group.len() < 2 || !groups.are_right(offset, &group[..group.len() - 1]));
        }
        for at in 0..hashes.len() {
            let mut wrong = hashes.clone();
            wrong[at].0[3] ^= 1;
            assert_eq!(Groups::check(wrong, &root, length), None);
        }
        assert_eq!(Groups::check(hashes[1..].to_vec(), &root, length), None);
        let other = Groups::check(hashes, &root, length + 2 * GROUP_BYTES as u64);
        assert_eq!(other, None);
    }
}
