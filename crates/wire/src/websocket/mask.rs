//! Masking (RFC 6455, section 5.3), which is its own inverse.

/// Applies `mask` to `bytes`, and answers with the mask of the byte behind them.
#[inline]
pub(super) fn apply(mut mask: [u8; 4], bytes: &mut [u8]) -> [u8; 4] {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= mask;
    }
    mask.rotate_left(rest.len() % 4);
    mask
}
