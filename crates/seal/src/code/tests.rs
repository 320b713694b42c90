use super::*;

/// Made by Intel's ISA-L 2.30 (`gf_gen_cauchy1_matrix`, `ec_encode_data`): for each shape with k > 1 the matrix, then
/// the parity shards of [`segment`] of 1003 bytes.
const ISA_L: &[u8] = include_bytes!("../../testdata/isal.bin");

/// Bytes that depend on where they are.
fn segment(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|at| ((at.wrapping_mul(at).wrapping_mul(7).wrapping_add(at * 13 + 5)) >> 3) as u8).collect()
}

/// The field as a book has it: polynomials over two elements, modulo x^8 + x^4 + x^3 + x^2 + 1.
fn times(a: u8, b: u8) -> u8 {
    let mut product = 0u16;
    for bit in 0..8 {
        if b >> bit & 1 == 1 {
            product ^= u16::from(a) << bit;
        }
    }
    for bit in (8..16).rev() {
        if product >> bit & 1 == 1 {
            product ^= 0x11D << (bit - 8);
        }
    }
    product as u8
}

fn inverse(a: u8) -> u8 {
    (1..=255).find(|&b| times(a, b) == 1).expect("only zero has none")
}

/// All shards of a segment, made the slow way.
fn slow(shape: Shape, segment: &[u8]) -> Vec<Arc<[u8]>> {
    let (k, n) = (shape.k(), shape.n());
    let bytes = segment.len().div_ceil(k);
    let byte_of = |piece: usize, at: usize| segment.get(piece * bytes + at).copied().unwrap_or(0);
    (0..n)
        .map(|i| {
            let row: Vec<u8> = match i {
                _ if k == 1 => vec![1],
                i if i < k => (0..k).map(|j| u8::from(i == j)).collect(),
                i => (0..k).map(|j| inverse((i ^ j) as u8)).collect(),
            };
            (0..bytes).map(|at| (0..k).fold(0, |sum, j| sum ^ times(row[j], byte_of(j, at)))).collect()
        })
        .collect()
}

fn all(shape: Shape) -> Vec<u8> {
    (0..shape.n() as u8).collect()
}

/// The shards a set of bits names.
fn chosen(shards: &[Arc<[u8]>], set: u32) -> Vec<(u8, &[u8])> {
    let named = (0..).zip(shards).filter(|(index, _)| set >> index & 1 == 1);
    named.map(|(index, shard)| (index, &shard[..])).collect()
}

#[test]
fn isa_l_makes_the_same_bytes() {
    let segment = segment(1003);
    let mut golden = ISA_L;
    for shape in [Shape::TwoOfSix, Shape::FourOfTwelve, Shape::EightOfTwentyFour] {
        let matrix = golden.split_off(..shape.n() * shape.k()).unwrap();
        assert_eq!(generator(shape).as_bytes(), matrix, "{shape}");
        let shards = encode(shape, &segment, &all(shape)).unwrap();
        for (index, shard) in shards.iter().enumerate().skip(shape.k()) {
            let parity = golden.split_off(..1003_usize.div_ceil(shape.k())).unwrap();
            assert_eq!(&shard[..], parity, "{shape} {index}");
        }
    }
    assert!(golden.is_empty());
}

#[test]
fn every_length_is_coded_and_joined() {
    let edges = [63, 64, 65, 511, 512, 513, 4095, 4096, 4097, 65_535, 65_536, 65_537];
    for shape in Shape::ALL {
        // Strips end inside, at and after the end of a shard.
        let strips = [-1, 0, 1].map(|more| (STRIP_BYTES * shape.k()).strict_add_signed(more));
        for bytes in (0..=40).chain(edges).chain(strips) {
            let segment = segment(bytes);
            let shards = encode(shape, &segment, &all(shape)).unwrap();
            assert_eq!(shards, slow(shape, &segment), "{shape}, {bytes} bytes");
            for set in [all_but_lowest(shape), (1 << shape.k()) - 1, first_and_last(shape)] {
                let have = chosen(&shards, set);
                assert_eq!(&join(shape, bytes as u64, &have).unwrap()[..], segment, "{shape}, {bytes} bytes, {set:b}");
                assert_eq!(rebuild(shape, bytes as u64, &have, &all(shape)).unwrap(), shards, "{shape}, {bytes} bytes");
            }
        }
    }
}

/// The k shards with the highest indexes.
fn all_but_lowest(shape: Shape) -> u32 {
    ((1 << shape.k()) - 1) << (shape.n() - shape.k())
}

