//! SIGTERM: a server that is replaced by the next, again and again, while it is called.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use panpipe::Bytes;
use panpipe_conformance::Log;
use rustix::process::{Pid, Signal, kill_process};

use crate::Result;
use crate::peer::{Peer, Server};
use crate::place::{Folder, address};

const RESTARTS: usize = 20;
const CLIENTS: usize = 4;
/// A net: twenty calls take a hundredth of it.
const LONGEST: Duration = Duration::from_secs(20);

/// What clients have called so far.
#[derive(Default)]
struct Called {
    answered: HashSet<usize>,
    next: usize,
}

/// Restarts a server under calls that take a while; every call that has begun must be answered.
pub(crate) fn rolling_restarts(peer: Peer, folder: &Folder) -> Result<()> {
    let (place, log) = (address("unix", "protocol=panpipe", folder)?, Log { path: folder.path(), most: None });
    let start = || peer.serve_noting(vec![place.clone()], Some(log.clone()));
    let (called, is_over) = (Mutex::new(Called::default()), AtomicBool::new(false));
    let mut server = start()?;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map(|runtime| runtime.block_on(call_on(&place, &called, &is_over)))
            });
        }
        let restarted = (0..RESTARTS).try_for_each(|_| {
            let (before, begun) = (lock(&called).answered.len(), Instant::now());
            while lock(&called).answered.len() < before + 20 {
                if begun.elapsed() > LONGEST {
                    return Err("nobody is answered any more".into());
                }
                sleep(Duration::from_millis(1));
            }
            terminate(&mut server)?;
            server = start()?;
            Ok(())
        });
        is_over.store(true, Ordering::Relaxed);
        restarted
    })
    .and_then(|()| judge(&lock(&called), &log.path))
}

fn judge(called: &Called, log: &str) -> Result<()> {
    let begun = fs::read_to_string(log)?;
    let begun: HashSet<usize> = begun.lines().map(str::parse).collect::<std::result::Result<_, _>>()?;
    let lost: Vec<_> = begun.difference(&called.answered).collect();
    match lost[..] {
        [] => Ok(()),
        _ => Err(format!("of {} calls that had begun {} were lost: {lost:?}", begun.len(), lost.len()).into()),
    }
}

/// Sends SIGTERM and waits for the end.
fn terminate(server: &mut Server) -> Result<()> {
    let pid = Pid::from_raw(server.places[0].pid.try_into()?).ok_or("no process")?;
    kill_process(pid, Signal::TERM)?;
    Ok(server.process.wait()?)
}

/// Calls without a pause, eight at a time, and connects again when it must.
async fn call_on(place: &str, called: &Mutex<Called>, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let Ok(peer) = panpipe::connect(place).await else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let mut is_lost = false;
        while !is_lost && !is_over.load(Ordering::Relaxed) {
            let first = {
                let mut called = lock(called);
                called.next += 8;
                called.next - 8
            };
            let call = |number| peer.call::<(usize, Bytes)>("begin", (number, 3, Bytes::from_static(b"restart")));
            let calls: Vec<_> = (first..first + 8).map(|number| (number, call(number))).collect();
            for (number, call) in calls {
                match call.await {
                    Ok((same, _)) if same == number => drop(lock(called).answered.insert(number)),
                    Ok(_) => {}
                    // What it was called last may be refused, or never begun; the log tells.
                    Err(_) => is_lost = true,
                }
            }
        }
        let _ = peer.close().await;
    }
}

fn lock(called: &Mutex<Called>) -> MutexGuard<'_, Called> {
    called.lock().unwrap_or_else(PoisonError::into_inner)
}
