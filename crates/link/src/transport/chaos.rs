//! A link that cuts, joins and delays what it moves, as real ones do on bad days; the same each time for a seed.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, BytesMut};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use super::listener::lock;

/// What an address asks for.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    seed: u64,
    cuts: bool,
}

impl Plan {
    /// Reads `7` or `7,cut`.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (seed, cuts) = match value.strip_suffix(",cut") {
            Some(seed) => (seed, true),
            None => (value, false),
        };
        let digits = !seed.is_empty() && seed.bytes().all(|byte| byte.is_ascii_digit());
        Some(Plan { seed: seed.parse().ok().filter(|_| digits)?, cuts })
    }

    /// The same for another end, which is to meet other days.
    pub(crate) fn of_another(self, number: u64) -> Self {
        Plan { seed: SplitMix(self.seed ^ number.rotate_left(32)).next(), ..self }
    }
}

/// A stream socket on bad days.
///
/// What happens depends on how many bytes were moved and on nothing else. Reads are put off: the descriptor to wait on
/// holds the socket only while it may be read, and else a timer. Writes are short and never put off, since no
/// descriptor could tell when they may go on.
pub(crate) struct Chaos {
    socket: Arc<OwnedFd>,
    watch: Arc<OwnedFd>,
    timer: OwnedFd,
    input: Mutex<Course>,
    output: Mutex<Course>,
}

/// What is to happen in one direction.
struct Course {
    random: SplitMix,
    cuts: bool,
    /// Bytes that are still to go in one piece, and how often the reader is put off before them.
    left: usize,
    turns: u32,
    is_put_off: bool,
    /// The connection is cut after this piece, or was.
    ends: bool,
}

impl Chaos {
    pub(crate) fn new(socket: OwnedFd, plan: Plan) -> Result<Self, Errno> {
        let watch = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        for fd in [&socket, &timer] {
            epoll::add(&watch, fd, EventData::new_u64(0), EventFlags::IN)?;
        }
        let course = |number| Mutex::new(Course::new(plan.of_another(number)));
        let (input, output) = (course(1), course(2));
        Ok(Chaos { socket: Arc::new(socket), watch: Arc::new(watch), timer, input, output })
    }

    pub(crate) fn socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    /// The descriptor to wait on for input.
    pub(crate) fn watch(&self) -> &Arc<OwnedFd> {
        &self.watch
    }

    pub(crate) fn read(&self, inbox: &mut BytesMut) -> Result<usize, Errno> {
        let mut course = lock(&self.input);
        course.begin();
        if course.is_over() {
            return Ok(0);
        }
        if course.is_put_off {
            read(&self.timer, &mut [0; 8])?;
            epoll::add(&self.watch, &self.socket, EventData::new_u64(0), EventFlags::IN)?;
            course.is_put_off = false;
            course.turns -= 1;
        }
        if course.turns > 0 && is_readable(&self.socket)? {
            self.put_off(&mut course)?;
            return Err(Errno::AGAIN);
        }
        let room: &mut [MaybeUninit<u8>] = inbox.spare_capacity_mut();
        let most = room.len().min(course.left);
        let ((filled, _), _) = recv(&self.socket, &mut room[..most], RecvFlags::DONTWAIT)?;
        let count = filled.len();
        // SAFETY: the system has written `count` bytes of the spare capacity.
        unsafe { inbox.advance_mut(count) };
        self.moved(&mut course, count);
        Ok(count)
    }

    pub(crate) fn write(&self, parts: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno> {
        let mut course = lock(&self.output);
        course.begin();
        if course.is_over() {
            return Err(Errno::PIPE);
        }
        let part: &[u8] = parts.iter().find(|part| !part.is_empty()).map_or(&[], |part| part);
        let count = send(&self.socket, &part[..part.len().min(course.left)], flags)?;
        self.moved(&mut course, count);
        Ok(count)
    }

    fn moved(&self, course: &mut Course, count: usize) {
        course.left -= count;
        if course.is_over() {
            let _ = shutdown(&self.socket, Shutdown::Both);
        }
    }

    fn put_off(&self, course: &mut Course) -> Result<(), Errno> {
        let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec { tv_sec: 0, tv_nsec: 10_000 * i64::from(course.turns) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: nothing, it_value })?;
        epoll::delete(&self.watch, &self.socket)?;
        course.is_put_off = true;
        Ok(())
    }
}

impl Course {
    fn new(plan: Plan) -> Self {
        let Plan { seed, cuts } = plan;
        Course { random: SplitMix(seed), cuts, left: 0, turns: 0, is_put_off: false, ends: false }
    }

    /// Draws the next piece when the last one has gone.
    fn begin(&mut self) {
        if self.left > 0 || self.ends {
            return;
        }
        let most = [1, 16, 4 << 10, 64 << 10][self.random.below(4) as usize];
        self.left = 1 + self.random.below(most) as usize;
        self.turns = self.random.below(4) as u32;
        self.ends = self.cuts && self.random.below(64) == 0;
    }

    fn is_over(&self) -> bool {
        self.ends && self.left == 0
    }
}

fn is_readable(socket: &OwnedFd) -> Result<bool, Errno> {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map(|ready| ready > 0)
}

/// Steele, Lea and Flood's generator (OOPSLA 2014): a counter and a mixer, good enough for days of any kind.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair;
    use super::*;

    /// The pieces in which 100,000 bytes come, and whether all of them do.
    fn pieces(plan: &str) -> (Vec<usize>, bool) {
        let (ours, theirs) = pair::sockets().unwrap();
        assert_eq!(send(&theirs, &[7; 100_000], SendFlags::empty()), Ok(100_000));
        drop(theirs);
        let chaos = Chaos::new(ours, Plan::parse(plan).unwrap()).unwrap();
        let mut inbox = BytesMut::with_capacity(1 << 20);
        let mut pieces = Vec::new();
        loop {
            match chaos.read(&mut inbox) {
                Ok(0) => return (pieces, inbox.len() == 100_000),
                Ok(count) => pieces.push(count),
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(chaos.watch(), PollFlags::IN)], None).unwrap();
                }
                Err(errno) => panic!("{errno}"),
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_pieces() {
        for seed in 0..50 {
            let (once, whole) = pieces(&seed.to_string());
            assert_eq!((once.clone(), whole), pieces(&seed.to_string()));
            assert!(whole && once.len() > 1, "{once:?}");
            assert_ne!(once, pieces(&(seed + 1000).to_string()).0);
        }
    }

    #[test]
    fn some_seeds_cut_when_they_are_asked_to() {
        let cut = (0..200).filter(|seed| !pieces(&format!("{seed},cut")).1).count();
        assert!((5..200).contains(&cut), "{cut}");
    }

    #[test]
    fn a_plan_is_a_seed_and_perhaps_a_cut() {
        assert!(Plan::parse("18446744073709551615,cut").is_some_and(|plan| plan.cuts));
        for wrong in ["", "cut", ",cut", "+1", "-1", "1,", "1,cut,cut", "18446744073709551616", "x"] {
            assert!(Plan::parse(wrong).is_none(), "{wrong}");
        }
    }
}
