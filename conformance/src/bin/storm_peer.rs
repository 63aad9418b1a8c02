//! A client in Rust that a signal interrupts ten thousand times a second: `storm_peer blocking|tokio ADDRESS`.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use panpipe::ErrorKind;
use rustix::time::{ClockId, clock_gettime};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const CALLS: usize = 10_000;
const LARGE: usize = 1 << 20;
const LARGE_ONES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_millis(500);

static SIGNALS: AtomicU32 = AtomicU32::new(0);

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [kind, address] = &arguments[..] else { return Err("what kind of client, and of which address?".into()) };
    begin_storm()?;
    let spent = match kind.as_str() {
        "tokio" => tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(tokio(address))?,
        _ => blocking(address)?,
    };
    println!("{} {}", SIGNALS.load(Ordering::Relaxed), spent.as_millis());
    Ok(())
}

fn blocking(address: &str) -> Result<Duration> {
    let peer = panpipe::plain::blocking::connect(address)?;
    for number in 0..CALLS {
        let reply = peer.call_within(PATIENCE, format!("call {number}"))?;
        assert_eq!(reply, format!("CALL {number}"));
    }
    for number in 0..LARGE_ONES {
        peer.send(large(number))?;
        let reply = peer.recv_within(PATIENCE)?.ok_or("closed")?;
        assert!(reply == large(number).to_ascii_uppercase(), "message {number} is torn");
    }
    let before = cpu_time();
    assert_eq!(peer.recv_within(QUIET).map_err(|error| error.kind()), Err(ErrorKind::DeadlineExceeded));
    Ok(cpu_time() - before)
}

async fn tokio(address: &str) -> Result<Duration> {
    let peer = panpipe::plain::connect(address).await?;
    for number in 0..CALLS {
        let reply = peer.call_within(PATIENCE, format!("call {number}")).await?;
        assert_eq!(reply, format!("CALL {number}"));
    }
    for number in 0..LARGE_ONES {
        peer.send(large(number)).await?;
        let reply = tokio::time::timeout(PATIENCE, peer.recv()).await??.ok_or("closed")?;
        assert!(reply == large(number).to_ascii_uppercase(), "message {number} is torn");
    }
    let before = cpu_time();
    assert!(tokio::time::timeout(QUIET, peer.recv()).await.is_err());
    Ok(cpu_time() - before)
}

/// Letters, others in each message and place.
fn large(number: usize) -> Vec<u8> {
    let letters: Vec<u8> = (0..97).map(|place| b'a' + ((place + number) % 26) as u8).collect();
    letters.repeat(LARGE.div_ceil(letters.len()))
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Has SIGALRM come every 100 µs. No SA_RESTART: system calls that wait answer EINTR.
fn begin_storm() -> std::io::Result<()> {
    let interval = libc::timeval { tv_sec: 0, tv_usec: 100 };
    // SAFETY: the handler does nothing but an atomic addition, and all that is pointed to outlives the calls.
    let failed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as libc::sighandler_t;
        let timer = libc::itimerval { it_interval: interval, it_value: interval };
        libc::sigaction(libc::SIGALRM, &action, null_mut()) != 0
            || libc::setitimer(libc::ITIMER_REAL, &timer, null_mut()) != 0
    };
    if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
