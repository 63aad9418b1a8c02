//! The messages that are sent, and how they are checked.

use crate::{END, Outcome};

/// A message of `size` bytes that differs from those of other numbers.
pub fn message(size: usize, number: usize) -> Vec<u8> {
    (0..size).map(|place| (place * 7 + place / 251 + number) as u8).collect()
}

/// Checks a reply: its length always, its content if `whole`.
///
/// # Errors
///
/// It is another.
pub fn check(reply: &[u8], message: &[u8], whole: bool) -> Outcome<()> {
    if reply.len() != message.len() || (whole && reply != message) {
        return Err("the reply is not the message that was sent".into());
    }
    Ok(())
}

/// What a sink counts.
#[derive(Default)]
pub struct Sink {
    count: u64,
    size: usize,
}

impl Sink {
    /// Takes a message; the answer if it asks for one.
    ///
    /// # Errors
    ///
    /// It is not one of those that are sent here.
    pub fn take(&mut self, taken: &[u8]) -> Outcome<Option<[u8; 8]>> {
        if taken == END {
            return Ok(Some(std::mem::take(&mut self.count).to_be_bytes()));
        }
        if self.size == 0 {
            self.size = taken.len();
            check(taken, &message(self.size, 0), true)?;
        }
        if taken.len() != self.size {
            return Err("a message is not as long as those before it".into());
        }
        self.count += 1;
        Ok(None)
    }
}

/// Checks a sink's answer against what was sent.
///
/// # Errors
///
/// It is another count.
pub fn check_count(answer: &[u8], sent: u64) -> Outcome<()> {
    if answer != sent.to_be_bytes() {
        return Err(format!("{sent} messages were sent, and the sink counted otherwise").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_counts_what_is_alike_and_refuses_the_rest() {
        let mut sink = Sink::default();
        assert_eq!(sink.take(&message(64, 0)).unwrap(), None);
        assert_eq!(sink.take(&message(64, 0)).unwrap(), None);
        assert!(sink.take(&message(63, 0)).is_err());
        assert_eq!(sink.take(END).unwrap(), Some(2u64.to_be_bytes()));
        assert_eq!(sink.take(END).unwrap(), Some([0; 8]));
        assert!(Sink::default().take(&message(64, 1)).is_err());
    }

    #[test]
    fn a_reply_is_checked() {
        let sent = message(64, 5);
        assert!(check(&sent, &sent, true).is_ok());
        assert!(check(&message(64, 6), &sent, true).is_err());
        assert!(check(&message(63, 5), &sent, false).is_err());
        assert!(check_count(&2u64.to_be_bytes(), 3).is_err());
    }
}
