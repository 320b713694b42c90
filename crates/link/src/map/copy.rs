//! Copies out of memory that another process may be writing, and their checksums in the same pass.
//!
//! Everything is read by volatile reads, each byte once: whatever was read is what is checked and handed on, however
//! the memory changes meanwhile. Where the processor can, the checksum is computed from the registers that the copy
//! goes through, so that a copy from memory costs no more for it.
#![allow(unsafe_code, reason = "reads shared memory by pointer; a reference into it would promise that it rests")]

use okapi_base::Crc;

/// Bytes copied before they are checksummed, where that takes a second pass: it finds them in the nearest cache.
const PIECE: usize = 8 << 10;

/// Copies `out.len()` bytes from `from` on.
///
/// # Safety
/// That many bytes from `from` on are mapped and readable. They may change.
pub(super) unsafe fn copy(from: *const u8, out: &mut [u8]) {
    // To the next multiple of a word byte by byte, so that the words are aligned.
    let head = from.align_offset(WORD).min(out.len());
    let (head, rest) = out.split_at_mut(head);
    for (at, byte) in head.iter_mut().enumerate() {
        // SAFETY: within the range that the caller vouches for.
        *byte = unsafe { from.add(at).read_volatile() };
    }
    // SAFETY: within the range that the caller vouches for.
    let from = unsafe { from.add(head.len()) };
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    for (at, word) in words.iter_mut().enumerate() {
        // SAFETY: within the range that the caller vouches for, and aligned.
        *word = unsafe { word_at(from.add(at * WORD)) };
    }
    let done = words.len() * WORD;
    for (at, byte) in tail.iter_mut().enumerate() {
        // SAFETY: within the range that the caller vouches for.
        *byte = unsafe { from.add(done + at).read_volatile() };
    }
}

/// Bytes read at once.
#[cfg(target_arch = "x86_64")]
const WORD: usize = 16;
/// Bytes read at once.
#[cfg(not(target_arch = "x86_64"))]
const WORD: usize = 8;

