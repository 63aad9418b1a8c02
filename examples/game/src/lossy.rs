//! Loss on purpose: some messages are not sent, and some that came are not read.

use crate::Random;

/// Loses a share of what passes, the same for the same seed.
#[derive(Debug)]
pub struct Lossy {
    share: f32,
    random: Random,
}

impl Lossy {
    /// Loses `share` of all messages: 0.0 none, 1.0 all.
    pub fn new(share: f32, seed: u64) -> Self {
        Lossy { share, random: Random::new(seed) }
    }

    /// Whether the next message is lost.
    pub fn loses(&mut self) -> bool {
        self.random.share() < self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_as_much_is_lost_as_was_asked_for() {
        for share in [0.0, 0.1, 1.0] {
            let mut lossy = Lossy::new(share, 7);
            let lost = (0..10_000).filter(|_| lossy.loses()).count() as f32;
            assert!((lost / 10_000.0 - share).abs() < 0.01, "{lost} of 10000 at {share}");
        }
    }
}