fn first_and_last(shape: Shape) -> u32 {
    let half = shape.k().div_ceil(2);
    ((1 << half) - 1) | ((1 << (shape.k() - half)) - 1) << (shape.n() - (shape.k() - half))
}

/// Every set of k shards that can be left: of 8of24 there are 735,471.
#[test]
fn every_loss_is_mended() {
    for shape in Shape::ALL {
        let segment = segment(3 * shape.k() - 1);
        let shards = slow(shape, &segment);
        let (mut set, mut count) = ((1u32 << shape.k()) - 1, 0);
        while set < 1 << shape.n() {
            let have = chosen(&shards, set);
            assert_eq!(&join(shape, segment.len() as u64, &have).unwrap()[..], segment, "{shape} of {set:b}");
            // The lowest missing one; for the narrower shapes all of them.
            let missing: Vec<u8> = all(shape).into_iter().filter(|index| set >> index & 1 == 0).collect();
            let missing = if shape.k() == 8 { &missing[count % missing.len()..][..1] } else { &missing[..] };
            let mended = rebuild(shape, segment.len() as u64, &have, missing).unwrap();
            for (index, shard) in missing.iter().zip(mended) {
                assert_eq!(shard, shards[usize::from(*index)], "{shape}: {index} of {set:b}");
            }
            // The next larger number with as many bits.
            let low = set & set.wrapping_neg();
            let carried = set + low;
            set = carried | (((set ^ carried) >> 2) / low);
            count += 1;
        }
        let sets = (0..shape.k()).fold(1, |sets, at| sets * (shape.n() - at) / (at + 1));
        assert_eq!(count, sets, "{shape}");
    }
}

#[test]
fn order_and_plenty_make_no_difference() {
    let shape = Shape::FourOfTwelve;
    let segment = segment(1003);
    let shards = encode(shape, &segment, &all(shape)).unwrap();
    let mut have = chosen(&shards, 0b1011_0101_1010);
    have.reverse();
    assert_eq!(&join(shape, 1003, &have).unwrap()[..], segment);
    let made = rebuild(shape, 1003, &have, &[11, 0, 3]).unwrap();
    assert_eq!(made, [&shards[11], &shards[0], &shards[3]].map(Clone::clone));
    assert_eq!(encode(shape, &segment, &[7, 2]).unwrap(), [shards[7].clone(), shards[2].clone()]);
    assert!(encode(shape, &segment, &[]).unwrap().is_empty());
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let shape = Shape::TwoOfSix;
    let segment = segment(101);
    let shards = encode(shape, &segment, &all(shape)).unwrap();
    let shard = |index: u8| (index, &shards[usize::from(index)][..]);
    let refused = |have: &[(u8, &[u8])], wanted: &[u8]| {
        let why = rebuild(shape, 101, have, wanted).unwrap_err();
        if wanted.is_empty() {
            assert_eq!(join(shape, 101, have), Err(why));
        }
        why
    };
    assert_eq!(refused(&[], &[]), CodeError::TooFew { shape, have: 0 });
    assert_eq!(refused(&[shard(3)], &[]), CodeError::TooFew { shape, have: 1 });
    assert_eq!(refused(&[shard(3), shard(3)], &[]), CodeError::Twice { index: 3 });
    assert_eq!(refused(&[shard(3), (6, &[0; 51])], &[]), CodeError::OutOfRange { shape, index: 6 });
    assert_eq!(refused(&[shard(3), (255, &[0; 51])], &[]), CodeError::OutOfRange { shape, index: 255 });
    let length = |found| CodeError::Length { index: 4, found, expected: 51 };
    assert_eq!(refused(&[shard(3), (4, &[0; 50])], &[]), length(50));
    assert_eq!(refused(&[shard(3), shard(5), (4, &[0; 52])], &[]), length(52));
    assert_eq!(refused(&[shard(3), shard(1)], &[0, 0]), CodeError::Twice { index: 0 });
    assert_eq!(refused(&[shard(3), shard(1)], &[0, 6]), CodeError::OutOfRange { shape, index: 6 });
    assert_eq!(encode(shape, &segment, &[200]), Err(CodeError::OutOfRange { shape, index: 200 }));
    assert_eq!(encode(shape, &segment, &[1, 1]), Err(CodeError::Twice { index: 1 }));
    // A length from outside that no shard has: nothing of that size is asked of the memory.
    assert!(matches!(join(shape, u64::MAX, &[shard(3), shard(1)]), Err(CodeError::Length { index: 3, .. })));
    let said = CodeError::TooFew { shape, have: 1 }.to_string();
    assert_eq!(said, "1 shards of 2of6 were given and 2 are needed; fetch more of them");
}