/// # Safety
/// `from` is aligned to [`WORD`], and as many bytes are mapped there.
#[inline(always)]
unsafe fn word_at(from: *const u8) -> [u8; WORD] {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for it; both types are 16 bytes of which any value is valid.
    unsafe {
        std::mem::transmute(from.cast::<std::arch::x86_64::__m128i>().read_volatile())
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller vouches for it.
    unsafe {
        from.cast::<u64>().read_volatile().to_ne_bytes()
    }
}

/// Copies `out.len()` bytes from `from` on and returns the CRC-32C of what it copied.
///
/// # Safety
/// As for [`copy`].
pub(super) unsafe fn copy_with_crc(from: *const u8, out: &mut [u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if out.len() >= wide::LEAST && from.align_offset(64) == 0 && wide::can() {
        // SAFETY: the caller vouches for the range; it is aligned, long enough, and the processor can.
        return unsafe { wide::copy_with_crc(from, out) };
    }
    let mut crc = Crc::new();
    for (at, piece) in out.chunks_mut(PIECE).enumerate() {
        // SAFETY: within the range that the caller vouches for.
        unsafe { copy(from.add(at * PIECE), piece) };
        crc.update(piece);
    }
    crc.finish()
}

/// Copy and checksum in one pass with 512-bit registers.
///
/// Sixteen 128-bit lanes walk through the bytes, each folded over the 256 bytes to its next place: a polynomial
/// times x^2048, modulo the checksum's, by two carry-less multiplications. At the end the lanes stand for the whole
/// as if they were its last bytes (Gopal et al., "Fast CRC computation using PCLMULQDQ", 2009).
#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        __m512i, _MM_HINT_T0, _mm_crc32_u8, _mm_crc32_u64, _mm_cvtsi32_si128, _mm_prefetch, _mm512_clmulepi64_epi128,
        _mm512_set_epi64, _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_xor_si512, _mm512_zextsi128_si512,
    };

    /// Bytes of one step.
    const STEP: usize = 256;
    /// How far ahead memory is asked for: the processor by itself stops at the end of each page.
    const AHEAD: usize = 4096;
    /// Bytes for which it is worth while.
    pub(super) const LEAST: usize = 2 * STEP;

    /// x^`power` modulo the CRC-32C polynomial, its bits reversed and moved up by one, as folding wants it.
    const fn power(power: u32) -> i64 {
        let (mut rest, mut at) = (1_u32, 0);
        while at < power {
            rest = if rest >> 31 == 1 { rest << 1 ^ 0x1EDC_6F41 } else { rest << 1 };
            at += 1;
        }
        (rest.reverse_bits() as i64) << 1
    }

    /// The two factors that fold a lane over `bits`, four times.
    #[target_feature(enable = "avx512f")]
    fn factors<const BITS: u32>() -> __m512i {
        let (low, high) = const { (power(BITS + 32), power(BITS - 32)) };
        _mm512_set_epi64(high, low, high, low, high, low, high, low)
    }

    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn fold(lanes: __m512i, factors: __m512i, onto: __m512i) -> __m512i {
        let low = _mm512_clmulepi64_epi128(lanes, factors, 0x00);
        let high = _mm512_clmulepi64_epi128(lanes, factors, 0x11);
        // The exclusive or of all three.
        _mm512_ternarylogic_epi64(low, high, onto, 0x96)
    }

    pub(super) fn can() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("sse4.2")
    }

    /// # Safety
    /// `out.len()` bytes, at least [`LEAST`], are mapped from `from` on, which is a multiple of 64; and [`can`].
    #[target_feature(enable = "avx512f,vpclmulqdq,sse4.2")]
    pub(super) unsafe fn copy_with_crc(from: *const u8, out: &mut [u8]) -> u32 {
        let steps = out.len() / STEP;
        let (to, length) = (out.as_mut_ptr(), out.len());
        let move_on = |at: usize| {
            // SAFETY: the caller vouches for the source, which is aligned, and `out` is as long.
            unsafe {
                if at + AHEAD < length {
                    _mm_prefetch::<_MM_HINT_T0>(from.add(at + AHEAD).cast());
                }
                let bytes = from.add(at).cast::<__m512i>().read_volatile();
                _mm512_storeu_si512(to.add(at).cast(), bytes);
                bytes
            }
        };
        let start = _mm512_zextsi128_si512(_mm_cvtsi32_si128(-1));
        let mut lanes = [_mm512_xor_si512(move_on(0), start), move_on(64), move_on(128), move_on(192)];
        let by_step = factors::<{ 8 * STEP as u32 }>();
        for step in 1..steps {
            for (quarter, lanes) in lanes.iter_mut().enumerate() {
                *lanes = fold(*lanes, by_step, move_on(step * STEP + quarter * 64));
            }
        }
        let by_line = factors::<512>();
        let [first, second, third, fourth] = lanes;
        let last = fold(fold(fold(first, by_line, second), by_line, third), by_line, fourth);
        let mut rest = [0_u64; 8];
        // SAFETY: 64 bytes into 64 bytes.
        unsafe { _mm512_storeu_si512(rest.as_mut_ptr().cast(), last) };
        let mut crc = 0;
        for word in rest {
            crc = _mm_crc32_u64(crc, word);
        }
        let tail = &mut out[steps * STEP..];
        // SAFETY: within the range that the caller vouches for.
        unsafe { super::copy(from.add(steps * STEP), tail) };
        let (words, bytes) = tail.as_chunks::<8>();
        for word in words {
            crc = _mm_crc32_u64(crc, u64::from_le_bytes(*word));
        }
        let mut crc = crc as u32;
        for byte in bytes {
            crc = _mm_crc32_u8(crc, *byte);
        }
        !crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use okapi_base::crc32c;

    #[repr(align(64))]
    struct Aligned([u8; 12_288]);

    fn bytes() -> Box<Aligned> {
        let mut state = 1_u64;
        let mut bytes = Box::new(Aligned([0; _]));
        bytes.0.fill_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        bytes
    }

    #[test]
    fn copies_are_exact_at_every_offset_and_length() {
        let bytes = bytes();
        for offset in 0..40 {
            for length in 0..100 {
                let mut out = vec![0xEE; length];
                // SAFETY: within `bytes`.
                unsafe { copy(bytes.0.as_ptr().add(offset), &mut out) };
                assert_eq!(out, bytes.0[offset..][..length], "{length} bytes from {offset}");
            }
        }
    }

    #[test]
    fn checksums_are_those_of_the_copy_at_every_length() {
        let bytes = bytes();
        for offset in [0, 64, 1] {
            for length in (0..1200).chain([4095, 4096, 4097, 8191, 8192, 8193, 12_000]) {
                let mut out = vec![0xEE; length];
                // SAFETY: within `bytes`.
                let crc = unsafe { copy_with_crc(bytes.0.as_ptr().add(offset), &mut out) };
                assert_eq!(out, bytes.0[offset..][..length], "{length} bytes from {offset}");
                assert_eq!(crc, crc32c(&out), "{length} bytes from {offset}");
            }
        }
    }
}
