//! Where others write to the same pipe: no write may hold a part of a message, nor more than the system takes whole.

use std::collections::VecDeque;

/// How the outbox divides into frames, so that each write holds whole ones.
pub(crate) struct WholeWrites {
    most: usize,
    /// The lengths of the frames in the outbox.
    frames: VecDeque<usize>,
}

impl WholeWrites {
    /// Writes of at most `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        WholeWrites { most, frames: VecDeque::new() }
    }

    /// The largest frame.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Notes that a frame was queued.
    pub(crate) fn queued(&mut self, length: usize) {
        self.frames.push_back(length);
    }

    /// How many bytes of the outbox the next write may hold.
    pub(crate) fn next(&self) -> usize {
        let mut total = 0;
        for frame in &self.frames {
            if total > 0 && total + frame > self.most {
                break;
            }
            total += frame;
        }
        total
    }

    /// Notes how much of a write was taken: all of it, where the system keeps its word.
    pub(crate) fn written(&mut self, mut count: usize) {
        while let Some(frame) = self.frames.front_mut() {
            if count < *frame {
                *frame -= count;
                return;
            }
            count -= *frame;
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_holds_as_many_whole_frames_as_fit() {
        let mut writes = WholeWrites::new(10);
        for length in [4, 6, 1, 10] {
            writes.queued(length);
        }
        let mut taken = Vec::new();
        while writes.next() > 0 {
            taken.push(writes.next());
            writes.written(writes.next());
        }
        assert_eq!(taken, [10, 1, 10]);
    }
}
