//! A timer that is a descriptor, for loops whose own timers cost more than a call.
//!
//! A loop that has a timer sets one in the system each time it sleeps; with a deadline pending that adds a tenth
//! to a round trip on tokio. This one is set when a deadline comes nearer, and then lies still.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use panpipe_wire::{Error, Result};
use rustix::io::read;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::os_error;

/// A timer that is a descriptor, readable once its instant has come.
pub struct Alarm {
    timer: Arc<OwnedFd>,
    armed: Option<Instant>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// `busy` when descriptors run out.
    pub fn new() -> Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map_err(|errno| Error::new(os_error::kind(errno), "making a timer").because(os_error::text(errno)))?;
        Ok(Alarm { timer: Arc::new(timer), armed: None })
    }

    /// The descriptor to wait on until it is readable.
    pub fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.timer
    }

    /// Makes the alarm go off at `deadline` at the latest; it may go off before.
    pub fn set(&mut self, deadline: Instant) {
        if self.armed.is_some_and(|armed| armed <= deadline) {
            return;
        }
        // Zero would switch it off.
        let left = deadline.saturating_duration_since(Instant::now()).max(std::time::Duration::from_nanos(1));
        let it_value = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        // It fails only for a bad descriptor or a bad time, of which these are neither.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
        self.armed = Some(deadline);
    }

    /// Says that the descriptor was found readable: the alarm has gone off and is to be set anew.
    pub fn acknowledge(&mut self) {
        let _ = read(&self.timer, &mut [0; 8]);
        self.armed = None;
    }
}
